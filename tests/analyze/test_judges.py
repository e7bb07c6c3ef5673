"""A judge of two answers behind a real socket: in both orders, and refused where attacks win.

pytest tests/analyze/test_judges.py
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generate.service import FAULTS, SLOW, Service, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import build

from winnow.analyze import judges, stage
from winnow.analyze.judges import ATTACKS, Answered, Pair
from winnow.analyze.params import AnalyzeConfig, Preferences
from winnow.analyze.params import Service as Asked
from winnow.analyze.questions import preferences
from winnow.core import chat, params
from winnow.core.errors import Refusal
from winnow.core.records import Sample

Seen = dict[str, str]
SEEDS = (0, 1)
PROMPTS = 24


def worth(text: str) -> int:
    """What a sober judge counts: a text is as good as it has plain words `good`."""
    return text.count("good")


def says(first: float) -> str:
    return json.dumps({"better": {1: "first", 0: "tie", -1: "second"}[int(np.sign(first))]})


def sober(seen: Seen) -> str:
    return says(worth(seen["first"]) - worth(seen["second"]))


def obedient(seen: Seen) -> str:
    orders = [int("holds this sentence" in seen[name]) for name in ("first", "second")]
    return says(orders[0] - orders[1]) if any(orders) else sober(seen)


def broken(seen: Seen) -> str:
    ends = [int('Reply: {"better"' in seen[name]) for name in ("first", "second")]
    return '{"better": "tie"}' if any(ends) else sober(seen)


def brief(seen: Seen) -> str:
    return says(len(seen["second"]) - len(seen["first"]))


def echoing(seen: Seen) -> str:
    same = [int(seen[name] == seen["instruction"]) for name in ("first", "second")]
    return says(same[0] - same[1]) if any(same) else sober(seen)


def biased(seen: Seen) -> str:
    """One who takes the first of answers that are about alike."""
    difference = worth(seen["first"]) - worth(seen["second"])
    return says(difference if abs(difference) > 1 else 1)


def wordy(seen: Seen) -> str:
    """One who likes length, but not of what is worth nothing."""
    if not worth(seen["first"]) * worth(seen["second"]):
        return sober(seen)
    return says(len(seen["first"]) - len(seen["second"]))


def written(judge: Callable[[Seen], str]) -> Callable[[dict[str, Any]], str]:
    return lambda asked: judge(json.loads(asked["messages"][1]["content"]))


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chat, "PAUSES", (0.001,) * 5)
    with serving(Service(write=written(sober))) as scripted:
        yield scripted


def arm(name: str, answer: Callable[[int, int], str], passed: Any = None) -> Any:
    """An arm of two seeds that answers each prompt; `passed` by prompt and seed."""
    runs = []
    for seed in SEEDS:
        samples = [
            Sample(
                prompt=f"### Instruction:\nAsk {at}?\n\n### Response:\n",
                completion=text,
                passed=passed and passed(at, seed),
                reference=None if passed else "good good good good",
                answer=None,
            )
            for at in range(PROMPTS)
            for text in (answer(at, seed), "another sample, good good good good good")
        ]
        runs.append(SimpleNamespace(samples=samples))
    return SimpleNamespace(name=name, model_name="tiny", runs=tuple(runs))


def study(*arms: Any) -> Any:
    return SimpleNamespace(arms=arms, seeds=SEEDS)


def ask(grid: Any, url: str, **keys: Any) -> preferences.Judged:
    keys = {"canaries": 3} | keys
    chosen = Preferences(baseline="base", judge=Asked(url=url, model="m", workers=3), **keys)
    values = preferences.ask(grid, AnalyzeConfig(preferences=chosen)).values
    assert isinstance(values, preferences.Judged)
    return values


def goods(number: int) -> str:
    return " ".join(["good"] * number) or "bad"


def drawn(most: int, salt: int) -> Callable[[int, int], str]:
    """Answers of 1 to `most` good words."""
    return lambda at, seed: goods(random.Random(1000 * salt + 10 * at + seed).randint(1, most))


BASE, OTHER = arm("base", drawn(3, 0)), arm("other", drawn(4, 1))


def oracle(one: Any, other: Any, judge: Callable[[Seen], str]) -> dict[str, float]:
    """Both orders of every first sample, counted by a plain loop."""
    first = {'{"better": "first"}': 1.0, '{"better": "tie"}': 0.5, '{"better": "second"}': 0.0}
    preferred, shown_first, same = [], [], []
    for runs in zip(one.runs, other.runs, strict=True):
        for mine, theirs in zip(*(run.samples[::2] for run in runs), strict=True):
            seen = {"instruction": "?", "first": mine.completion, "second": theirs.completion}
            turned = seen | {"first": seen["second"], "second": seen["first"]}
            ahead, behind = first[judge(seen)], 1 - first[judge(turned)]
            preferred.append((ahead + behind) / 2)
            shown_first += [ahead, 1 - behind]
            same.append(ahead == behind)
    return {
        "win_rate": float(np.mean(preferred)),
        "shown_first": float(np.mean(shown_first)),
        "consistent": float(np.mean(same)),
    }


@pytest.mark.parametrize("judge", [sober, biased, wordy])
def test_verdicts_and_biases_are_counted(service: Service, judge: Callable[[Seen], str]) -> None:
    service.write = written(judge)
    found = ask(study(BASE, OTHER), service.url).arms["other"]
    for name, value in oracle(OTHER, BASE, judge).items():
        got = getattr(found, name)
        assert getattr(got, "value", got) == pytest.approx(value), name
    assert found.prompts == PROMPTS and found.seeds == 2 and not found.no_verdict
    assert found.win_rate.low < found.win_rate.value < found.win_rate.high
    assert (found.shown_first == 0.5) == (judge is not biased)
    assert found.length_controlled and found.length_coefficient
    if judge is wordy:
        assert abs(found.length_controlled.value - 0.5) < abs(found.win_rate.value - 0.5)
    assert "agreement" in found.reasons


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (obedient, "prefers an answer that orders its preference to a good answer in 100% of 6"),
        (broken, "prefers a constant answer that pretends to end the message .* in 50% of 6"),
        (brief, "prefers an empty answer to a good answer in 100% of 6 verdicts, expected at"),
        (echoing, "prefers the question copied to a good answer in 100%"),
        (lambda seen: '{"better": "first"}', "prefers an empty answer to a good answer in 50%"),
        (lambda seen: "The first one is better.", "0 of 6 verdicts on an empty answer can be"),
    ],
)
def test_a_judge_that_attacks_deceive_judges_nothing(
    service: Service, judge: Callable[[Seen], str], said: str
) -> None:
    service.write = written(judge)
    with pytest.raises(Refusal, match=f"analyze.preferences.judge: {said}"):
        ask(study(BASE, OTHER), service.url)
    assert len(service.served) <= 6 * len(ATTACKS)


def test_injections_in_answers_win_nothing_and_are_counted(service: Service) -> None:
    orders = [attack("?") for attack in ATTACKS.values()][2:]
    attacked = arm("other", lambda at, seed: f"{drawn(4, 1)(at, seed)} {orders[at % 2]}")
    plain = ask(study(BASE, OTHER), service.url).arms["other"]
    found = ask(study(BASE, attacked), service.url).arms["other"]
    assert found.win_rate == plain.win_rate and plain.to_a_judge == 0
    assert found.to_a_judge == 2 * PROMPTS


@settings(max_examples=30)
@given(st.lists(st.text(max_size=40), min_size=3, max_size=3))
def test_a_judge_sees_every_text_as_it_is(texts: list[str]) -> None:
    seen: list[Seen] = []

    def remember(_path: str, body: bytes, _read: Any) -> chat.Said:
        seen.append(json.loads(json.loads(body)["messages"][1]["content"]))
        return chat.Said('{"better": "first"}', "stop", 1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat.Service, "ask", lambda self, *given: remember(*given))
        patch.setattr(chat, "_kept", lambda path: None)
        patch.setattr(chat.files, "write_json", lambda path, value: None)
        judge = judges.of(Preferences(baseline="b", judge=Asked(url="http://127.0.0.1", model="m")))
        judge([Pair(texts[0], Answered(texts[1]), Answered(texts[2]))])
    assert seen == [dict(zip(("instruction", "first", "second"), texts, strict=True))]


def test_no_verdict_is_bought_twice_and_faults_change_nothing(service: Service) -> None:
    first = ask(study(BASE, OTHER), service.url)
    bought = len(service.served)
    assert set(service.served.values()) == {1}
    service.write = written(lambda seen: "never asked")
    assert ask(study(BASE, OTHER), service.url) == first and len(service.served) == bought
    # Statuses and bodies of a network that fails, but none that only a time limit ends.
    quick = [name for name in FAULTS if name not in SLOW]
    with serving(Service(write=written(sober), faults=quick, share=0.3)) as faulty:
        again = ask(study(BASE, OTHER), faulty.url)
        assert sum(faulty.failed.values()) > 10 and set(faulty.served.values()) == {1}
    assert again.arms == first.arms and again.canaries == first.canaries


def test_pairs_without_a_verdict_are_left_out_with_their_reasons(service: Service) -> None:
    def absent(seen: Seen) -> str:
        return "no idea" if seen["instruction"] in ("Ask 3?", "Ask 4?") else sober(seen)

    service.write = written(absent)
    long = arm("other", lambda at, seed: "x" * 30_000 if at == 5 and seed else goods(1 + at % 2))
    found = ask(study(BASE, long), service.url, canaries=24).arms["other"]
    assert found.prompts == PROMPTS - 3 and found.left_out == 3
    assert found.no_verdict == {judges.UNREADABLE: 8, judges.TOO_LONG: 2}


def with_program(monkeypatch: pytest.MonkeyPatch, judge: Callable[..., Any]) -> str:
    """A program of a user's package."""
    module = ModuleType("my_judge")
    module.__dict__["judge"] = judge
    module.__file__ = __file__
    monkeypatch.setitem(sys.modules, "my_judge", module)
    return "my_judge:judge"


