"""EM and F1 against SQuAD's published definition, told anew character by character; and answers of
a real model to test rows."""

import random
import string

import pyarrow as pa
import pytest
import torch
from tiny import ROOT

from winnow.core.errors import Refusal
from winnow.core.records import ROW_SCHEMA, Row
from winnow.core.rouge import rouge_l
from winnow.evaluate import answers
from winnow.evaluate.params import Answers
from winnow.models import judged

PIECES = [
    *(
        [
            "the",
            "a",
            "an",
            "The",
            "AN",
            "A",
            "theme",
            "another",
            "anna",
            "x",
            "y",
            "co-op",
            "U.S.",
            "don't",
            "€5",
            "3,000",
            "über",
            "Straße",
        ]
    ),
    *(
        [
            "İstanbul",
            "日本",
            "語",
            "é",
            "é",
            "thé",
            "a_b",
            "the_",
            "_a",
            "ñandú",
            "ǅ",
            "ﬁ",
            "Σίσυφος",
            "२",
            "½",
            "…the",
        ]
    ),
    *(["'a'", "(the)", "the-end", "the–end"]),
    *" \t\n\u00a0\u2003\u200b\u0085\x1c",
    *string.punctuation,
    "",
]


def oracle_words(text: str) -> list[str]:
    """Lower case, no punctuation, no articles, single spaces, a character at a time."""
    lowered = [char for char in text.lower() if char not in string.punctuation]
    found, word = list[str](), ""
    kept = ""
    for char in [*lowered, " "]:
        if char.isalnum() or char == "_":
            word += char
            continue
        kept += " " if word in ("a", "an", "the") else word
        kept += char
        word = ""
    for char in kept + " ":
        if char.isspace():
            found += [word] if word else []
            word = ""
        else:
            word += char
    return found


def oracle(answer: str, rights: list[str]) -> tuple[float, float]:
    """EM and F1 of SQuAD 2.0: the best over right answers that have a word."""
    rights = [right for right in rights if oracle_words(right)] or [""]
    matches, scores = [], []
    given = oracle_words(answer)
    for right in map(oracle_words, rights):
        matches.append(1.0 if " ".join(given) == " ".join(right) else 0.0)
        left, common = list(right), 0
        for word in given:
            if word in left:
                left.remove(word)
                common += 1
        if not given or not right:
            scores.append(1.0 if given == right else 0.0)
        elif common == 0:
            scores.append(0.0)
        else:
            precision, recall = common / len(given), common / len(right)
            scores.append(2 * precision * recall / (precision + recall))
    return max(matches), max(scores)


def test_em_and_f1_are_squads_on_generated_cases() -> None:
    rng = random.Random(0)

    def text() -> str:
        glue = rng.choice(["", " ", " ", " "])
        return glue.join(rng.choice(PIECES) for _ in range(rng.randrange(7)))

    seen = {"match": 0, "partial": 0, "empty": 0}
    for _ in range(20_000):
        rights = [text() for _ in range(rng.randint(1, 4))]
        answer = text()
        if rng.random() < 0.5:  # near one of them
            pieces = rng.choice(rights).split(" ")
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(["the", "An", "!", "", "x"]))
            answer = " ".join(pieces).swapcase()
        found, (match, score) = answers.best(answer, rights), oracle(answer, rights)
        assert found["exact_match"] == match, (answer, rights)
        assert found["f1"] == pytest.approx(score, abs=1e-12), (answer, rights)
        assert found["rouge_l"] == max(
            rouge_l(answer, right) for right in [r for r in rights if oracle_words(r)] or [""]
        )
        seen["match"] += match == 1
        seen["partial"] += 0 < score < 1
        seen["empty"] += not oracle_words(answer)
    assert min(seen.values()) > 500, seen


@pytest.mark.parametrize(
    ("answer", "rights", "match", "score"),
    [
        ("the Denver Broncos!", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos", "The Broncos"], 1, 1),
        ("in the 10th century", ["10th and 11th centuries"], 0, 2 / 7),
        ("U.S.", ["US"], 1, 1),
        ("", ["The"], 1, 1),
        ("x", ["...", "a"], 0, 0),
    ],
)
def test_known_cases(answer: str, rights: list[str], match: float, score: float) -> None:
    found = answers.best(answer, rights)
    assert found["exact_match"] == match and found["f1"] == pytest.approx(score)


def test_right_answers_in_squads_layouts() -> None:
    for value in (
        '["in", "on"]',
        '{"text": ["in", "on"], "answer_start": [1, 2]}',
        '[{"text": "in", "answer_start": 1}, {"text": "on", "answer_start": 2}]',
    ):
        assert answers.rights_of(value) == ["in", "on"]
    for value in ("", "[]", "{}", '{"text": 5}', "[1]", '"in"', "null"):
        with pytest.raises((ValueError, TypeError)):
            answers.rights_of(value)


ROWS = pa.table(
    {
        "id": ["a", "b", "c"],
        "source": ["x", "x", "y"],
        "instruction": ["What is 2 plus 3?", "Name the opposite of hot.", "Say it. " * 200],
        "input": ["", "", ""],
        "response": ["5", "cold", "it"],
    },
    ROW_SCHEMA,
)


def test_a_real_decoder_answers_greedily_and_whatever_the_batch() -> None:
    model = judged.load(ROOT / "base/models/all_100pct_1M/0")
    rights = [[text, "other"] for text in ROWS["response"].to_pylist()]
    settings = Answers(max_new_tokens=12)
    table, means = answers.ask(model, ROWS, rights, settings, 8)
    assert table.equals(answers.ask(model, ROWS, rights, settings, 1)[0])
    given = table["answer"].to_pylist()
    assert given[0] and given[1] and given[2] == ""  # the third question leaves no room
    for text, row in zip(given[:2], ROWS.to_pylist(), strict=False):
        ids = torch.tensor([model.prompt_ids([Row(**row).question])[0]])
        end = model.vocabulary.end_of_text
        made = model.network.generate(
            ids, do_sample=False, max_new_tokens=12, eos_token_id=end, pad_token_id=end
        )[0, ids.shape[1] :].tolist()
        made = made[: made.index(end)] if end in made else made
        assert text == model.vocabulary.tokenizer.decode(made, skip_special_tokens=True).strip()
    for name in answers.FIGURES:
        assert means[name] == pytest.approx(sum(table[name].to_pylist()) / 3)


def test_right_answers_come_from_a_kept_column_or_the_response() -> None:
    assert answers.right_answers(ROWS, Answers()) == [["5"], ["cold"], ["it"]]
    kept = ROWS.append_column("kept:answers", pa.array(['["5", "five"]', '["cold"]', "[]"]))
    with pytest.raises(Refusal, match="row c has no list of answers in 'Answers'"):
        answers.right_answers(kept, Answers(column="Answers"))
    assert answers.right_answers(kept.slice(0, 2), Answers(column="Answers"))[0] == ["5", "five"]
    with pytest.raises(Refusal, match="no column 'gold': name it in ingest.keep"):
        answers.right_answers(kept, Answers(column="gold"))
