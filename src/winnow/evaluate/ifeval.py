"""Instructions that a program can check: IFEval, Zhou et al. 2023 (arXiv 2311.07911), strictly.

Each check follows the words of the paper's list; its name and arguments are those of the published
prompts. Sentences and words are told apart by expressions, not by a trained model.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from winnow.core.errors import Refusal

Check = Callable[..., bool]
"""A completion and the instruction's arguments by name; whether it was followed."""

UNCHECKED = {
    name: "needs a detector of languages"
    for name in (
        "language:response_language",
        "change_case:english_capital",
        "change_case:english_lowercase",
    )
}
"""Instructions that are not checked, and why."""

TITLES = re.compile(r"\b(Mr|Mrs|Ms|Dr|Prof|St)\.")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[^a-z\s])")


def _compared(count: int, relation: str, limit: int) -> bool:
    if relation not in ("at least", "less than"):
        raise Refusal(f"unknown relation {relation!r}: at least or less than")
    return count >= limit if relation == "at least" else count < limit


def _count(expression: str, text: str) -> int:
    return len(re.findall(expression, text))


def _parts(text: str, border: str) -> list[str] | None:
    """The parts between borders; none if one is empty, the first and the last left aside."""
    parts = [part.strip() for part in re.split(border, text)]
    parts = parts[not parts[0] : len(parts) - (not parts[-1])]
    return parts if all(parts) else None


def existence(text: str, keywords: list[str]) -> bool:
    """Every keyword occurs, in any case."""
    return all(word.lower() in text.lower() for word in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    """A keyword occurs at least, or less than, so many times."""
    return _compared(text.lower().count(keyword.lower()), relation, frequency)


def forbidden_words(text: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a word, in any case."""
    expressions = (rf"(?<!\w){re.escape(word)}(?!\w)" for word in forbidden_words)
    return not any(re.search(expression, text, re.IGNORECASE) for expression in expressions)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """A letter, in any case, occurs at least, or less than, so many times."""
    return _compared(text.lower().count(letter.lower()), let_relation, let_frequency)


def number_words(text: str, num_words: int, relation: str) -> bool:
    """At least, or less than, so many runs of letters and digits."""
    return _compared(_count(r"\w+", text), relation, num_words)


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    """At least, or less than, so many sentences.

    One ends with a mark and white space before anything but a small letter, not behind a title.
    """
    parts = SENTENCE_END.split(TITLES.sub(r"\1", text))
    return _compared(sum(bool(re.search(r"\w", part)) for part in parts), relation, num_sentences)


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """So many paragraphs, with the divider *** between them."""
    parts = _parts(text, r"\*\*\*")
    return parts is not None and len(parts) == num_paragraphs


def nth_paragraph_first_word(
    text: str, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """So many paragraphs, with an empty line between them, of which one starts with a word."""
    parts = [part for part in re.split(r"\n\n", text) if part.strip()]
    if len(parts) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    word = re.match(r"\W*([\w-]+)", parts[nth_paragraph - 1])
    return word is not None and word[1].lower() == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return _count(r"\[.*?\]", text) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """The marker of a postscript occurs as a word, in any case."""
    marker = re.escape(postscript_marker).replace(r"\.", r"\.\s?")
    return re.search(rf"(?<!\w){marker}", text, re.IGNORECASE) is not None


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    """Exactly so many lines that start with the bullet * or -."""
    return _count(r"(?m)^[^\S\n]*(?:\*(?!\*)|-)[^\n]*\S", text) == num_bullets


def constrained_response(text: str) -> bool:
    """One of the three answers that are allowed."""
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """At least so many parts *highlighted* in Markdown."""
    highlights = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    return sum(bool("".join(pair).strip()) for pair in highlights) >= num_highlights


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections, each started by the word and a number."""
    return _count(rf"{re.escape(section_spliter)}\s?\d+", text) >= num_sections


def json_format(text: str) -> bool:
    """All of it is JSON, in a fence of Markdown or not."""
    fenced = re.fullmatch(r"```(?:json)?\s(.*?)\s*```", text.strip(), re.IGNORECASE | re.DOTALL)
    try:
        json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """There is a title in double angular brackets."""
    return re.search(r"<<[^\n<>]*[^\s<>][^\n<>]*>>", text) is not None


def two_responses(text: str) -> bool:
    """Two different responses with six asterisks between them."""
    parts = _parts(text, r"\*{6}")
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    """It starts with the request, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """At least, or less than, so many words in capital letters alone."""
    words = re.findall(r"\w+(?:['’-]\w+)*", text)
    return _compared(sum(map(str.isupper, words)), capital_relation, capital_frequency)


def end_checker(text: str, end_phrase: str) -> bool:
    """It ends with the phrase, in any case; a quotation mark may follow."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """All of it stands in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(text: str) -> bool:
    """There is no comma."""
    return "," not in text


CHECKS: dict[str, Check] = {
    "change_case:capital_word_frequency": capital_word_frequency,
    "combination:repeat_prompt": repeat_prompt,
    "combination:two_responses": two_responses,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:json_format": json_format,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:title": title,
    "keywords:existence": existence,
    "keywords:forbidden_words": forbidden_words,
    "keywords:frequency": frequency,
    "keywords:letter_frequency": letter_frequency,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_words": number_words,
    "punctuation:no_comma": no_comma,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
}


def follows(text: str, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a completion follows an instruction; an empty one follows none.

    Raises:
        Refusal: the instruction is not known.
        TypeError: its arguments are other ones.
    """
    if name not in CHECKS:
        raise Refusal(f"unknown instruction {name!r}")
    return CHECKS[name](text, **arguments) and bool(text.strip())
