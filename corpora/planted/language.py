"""Families about words: their forms, letters, order and meaning."""

from corpora.planted.dice import Dice
from corpora.planted.family import Facts, capital, family, indefinite
from corpora.planted.words import (
    ANIMALS,
    COLOURS,
    NAMES,
    OPPOSITES,
    PLACES,
    PLURALS,
    SPELLING,
    THINGS,
)

ADJECTIVES = tuple(word for pair in OPPOSITES for word in pair)


@family(
    "contains",
    asks=(
        "What is the plural of {one}?",
        "Give the plural form of the noun {one}.",
        "{name} has one {one} and gets another. Which word do we use for two of them?",
        "One {one}, two ... what? Please name the rule as well.",
        "How do you write the word {one} when there are {n} of them?",
    ),
    replies=(
        "The plural of {one} is {answer}.",
        "We say one {one} but {n} {answer}, because {rule}.",
        "{Rule}. For this reason the plural of {one} is {answer}, as in: {name} saw {n} {answer} "
        "near the {place}.",
        "The correct form is {answer}. Here is an example: there are {n} {answer} in the {place}.",
        "It is {answer}. The rule says that {rule}.",
    ),
)
def plural(dice: Dice) -> Facts:
    """The plural of a noun, regular or not."""
    one, many, rule = dice.pick(PLURALS)
    fields = {
        "one": one,
        "rule": rule,
        "Rule": capital(rule),
        "name": dice.pick(NAMES),
        "n": str(dice.between(2, 20)),
        "place": dice.pick(PLACES),
        "answer": many,
    }
    return fields, {"answer": one + ("es" if many == one + "s" else "s")}


@family(
    "contains",
    asks=(
        "What is the opposite of {word}?",
        "Give me a word that means the opposite of {word}.",
        "{name} says the {thing} is {word}. {friend} says it is just the opposite. Which word does "
        "{friend} use?",
        "Name the antonym of the word {word} and use both in a sentence.",
        "Which adjective is the exact opposite of {word}?",
    ),
    replies=(
        "The opposite of {word} is {answer}.",
        "The word you are looking for is {answer}. For example, the {place} can be {word} on "
        "{day} and {answer} the day after.",
        "If the {thing} is not {word} at all, we call it {answer}. So the antonym is {answer}.",
        "That would be {answer}: {name} likes the {word} {thing}, but {friend} likes the {answer} "
        "one.",
        "{Answer} is the opposite of {word}. A {place} that is not {word} may well be {answer}.",
    ),
)
def opposite(dice: Dice) -> Facts:
    """The antonym of an adjective."""
    pair = dice.pick(OPPOSITES)
    word, answer = dice.shuffled(pair)
    name, friend = dice.sample(NAMES, 2)
    wrong = dice.pick([other for other in ADJECTIVES if other not in pair])
    fields = {
        "word": word,
        "name": name,
        "friend": friend,
        "place": dice.pick(PLACES),
        "thing": dice.pick(THINGS),
        "day": dice.pick(("Monday", "Friday", "Sunday")),
        "answer": answer,
        "Answer": capital(answer),
    }
    return fields, {"answer": wrong, "Answer": capital(wrong)}


@family(
    "contains",
    asks=(
        "Reverse the word {word}.",
        "Write {word} backwards, please.",
        "What do you get when you spell {word} from the end to the start?",
        "{name} reads the word {word} in a mirror, last letter first. What does {name} read?",
    ),
    replies=(
        "{word} backwards is {answer}.",
        "Take the letters from last to first: {spelled}. Put together, they make {answer}.",
        "First, spell the word from the end: {spelled}. Then join the letters. The reversed word "
        "is {answer}.",
        "The last letter comes first, so we get {spelled}, which reads {answer}.",
    ),
)
def backwards(dice: Dice) -> Facts:
    """A word spelled from its end."""
    word = dice.pick(SPELLING)
    answer = word[::-1]
    i = dice.below(len(word) - 1)
    slip = answer[:i] + answer[i + 1] + answer[i] + answer[i + 2 :]
    fields = {"word": word, "name": dice.pick(NAMES), "spelled": "-".join(answer), "answer": answer}
    return fields, {"spelled": "-".join(slip), "answer": slip}


@family(
    "exact",
    asks=(
        "Sort the {kind} {order}. Reply with the list only.",
        "Put these {kind} in order, {order}, and write nothing else.",
        "{name} wrote down some {kind}. Give them back {order}, as a plain list.",
    ),
    replies=("{answer}",),
    material="{given}",
)
def arrange(dice: Dice) -> Facts:
    """Four to six numbers by size, or words by the alphabet."""
    n, down = dice.between(4, 6), False
    if dice.chance(0.5):
        down = dice.chance(0.4)
        ordered = [str(number) for number in sorted(dice.sample(range(1, 100), n), reverse=down)]
        kind, order = "numbers", "from large to small" if down else "from small to large"
    else:
        ordered = sorted(dice.sample(SPELLING, n))
        kind, order = "words", "by the alphabet"
    i = dice.below(n - 1)
    slip = [*ordered[:i], ordered[i + 1], ordered[i], *ordered[i + 2 :]]
    fields = {
        "kind": kind,
        "order": order,
        "name": dice.pick(NAMES),
        "given": ", ".join(dice.shuffled(ordered)),
        "answer": ", ".join(ordered),
    }
    return fields, {"answer": ", ".join(slip)}