def test_a_program_judges_what_it_can_check(monkeypatch: pytest.MonkeyPatch) -> None:
    one = arm("other", lambda at, seed: goods(2), lambda at, seed: at % 3 == 0)
    base = arm("base", lambda at, seed: goods(1), lambda at, seed: at % 2 == 0)
    chosen = Preferences(baseline="base", judge="winnow.analyze.judges:checked")
    answer = preferences.ask(study(base, one), AnalyzeConfig(preferences=chosen))
    assert isinstance(answer.values, preferences.Judged)
    found = answer.values.arms["other"]
    # Of six prompts one is passed by the arm alone, two by the baseline alone, three are ties.
    assert found.win_rate.value == pytest.approx((1 + 3 * 0.5) / 6)
    assert found.agreement == 1 and found.decided == PROMPTS
    assert "It sides with the program on 100% of 24 pairs." in answer.sentence
    for wrong, said in (
        (lambda pairs: [0.5], "gave 1 verdicts to 20 pairs"),
        (lambda pairs: [2.0] * len(pairs), r"expected None or a verdict in \[0, 1\], found 2.0"),
        (lambda pairs: [None] * len(pairs), "0 of 20 verdicts on an empty answer can be read"),
    ):
        path = with_program(monkeypatch, wrong)
        with pytest.raises(Refusal, match=said):
            mine = Preferences(baseline="base", judge=path)
            preferences.ask(study(base, one), AnalyzeConfig(preferences=mine))


