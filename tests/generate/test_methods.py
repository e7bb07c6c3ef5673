"""Every method against a model that is a function: what it asks, keeps, and counts as failed.

pytest tests/generate/test_methods.py
"""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import LOST, Model, made
from tiny import ROOT

from winnow.core.errors import Refusal
from winnow.core.rouge import f1, longest_common
from winnow.generate.backends import CUT, EMPTY, Request
from winnow.generate.methods import (
    PROMPTS,
    Asking,
    Candidate,
    Recipe,
    draw,
    free,
    prompt,
    seeds,
    self_instruct,
)
from winnow.generate.methods import evol_instruct as evol
from winnow.generate.methods.answers import Answers
from winnow.generate.methods.magpie import Magpie
from winnow.generate.methods.paraphrase import LINES, NO_QUESTION, UNCHANGED, Paraphrase
from winnow.generate.methods.spin import Spin
from winnow.generate.rows import Given, read

SEEDS = str(ROOT / "corpora/seeds.jsonl")
TOPICS = ("Science", "History", "Cooking")
LISTED = "These are tasks"
GAIN = "Do these two tasks"


def word(request: Request, salt: str = "") -> str:
    """A word that follows from a request's seed alone."""
    return hashlib.sha256(f"{request.seed}{salt}".encode()).hexdigest()[:8]


def script(request: Request) -> str:
    """A willing model: it does what each prompt asks for, with words of the request's seed."""
    if request.text == "<user>":
        return f"What is a {word(request)}?\n"
    if request.text:
        return (
            f" Explain {word(request)}.\nInput: some\nResponse: It is a {word(request, 'a')}.\n\n"
        )
    content = request.chat[0][1]
    if content.startswith(LISTED):
        items = (
            f"{n}. Tell {' '.join(word(request, f'{n}{k}') for k in 'abc')}" for n in range(9, 17)
        )
        return "Sure:\n" + "\n".join(items)
    if content.startswith(GAIN):
        return "Different."
    return f"The reply {word(request)} {word(request, 'b')}?"


def recipes() -> dict[str, Recipe]:
    return {
        "free": free.Free(examples=SEEDS, topics=TOPICS, requests=20),
        "self_instruct": self_instruct.SelfInstruct(examples=SEEDS, requests=6, rounds=3),
        "evol_instruct": evol.EvolInstruct(rows=SEEDS, requests=8, rounds=2),
        "magpie": Magpie(requests=20),
        "paraphrase": Paraphrase(rows=SEEDS, requests=16),
        "answers": Answers(rows=SEEDS, requests=20, number=3),
        "spin": Spin(rows=SEEDS, requests=20),
    }


ALL = [*recipes()]


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_candidates_and_another_seed_other_ones(name: str) -> None:
    recipe = recipes()[name]
    first = made(recipe, Model(script))
    assert first == made(recipe, Model(script)) and not any(one.failure for one in first)
    assert all(one.instruction and one.response for one in first)
    assert first != made(recipe, Model(script), seed=101)


@pytest.mark.parametrize("name", ALL)
def test_no_two_requests_have_one_seed(name: str) -> None:
    model = Model(script)
    for seed in (100, 101):
        made(recipes()[name], model, seed)
    assert max(Counter(request.seed for request in model.asked).values()) == 1
    assert {request.sampling.temperature for request in model.asked} == {0.7}
    assert {request.sampling.top_p for request in model.asked} == {0.9}
    assert {request.sampling.repetition_penalty for request in model.asked} == {1.1}


@pytest.mark.parametrize("name", ALL)
def test_a_reply_that_is_cut_empty_or_lost_is_a_counted_failure_and_never_a_row(name: str) -> None:
    recipe, model = recipes()[name], Model(script, fails=True)
    found = [one for seed in (100, 101) for one in made(recipe, model, seed)]
    failures = Counter(one.failure for one in found if one.failure)
    assert failures.keys() <= {CUT, EMPTY, LOST}
    assert failures.total() == len(model.asked) // 7
    for one in found:
        assert one.failure or (one.instruction and one.response)
        assert "zyx zyx" not in one.instruction + one.response or one.failure == CUT


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 4095)), unique=True, max_size=6),
    st.integers(0, 50),
)
def test_no_two_parts_of_any_shards_share_a_seed(parts: list[tuple[int, int]], size: int) -> None:
    found = [one for shard, part in parts for one in seeds(shard, size, part)]
    assert len(set(found)) == len(found) == len(parts) * size
    assert all(0 <= one < 2**64 for one in found)