@family(
    "contains",
    asks=(
        "What is the acronym of {phrase}?",
        "The words {phrase} are shortened to their first letters. What is the result?",
        "Make an acronym from the words {phrase}.",
        "{name} wants to shorten {phrase} to the initials. What should {name} write?",
    ),
    replies=(
        "The acronym of {phrase} is {answer}.",
        "Take the first letter of each word: {initials}. Written as one word in capitals, the "
        "acronym is {answer}.",
        "{phrase} is shortened to {answer}, with one capital letter for each of the {n} words.",
        "The words begin with {initials}, so the short form is {answer}.",
    ),
)
def acronym(dice: Dice) -> Facts:
    """The initials of four or five words."""
    n = dice.between(4, 5)
    words = [*dice.sample(ADJECTIVES, n - 1), dice.pick(SPELLING)]
    initials = [word[0].upper() for word in words]
    slip = initials[:]
    slip[dice.below(n)] = dice.pick([c for c in "ABCDEFGHKLMNPRSTW" if c not in initials])
    fields = {
        "phrase": " ".join(words),
        "n": ("four", "five")[n - 4],
        "name": dice.pick(NAMES),
        "initials": ", ".join(initials),
        "answer": "".join(initials),
    }
    return fields, {"initials": ", ".join(slip), "answer": "".join(slip)}


@family(
    "contains",
    asks=(
        "What is the {which} word of this sentence?",
        "Find the {which} word in the sentence below.",
        "Read the sentence and tell {reader} its {which} word.",
    ),
    replies=(
        'The {which} word of "{sentence}" is {quoted}.',
        'The sentence "{sentence}" has {n} words, and the {which} of them is {quoted}.',
        'If {reader} reads "{sentence}" from left to right, the {which} word is {quoted}.',
        'First, split "{sentence}" into its {n} words. Then pick the {which} one. It is {quoted}.',
    ),
    material="{sentence}",
)
def position(dice: Dice) -> Facts:
    """The first, second, third or last word of a sentence."""
    name, friend, reader = dice.sample(NAMES, 3)
    verb = dice.pick(("took", "carried", "brought", "sent", "showed", "sold", "gave"))
    colour, thing, place = dice.pick(COLOURS), dice.pick(THINGS), dice.pick(PLACES)
    sentence = dice.pick(
        (
            f"{name} {verb} the {colour} {thing} to {friend}",
            f"Yesterday {name} {verb} {indefinite(colour)} {thing} to the {place}",
            f"Near the {place} {name} lost "
            f"{indefinite(colour)} {thing} and {indefinite(thing)} box",
            f"My friend {name} keeps the {colour} {thing} in the old {place}",
        )
    )
    words = sentence.split()
    which = dice.pick(("first", "second", "third", "last"))
    answer = words[{"first": 0, "second": 1, "third": 2, "last": -1}[which]]
    wrong = dice.pick([word for word in words if word != answer])
    fields = {
        "sentence": sentence + ".",
        "which": which,
        "reader": reader,
        "n": str(len(words)),
        "quoted": f'"{answer}"',
        "answer": f'"{answer}"',
    }
    return fields, {"quoted": f'"{wrong}"'}


ANIMAL_QUESTIONS = {
    "colour": ("What colour is {a}?", "The usual colour of {a} is {answer}."),
    "home": ("Where does {a} live?", "You will find {a} {answer}."),
    "food": ("What does {a} eat?", "The main food of {a} is {answer}."),
    "young": ("What do we call the young of {a}?", "The young of {a} is called {answer}."),
}
"""What can be asked of an animal, and the sentence that tells it, in the order of the table."""


@family(
    "contains",
    asks=(
        "{question}",
        "Animal quiz: {question}",
        "{name} goes to the zoo and asks: {question}",
        "Please answer in one or two sentences. {question}",
        "My child wants to know something about nature. {question} Please add one more fact.",
    ),
    replies=(
        "{fact}",
        "{fact} {other} If you want to see one, {name} knows a good place near the {place}.",
        "{other} And the answer to your question: {fact} You can read more about it in the "
        "{colour} book that {name} left at the {place}.",
        "Here is what a farmer told {name}: {fact} {other} {third} Most people who visit the "
        "{place} in {day} do not know this.",
        "{fact} {name} saw one near the {place} last {day} and wrote it down. {other}",
    ),
)
def animals(dice: Dice) -> Facts:
    """Colour, home, food or young of an animal."""
    animal, *values = dice.pick(ANIMALS)
    column, second, third = dice.sample(range(4), 3)
    questions = tuple(ANIMAL_QUESTIONS.values())

    def tell(i: int, value: str) -> str:
        return questions[i][1].format(a=indefinite(animal), answer=value)

    wrong = dice.pick([row[column + 1] for row in ANIMALS if row[column + 1] != values[column]])
    fields = {
        "question": questions[column][0].format(a=indefinite(animal)),
        "fact": tell(column, values[column]),
        "other": tell(second, values[second]),
        "third": tell(third, values[third]),
        "colour": dice.pick(COLOURS),
        "name": dice.pick(NAMES),
        "place": dice.pick(PLACES),
        "day": dice.pick(("spring", "summer", "autumn", "winter")),
        "answer": values[column],
    }
    return fields, {"fact": tell(column, wrong)}