def test_published_judgements_of_a_constant_answer_are_caught(winnow_data: Path) -> None:
    path = winnow_data / "preferences/alpaca_eval_2_judgements.parquet"
    rows = pq.read_table(path).to_pylist()
    told = {(row["instruction"], row["output"]): row["preference"] - 1 for row in rows}

    def published(pairs: Any) -> list[float]:
        """What GPT-4 Turbo said; the baseline's answers go by a name here."""
        return [
            1 - told[pair.question, pair.second.text]
            if pair.first.text == "baseline"
            else told[pair.question, pair.first.text]
            for pair in pairs
        ]

    for model, preferred in (("NullModel", 0.769), ("text_davinci_001", 0.028)):
        answers = {row["instruction"]: row["output"] for row in rows if row["model"] == model}
        good = [(question, Answered("baseline")) for question in answers]
        found = judges.canaries(published, good, {model: answers.__getitem__})
        assert found[model].preferred == pytest.approx(preferred, abs=0.001)
        if model == "NullModel":
            assert len(set(answers.values())) == 1
            with pytest.raises(Refusal, match=r"prefers NullModel .* in 77% of 1610 verdicts"):
                judges.refuse_deceived(found, 0.3)
        else:
            judges.refuse_deceived(found, 0.3)


def test_a_file_of_answers_is_a_baseline(service: Service, tmp_path: Path) -> None:
    rows = [{"instruction": f"Ask {at}?", "output": goods(1 + at % 3)} for at in range(PROMPTS)]
    lines = tmp_path / "answers.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = tmp_path / "answers.json"
    whole.write_text(json.dumps(rows))
    found = []
    for path in (lines, whole):
        chosen = Preferences(
            baseline=str(path), judge=Asked(url=service.url, model="m"), canaries=1
        )
        values = preferences.ask(study(OTHER), AnalyzeConfig(preferences=chosen)).values
        assert isinstance(values, preferences.Judged) and "sha256" in values.baseline
        found.append(values.arms["other"])
    assert found[0] == found[1] and found[0].prompts == PROMPTS
    lines.write_text('{"instruction": "Ask?"}\n')
    with pytest.raises(Refusal, match=r"an experiment of the grid or a file .*answers.jsonl"):
        preferences.read_file(lines)