@given(st.integers(0, 2**64), st.integers(1, 40), st.data())
def test_a_draw_has_different_places_that_are_all_equally_likely(
    seed: int, of: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, of))
    places = draw(seed, number, of)
    assert len({*places}) == len(places) == number and {*places} <= {*range(of)}


def test_every_place_is_drawn_about_as_often() -> None:
    counts = Counter(place for seed in range(3000) for place in draw(seed, 2, 6))
    assert all(900 < counts[place] < 1100 for place in range(6))


@given(st.fixed_dictionaries({"tasks": st.text(), "wanted": st.text()}))
def test_braces_in_a_value_break_no_prompt(values: dict[str, str]) -> None:
    text = (PROMPTS / "free.txt").read_text().removesuffix("\n")
    before, between = text.split("{tasks}")
    between, after = between.split("{wanted}")
    assert prompt("free", **values) == before + values["tasks"] + between + values["wanted"] + after


# Free generation.

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=30)
TEXT = st.lists(LINE, min_size=1, max_size=4).map("\n".join).map(str.strip).filter(bool)
PLAIN = TEXT.filter(lambda text: not free.MARKED.search(text))


@settings(max_examples=300)
@given(PLAIN, st.just("") | PLAIN, PLAIN, st.sampled_from(["", "\n\n", "\n\nTask 9 [Art]\n"]))
def test_a_row_that_is_shown_is_read_again(
    instruction: str, input: str, response: str, behind: str
) -> None:
    shown = free.render(Given(id="", instruction=instruction, input=input, response=response))
    reply = shown.removeprefix("Instruction:") + behind
    assert free.parse(reply) == Candidate(instruction=instruction, input=input, response=response)


@pytest.mark.parametrize(
    "reply",
    [
        " What is rain?",
        " What is rain?\nQ: Water.",
        " What is rain?\nResponse:  ",
        "\nResponse: Water.",
        " What is rain?\nResponse: Water.\nInput: late",
        " What is rain?\nResponse: Water.\nResponse: More water.",
        " What is rain?\nTask 6\nInstruction: Go.\nResponse: Gone.",
    ],
)
def test_what_lacks_a_part_is_no_row(reply: str) -> None:
    assert free.parse(reply).failure == free.UNPARSED


@pytest.mark.parametrize("mark", ["Response", "Output", "Answer"])
def test_a_response_may_stand_behind_another_word_for_it(mark: str) -> None:
    found = free.parse(f" What is rain?\nInput: a cloud\n{mark}: Water.\nOutput: wet.")
    assert found == Candidate(
        instruction="What is rain?", input="a cloud", response="Water.\nOutput: wet."
    )


def test_a_request_shows_examples_with_their_topics_and_leaves_the_last_open() -> None:
    recipe, model = free.Free(examples=SEEDS, shots=3, topics=TOPICS, requests=30), Model(script)
    made(recipe, model)
    topics = Counter[str]()
    for request in model.asked:
        assert not request.chat and request.stop == ("\nTask 5", "\nInstruction:")
        found = re.findall(r"^Task (\d) \[(\w+)\]$", request.text, re.MULTILINE)
        assert [number for number, _ in found] == list("1234")
        assert request.text.endswith(f"Task 4 [{found[-1][1]}]\nInstruction:")
        assert request.text.count("\nResponse: ") == 3
        topics[found[-1][1]] += 1
    assert set(topics) == {*TOPICS}


def test_without_topics_none_shows() -> None:
    model = Model(script)
    made(free.Free(examples=SEEDS, requests=5), model)
    assert not any(re.search(r"^Task \d \[", one.text, re.MULTILINE) for one in model.asked)


def test_topics_that_rotate_go_round_from_shard_to_shard() -> None:
    recipe = free.Free(examples=SEEDS, topics=TOPICS, rotate=True, requests=4, seed=100)
    model = Model(script)
    made(recipe, model, 100)
    made(recipe, model, 101)
    wanted = [re.findall(r"\[(\w+)\]", request.text)[-1] for request in model.asked]
    at = [TOPICS.index(topic) for topic in wanted]
    assert all(after == (before + 1) % 3 for before, after in zip(at, at[1:], strict=False))


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("row", "keys", "said"),
    [
        ({"response": "b\nInput: c"}, {}, r"'Input:'.*leave it out"),
        ({"response": "b\nTask 3"}, {}, r"'Task 3'"),
        ({"response": "b"}, {"topics": ("Art",)}, r"line 1: no text under topic"),
        ({"response": "b", "topic": "A]"}, {"topics": ("Art",)}, r"topic of row"),
        ({"response": "b"}, {"topics": ("A]",)}, r"topics: 'A\]'"),
        ({"response": "b"}, {"shots": 2}, r"has 1 rows, below shots"),
        ({"response": "b"}, {"rotate": True}, r"rotate: "),
        ({}, {}, r"line 1: no text under response"),
    ],
)
def test_examples_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, row: dict[str, str], keys: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": "a"} | row])
    with pytest.raises(Refusal, match=said):
        free.Free(**({"examples": path, "shots": 1} | keys)).check()