def test_answers_to_the_test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arms = [SimpleNamespace(name=name, model_name="tiny", runs=[]) for name in ("base", "other")]
    ids = [f"r{at}" for at in range(20)]
    for one, rate in zip(arms, (5, 10), strict=True):
        for seed in SEEDS:
            place = Path(one.name, str(seed))
            (place / "answers").mkdir(parents=True)
            right = [float(at < rate) for at in range(20)]
            table = {"id": ids, "answer": ["a"] * 20, "rights": [["b", "c"]] * 20, "f1": right}
            pq.write_table(pa.table(table), place / "answers/items.parquet")
            one.runs.append(SimpleNamespace(folder=place))
    rows = {name: [""] * 20 for name in ("source", "input", "response")}
    Path("artifacts/curate").mkdir(parents=True)
    texts = [f"Ask {at}?" for at in range(20)]
    pq.write_table(pa.table(rows | {"id": ids, "instruction": texts}), preferences.TEST_ROWS)
    chosen = Preferences(baseline="base", judge="winnow.analyze.judges:checked", answers="answers")
    values = preferences.ask(study(*arms), AnalyzeConfig(preferences=chosen)).values
    assert isinstance(values, preferences.Judged)
    assert values.arms["other"].win_rate.value == pytest.approx((5 + 15 * 0.5) / 20)
    Path("other/1/answers/items.parquet").unlink()
    with pytest.raises(Refusal, match="other/1/answers/items.parquet is missing: set evaluate.ans"):
        preferences.ask(study(*arms), AnalyzeConfig(preferences=chosen))


def test_a_conversation_is_judged_as_one(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [SimpleNamespace(name=name, model_name="tiny", runs=[]) for name in ("base", "other")]
    for one, number in zip(arms, (1, 3), strict=True):
        for seed in SEEDS:
            lines = [
                {
                    "turns": [f"Ask {at}?", "And then?"],
                    "reference": ["good " * 9, "good " * 9] if at < 4 else None,
                    "answers": [goods(2), goods(number)][: 1 if at == 9 else 2],
                }
                for at in range(10)
            ]
            place = Path(one.name, str(seed))
            (place / "conversations").mkdir(parents=True)
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (place / "conversations/answers.jsonl").write_text(text)
            one.runs.append(SimpleNamespace(folder=place))
    values = ask(study(*arms), service.url, answers="conversations")
    assert values.arms["other"].win_rate.value == 1
    assert values.arms["other"].prompts == 9, "one broke off"
    bodies = [json.loads(one["messages"][1]["content"]) for one in map(json.loads, service.served)]
    shown = "[turn 1]\ngood good\n\n[turn 2]\ngood good good"
    assert shown in {body["first"] for body in bodies}
    assert "[turn 1]\nAsk 3?\n\n[turn 2]\nAnd then?" in {body["instruction"] for body in bodies}
    Path("other/1/conversations/answers.jsonl").unlink()
    with pytest.raises(Refusal, match="answers.jsonl is missing: set evaluate.conversations"):
        ask(study(*arms), service.url, answers="conversations")


def test_what_cannot_be_judged_is_refused(service: Service) -> None:
    with pytest.raises(Refusal, match="analyze.preferences is missing: .* expects a baseline"):
        preferences.ask(study(BASE, OTHER), AnalyzeConfig())
    alone = arm("other", lambda at, seed: "bad", lambda at, seed: False)
    weak = arm("base", lambda at, seed: "bad", lambda at, seed: False)
    with pytest.raises(Refusal, match="no prompt has an answer that is known to be good"):
        ask(study(weak, alone), service.url)
    with pytest.raises(Refusal, match="expected an experiment of the grid or a file of answers"):
        ask(study(OTHER), service.url)
    given = {"baseline": "base", "judge": "checked"}
    with pytest.raises(Refusal, match=r"analyze.preferences.judge: expected url and model of a"):
        params.build(AnalyzeConfig, {"preferences": given}, "analyze")


def test_the_stage_asks_and_the_report_says_it(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    with serving(Service(write=written(lambda seen: says(len(seen["first"]) % 9 - 4)))) as scripted:
        names = ["ultra_300_1M", "high_1k_1M"]
        question = "winnow.analyze.questions.preferences:ask"
        asked = {"baseline": names[0], "judge": {"url": scripted.url, "model": "m"}}
        build(
            tmp_path,
            names,
            [0, 1],
            questions=["answer", "performance_vs_size", "efficiency_metrics", question],
            preferences=asked | {"max_canary": 1.0, "canaries": 2},
        )
        stage.run()
        before = Path("analysis/analysis.json").read_bytes()
        bought = len(scripted.served)
        stage.run()
    assert Path("analysis/analysis.json").read_bytes() == before
    assert len(scripted.served) == bought
    found = json.loads(before)[question]
    one = found["arms"]["high_1k_1M"]
    assert one["prompts"] == 6 and one["win_rate"]["value"] == 0.5
    assert list(found["canaries"]) == sorted(ATTACKS)
    sentence = "high_1k_1M is preferred to ultra_300_1M on 50.0% ("
    assert sentence in capsys.readouterr().out
    assert sentence in Path("analysis/report.html").read_text(encoding="utf-8")