# Self-Instruct.


def test_instructions_of_people_and_of_the_model_are_shown_together() -> None:
    people = [" ".join(row.instruction.split()) for row in read("examples", SEEDS)]
    model = Model(script)
    kept = made(recipes()["self_instruct"], model)
    assert len(kept) == 6 * 8
    listed = [one.chat[0][1] for one in model.asked if one.chat[0][1].startswith(LISTED)]
    counts = []
    for content in listed:
        shown = re.findall(r"^\d+\. (.*)$", content, re.MULTILINE)
        assert len({*shown}) == len(shown) == 8
        counts.append(sum(one in people for one in shown))
    assert counts == [8, 8, 6, 6, 6, 6]


def longest(a: list[str], b: list[str]) -> int:
    """The longest common subsequence by the plain table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(WORDS, WORDS)
def test_rouge_against_the_plain_table(one: list[str], two: list[str]) -> None:
    assert longest_common(one, two) == longest(one, two)
    f = 2 * longest(one, two) / (len(one) + len(two)) if one or two else 0
    assert f1(one, two) == f
    if one and two:
        assert self_instruct.is_alike(one, two) == (f >= 0.7)


@given(st.lists(WORDS.filter(bool), min_size=1, max_size=8))
def test_what_is_kept_is_unlike_all_others(items: list[list[str]]) -> None:
    reply = "\n".join(f"{n}. {' '.join(words)}" for n, words in enumerate(items, 9))

    def lists(request: Request) -> str:
        return reply if request.chat[0][1].startswith(LISTED) else "Done."

    recipe = self_instruct.SelfInstruct(examples=SEEDS, requests=1, rounds=1)
    found = made(recipe, Model(lists))
    assert len(found) == len(items)
    kept: list[list[str]] = []
    for words in items:
        if all(2 * longest(words, one) / (len(words) + len(one)) < 0.7 for one in kept):
            kept.append(words)
    assert [one.instruction.split() for one in found if not one.failure] == kept
    assert {one.failure for one in found} <= {None, self_instruct.ALIKE}


def test_what_a_list_holds_is_kept_or_counted() -> None:
    people = read("examples", SEEDS)[0].instruction
    items = ["Draw a map.", people, "Say one.", "Name two cities.", "How so?", "", "Go on with me."]
    listed = [*items, *(f"Sing {n} tunes now {n}" for n in range(4))]
    reply = "\n".join(f"{n}) {text}" for n, text in enumerate(listed, 9)).replace("9) ", "- ", 1)

    def lists(request: Request) -> str:
        asked = request.chat[0][1]
        return (reply if request.seed % 2 == 0 else "No.") if asked.startswith(LISTED) else "Done."

    recipe = self_instruct.SelfInstruct(examples=SEEDS, requests=2, rounds=1)
    found = made(recipe, Model(lists))
    assert Counter(one.failure for one in found) == {
        self_instruct.BEYOND: 1,
        self_instruct.ALIKE: 1,
        self_instruct.NO_LIST: 2,
        self_instruct.TOO_MANY: 3,
        None: 5,
    }


def test_labels_are_written_first_and_inputs_before_other_responses() -> None:
    """The two sorts of task of the paper, told apart by the model itself."""
    labels = (
        "Label: rain\nInput: It pours.\n\nClass label: sun\ninput: It is bright.\n"
        "Label: rain\nInput: It is odd.\nLabel: sun\nInput: It is odd.\nLabel: fog\n"
    )
    said = {
        "Is the task": {"Name the weather here.": "Yes.", "Call a kind of cloud.": "Yes, it is"},
        "The task below": {"Name the weather here.": labels, "Call a kind of cloud.": "Label:"},
        "Does the": {"Add up these numbers.": "Input: 3 and 4", "Tell why it rained.": "None."},
    }
    items = ["Name the weather here.", "Call a kind of cloud.", "Add up these numbers."]
    listed = "\n".join(f"{n}. {one}" for n, one in enumerate([*items, "Tell why it rained."], 9))

    def script(request: Request) -> str:
        content = request.chat[0][1]
        if content.startswith(LISTED):
            return listed
        for begun, replies in said.items():
            if content.startswith(begun):
                return next((r for task, r in replies.items() if task in content), "No")
        return f"Re: {content}"

    model = Model(script)
    found = made(self_instruct.SelfInstruct(examples=SEEDS, requests=1, rounds=1), model)
    assert found == [
        Candidate(instruction=items[0], input="It pours.", response="rain"),
        Candidate(instruction=items[0], input="It is bright.", response="sun"),
        Candidate(
            instruction=items[0],
            input="It is odd.",
            response="rain",
            failure=self_instruct.TWO_LABELS,
        ),
        Candidate(instruction=items[1], failure=self_instruct.UNLABELLED),
        Candidate(instruction=items[2], input="3 and 4", response=f"Re: {items[2]}\n3 and 4"),
        Candidate(instruction="Tell why it rained.", response="Re: Tell why it rained."),
    ]
    assert model.batches == [1, 4, 2, 2, 2]


def test_what_an_earlier_shard_made_is_shown_and_not_made_again() -> None:
    recipe, model = recipes()["self_instruct"], Model(script)
    first = list(dict.fromkeys(one.instruction for one in made(recipe, model)))
    again = Model(script)
    found = list(recipe.candidates(100, Asking(again.ask, earlier=first)))
    assert {one.failure for one in found if one.instruction in first} <= {self_instruct.ALIKE}
    shown = again.asked[0].chat[0][1]
    assert sum(one in shown for one in first) == self_instruct.MADE


def test_too_few_examples_for_a_request_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", [{"instruction": f"Say {n}"} for n in range(7)])
    with pytest.raises(Refusal, match="has 7 rows, but a request shows 8"):
        self_instruct.SelfInstruct(examples=path).check()


# Evol-Instruct.


def test_what_evolved_goes_on_and_what_is_eliminated_stays_as_it_was(tmp_path: Path) -> None:
    given = ["Say a.", "Say b.", "Say c.", "Say d.", "Say e.", "Say f."]
    path = write(tmp_path / "rows.jsonl", [{"id": x[4], "instruction": x} for x in given])

    def evolve(request: Request) -> str:
        content = request.chat[0][1]
        if content.startswith(GAIN):
            first = content.split("First:\n")[1]
            return {"Say b.": "Equal", "Say c.": "Well"}.get(first.splitlines()[0], "**Different**")
        if "Given task:\n" in content:
            task = content.split("Given task:\n")[1].splitlines()[0]
            return f"Rewritten task: {task}" if task == "Say d." else f"{task} And more."
        bad = {"Say e. And more.": "I am sorry, no.", "Say f. And more.": "It is so!"}
        return bad.get(content, f"Answer to {content}")

    model = Model(evolve)
    found = made(evol.EvolInstruct(rows=path, shards=1, requests=6, rounds=2), model)
    failures = [None, evol.NO_GAIN, evol.UNJUDGED, evol.COPIES, evol.SORRY, evol.HOLLOW]
    assert [one.failure for one in found] == failures * 2
    assert [one.parent for one in found] == list("abcdef") * 2
    assert [one.instruction for one in found if not one.failure] == [
        "Say a. And more.",
        "Say a. And more. And more.",
    ]
    assert found[0].response == "Answer to Say a. And more."
    # No verdict is asked on what copies, and no response to what is eliminated.
    assert model.batches == [6, 5, 3] * 2


def test_all_ways_are_taken_about_equally_often(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"instruction": f"Say {n}."} for n in range(500)])
    model = Model(script)
    made(evol.EvolInstruct(rows=path, shards=1, requests=500, rounds=1), model)
    first = Counter(request.chat[0][1].splitlines()[0] for request in model.asked[:500])
    forms = {}
    for way in evol.WAYS:
        asked = {prompt(f"evol_{way}", task="", form=form).splitlines()[0] for form in evol.FORMS}
        forms[way] = [first.pop(line, 0) for line in asked]
    assert not first and all(55 < sum(numbers) < 112 for numbers in forms.values())
    assert len(forms["complicate"]) == len(evol.FORMS) and all(forms["complicate"])


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("Sorry, I do not know.", evol.SORRY),
        ("Sorry. " + "It rained on all the roads of the town. " * 10, None),
        ("That is it, and so on...", evol.HOLLOW),
        ("?!", evol.HOLLOW),
        ("Paris", None),
        ("42", None),
    ],
)
def test_a_response_without_content_is_eliminated(response: str, reason: str | None) -> None:
    assert evol.hollow(response) == reason


def test_a_task_that_speaks_of_a_given_task_itself_copies_nothing() -> None:
    assert not evol._copies("Do the given task twice.", "Do the given task.")
    assert evol._copies("Do the given task twice.", "Do it.")


# Magpie, paraphrases, answers.


def test_magpie_goes_on_from_the_prefix_and_asks_what_came() -> None:
    model = Model(script)
    found = made(Magpie(requests=3), model, prefix="<user>")
    assert [request.text for request in model.asked] == ["<user>"] * 3 + [""] * 3
    asked = [request.chat[0] for request in model.asked[3:]]
    assert asked == [("user", one.instruction) for one in found]
    with pytest.raises(Refusal, match="method: magpie .* another method or backend"):
        made(Magpie(requests=3), Model(script), prefix=None)


def test_a_paraphrase_keeps_what_people_wrote_and_names_its_row(tmp_path: Path) -> None:
    said = {
        "Who won?": '"Which side was the winner?"',
        "Why did it rain?": "why did it  RAIN?!?",
        "Is it so?": "It is so.",
        "Say it is so.": "State that it is.",
        "How long?": "Sure!\nWhat length?",
    }
    path = write(
        tmp_path / "qa.jsonl",
        [{"question": q, "context": "c {question}", "answer": "They.", "id": 7} for q in said],
    )
    model = Model(lambda request: said[request.chat[0][1].splitlines()[-1]])
    found = made(Paraphrase(rows=path, shards=1, requests=5), model)
    assert found[0] == Candidate(
        instruction="Which side was the winner?",
        input="c {question}",
        response="They.",
        parent="7",
    )
    assert [one.failure for one in found] == [None, UNCHANGED, NO_QUESTION, None, LINES]


def test_each_prompt_is_answered_as_often_as_wished_even_across_shards(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": f"Say {n}.", "input": "x"} for n in range(5)])
    recipe, model = Answers(rows=path, shards=2, requests=8, number=3), Model(script)
    recipe.check()
    found = made(recipe, model, 100) + made(recipe, model, 101)
    assert Counter(one.parent for one in found) == {f"a.jsonl:{n}": 3 for n in range(1, 6)}
    assert len({one.response for one in found}) == 15
    assert model.asked[0].chat == (("user", "Say 0.\nx"),)


def test_shards_without_a_row_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": f"Say {n}."} for n in range(5)])
    Answers(rows=path, shards=3, requests=7, number=3).check()
    with pytest.raises(Refusal, match="5 rows, which are 15 requests, but 4 shards of 5 need"):
        Answers(rows=path, shards=4, requests=5, number=3).check()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: no JSON"),
        (b"\xff{}", "line 2: no JSON"),
        (b"[1]", "line 2: expected an object"),
        (b'{"output": "a"}', "line 2: no text under instruction, question, prompt"),
        (b'{"instruction": 3}', "line 2: instruction is 3"),
        (b'{"instruction": "\\ud800"}', "line 2: instruction holds half a character"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\n" + line + b"\n")
    with pytest.raises(Refusal, match=said):
        read("rows", str(tmp_path / "rows.jsonl"))


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="rows: .*none.jsonl: No such file"):
        read("rows", str(tmp_path / "none.jsonl"))
    with pytest.raises(Refusal, match="rows: .*a.jsonl has no row"):
        read("rows", write(tmp_path / "a.jsonl", []))


def test_the_seed_examples_are_no_tasks_and_serve_the_methods() -> None:
    rows = read("examples", SEEDS, ("response", "topic"))
    lines = (ROOT / "corpora/tasks.jsonl").read_text().splitlines()
    tasks = [json.loads(line)["instruction"].lower().split() for line in lines]
    assert len({row.instruction for row in rows}) == len(rows) >= 30
    assert len({row.topic for row in rows}) == 8
    for row in rows:
        assert max(f1(row.instruction.lower().split(), task) for task in tasks) < 0.7
    for recipe in recipes().values():
        if not isinstance(recipe, evol.EvolInstruct | Paraphrase | Answers | Spin):
            recipe.check()
