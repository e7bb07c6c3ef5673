"""Families with longer replies: code, instructions, reasons and notes."""

from corpora.planted.dice import Dice
from corpora.planted.family import Facts, capital, family, indefinite
from corpora.planted.words import (
    CODE_VERBS,
    COLOURS,
    DAYS,
    HOW_TO,
    LIST_NOUNS,
    LIST_WORK,
    NAMES,
    NUMBER_NOUNS,
    PEOPLE,
    PLACES,
    PLURALS,
    TEXT_NOUNS,
    TEXT_WORK,
    WEIGHTS,
)

STEPS = (("adds {n} to", "+ {n}"), ("subtracts {n} from", "- {n}"), ("multiplies by {n}", "* {n}"))


def number_work(dice: Dice) -> tuple[str, str, str]:
    """What a function does to the number {x}, the expression, and a wrong expression."""
    n, m, slip = dice.sample(range(2, 13), 3)
    (what, sign) = dice.pick(STEPS)
    does = f"{what.format(n=n)} {{x}}" if "by" not in what else f"multiplies {{x}} by {n}"
    expression, wrong = f"{{x}} {sign.format(n=n)}", f"{{x}} {sign.format(n=slip)}"
    if "*" in sign and dice.chance(0.7):
        verb, tail = dice.pick((("adds", "+"), ("subtracts", "-")))
        does += f" and then {verb} {m}"
        return does, f"{expression} {tail} {m}", f"{{x}} {tail} {m} * {n}"
    return does, expression, wrong


@family(
    "contains",
    asks=(
        "Write a Python function {name} that {does}.",
        "I need a short Python function called {name}. It takes {x} and {does}.",
        "Show me Python code for a function {name} that {does}, and explain it.",
        "How would you write a function in Python that {does}? Call it {name}.",
    ),
    replies=(
        "```python\ndef {name}({x}):\n    {answer}\n```",
        "Here is the function:\n\n```python\ndef {name}({x}):\n    {answer}\n```\n\nIt takes {x} "
        "and {does}. {user} can save it in a file called {name}.py and use it from there.",
        "```python\ndef {name}({x}):\n    {answer}\n```\n\nThe function has one argument, {x}. The "
        "only line of the body {does} and gives the result back. Nothing is printed, so {user} "
        "still has to print the result.",
        "You can do this in one line:\n\n```python\ndef {name}({x}):\n    {answer}\n```\n\nTo use "
        "it, call {name} with {example} of your own and keep what it returns in a variable such "
        "as {variable}.",
    ),
)
def python(dice: Dice) -> Facts:
    """A function of one line, from a small grammar of operations."""
    kind = dice.below(3)
    x = dice.pick((NUMBER_NOUNS, LIST_NOUNS, TEXT_NOUNS)[kind])
    if kind == 0:
        does, expression, wrong = number_work(dice)
    else:
        work = (LIST_WORK, TEXT_WORK)[kind - 1]
        (does, expression), (_, wrong) = dice.sample(work, 2)
    fields = {
        "x": x,
        "name": f"{dice.pick(CODE_VERBS)}_{dice.pick(NUMBER_NOUNS)}",
        "does": does.format(x=x),
        "example": ("a number", "a list", "a string")[kind],
        "user": dice.pick(NAMES),
        "variable": dice.pick(("result", "answer", "output", "new")),
        "answer": f"return {expression.format(x=x)}",
    }
    return fields, {"answer": f"return {wrong.format(x=x)}"}


@family(
    "contains",
    asks=(
        "Which is heavier, {one} or {two}? Explain why.",
        "Is {one} heavier than {two}? Give a reason.",
        "{name} wants to carry {one} or {two} to the {place}. Which of them is heavier, and how do "
        "you know?",
        "Compare the weight of {one} with the weight of {two} in a few sentences.",
    ),
    replies=(
        "The {answer}. {Big} weighs about {heavy}, while {small} weighs only about {light}. {name} "
        "could lift {small} more easily, but would need more help to move {big} to the {place}.",
        "To compare them, look at a typical weight. {Small} weighs about {light}. {Big} comes to "
        "about {heavy}. These numbers are not exact, but the gap is clear. For this reason the "
        "{answer}.",
        "{Big} has a weight of about {heavy}. That is more than {small}, which has about {light}. "
        "So the {answer}, and it is harder to bring it to the {place}. {name} should take {small}.",
        "The {answer}. If {name} put both on a large scale at the {place}, the side with {big} "
        "would go down, because it weighs about {heavy} and {small} weighs about {light}.",
    ),
)
def heavier(dice: Dice) -> Facts:
    """Which of two things weighs more, with the weights as the reason."""
    i, j = sorted(dice.sample(range(len(WEIGHTS)), 2))
    (light, *few), (heavy, *many) = WEIGHTS[i], WEIGHTS[j]
    one, two = dice.shuffled((indefinite(light), indefinite(heavy)))

    def told(big: str, small: str) -> dict[str, str]:
        return {
            "big": indefinite(big),
            "Big": capital(indefinite(big)),
            "small": indefinite(small),
            "Small": capital(indefinite(small)),
            "answer": f"{big} is heavier",
        }

    fields = {
        "one": one,
        "two": two,
        "name": dice.pick(NAMES),
        "place": dice.pick(PLACES),
        "light": " ".join(few),
        "heavy": " ".join(many),
    }
    return fields | told(heavy, light), told(light, heavy)


OCCASIONS = (
    "for {friend}",
    "before school",
    "on a rainy {day}",
    "with small children",
    "for the first time",
    "at the {place}",
    "after work",
    "on {day} morning",
    "for a party at the {place}",
    "without much time",
    "together with {friend}",
    "in a small room",
    "for an old neighbour",
)

TIPS = (
    "Take your time, because a calm hand works best.",
    "Ask {friend} for help if it does not work at once.",
    "The whole thing takes about {minutes} minutes.",
    "Do not worry if the first try looks rough.",
    "Keep everything you need within reach.",
    "Plan {minutes} minutes for it and a short break after that.",
    "It is more fun when {friend} joins in.",
    "Clean up on {day} at the latest.",
    "With practice you will be done in {minutes} minutes.",
    "{friend} learned it in one {day} afternoon.",
    "Most people at the {place} do it in the same way.",
    "If something breaks, stop and start again.",
)


@family(
    "contains",
    asks=(
        "How do I {goal} {occasion}? Explain it in three steps.",
        "Explain in three steps how to {goal} {occasion}.",
        "{asker} wants to {goal} {occasion}. What are the three steps?",
        "Write simple instructions on how to {goal} {occasion}.",
        "I would like to {goal} {occasion} but I have never done it. Can you guide me?",
    ),
    replies=(
        "First, {start}. Then, {answer}. Finally, {end}. {tip} {more} {last}",
        "1. {Start}.\n2. {Answer}.\n3. {End}.\n\n{tip} {more} {last}",
        "To {goal} {occasion}, there are three steps:\n\n- {Start}.\n- {Answer}.\n- {End}.\n\n"
        "{tip} {more}",
        "{tip} Begin like this: {start}. The most important step comes next: {answer}. After that, "
        "{end}. {more} {last}",
        "You can {goal} {occasion} in three steps. First, {start}. After that, {answer}. In the "
        "last step, {end}. {tip} {more}",
    ),
)
def howto(dice: Dice) -> Facts:
    """Three steps that lead to a goal; the middle one is what is checked."""
    (goal,), starts, (key,), ends = row = dice.pick(HOW_TO)
    (wrong,) = dice.pick([other for other in HOW_TO if other != row])[2]
    asker, friend = dice.sample(NAMES, 2)
    filling = {
        "asker": asker,
        "friend": friend,
        "day": dice.pick(DAYS),
        "place": dice.pick(PLACES),
        "minutes": str(dice.between(2, 12) * 5),
    }
    tip, more, last = (tip.format_map(filling) for tip in dice.sample(TIPS, 3))
    start, end = dice.pick(starts), dice.pick(ends)
    fields = filling | {
        "goal": goal,
        "occasion": dice.pick(OCCASIONS).format_map(filling),
        "tip": tip,
        "more": more,
        "last": last,
        "start": start,
        "Start": capital(start),
        "end": end,
        "End": capital(end),
        "answer": key,
        "Answer": capital(key),
    }
    return fields, {"answer": wrong, "Answer": capital(wrong)}


PURPOSES = (
    ("thank {you} for {gift}", "thank you very much for {gift}"),
    ("invite {you} to the {place} on {day}", "please come to the {place} with me on {day}"),
    ("say sorry that {gift} got lost", "I am sorry that I lost {gift}"),
    ("ask {you} to lend {me} {gift}", "may I borrow {gift} until {day}"),
    ("tell {you} that the {place} is closed on {day}", "the {place} will be closed on {day}"),
    ("offer {you} {gift}", "I would like to give you {gift}"),
)
"""Why a note is written, and the sentence in it that says so."""

WARMTH = (
    "I hope that you and {third} are well.",
    "It was good to see you at the {spot}.",
    "How are your family and your {pet}?",
    "I often think of our last {when}.",
    "The weather here is {weather} at the moment.",
    "My {pet} says hello to you.",
    "We had a lovely {when} at the {spot}.",
    "{third} told me all the news about you.",
    "I am writing this at the {spot}.",
)

ENDINGS = (
    "Please tell {third} about it too.",
    "Let me know what you think.",
    "I will call you on {later}.",
    "We can talk about it at the {spot}.",
    "{third} and I will visit you in the {when}.",
    "Write back when you have time.",
    "I hope to see you and {third} soon.",
    "Do not forget to bring your {pet}.",
    "Until then, enjoy the {weather} {when}.",
)


@family(
    "contains",
    asks=(
        "Write a short note from {me} to {you}: {purpose}.",
        "{me} wants to {purpose}. Write the note for {her}.",
        "Help {me} with a friendly letter to {you}. The aim is to {purpose}.",
        "Draft a message to {you}, signed by {me}, to {purpose}.",
    ),
    replies=(
        "Dear {you},\n\n{warm} {Answer}. {ending} {last}\n\n{close},\n{me}",
        "Hello {you},\n\n{Answer}. {warm} {more} {ending} {last}\n\n{close},\n{me}",
        "Dear {you},\n\n{warm} {ending} And one more thing: {answer}. {last}\n\n{close}, {me}",
        "Hi {you},\n\n{warm} {more} This is why I write: {answer}. {ending}\n\n{close},\nyour "
        "friend {me}",
    ),
)
def note(dice: Dice) -> Facts:
    """A note between friends, with the one sentence that it is written for."""
    (me, she), (you, _), (third, _) = dice.sample(PEOPLE, 3)
    day, later, other_day = dice.sample(DAYS, 3)
    place, spot = dice.sample(PLACES, 2)
    gifts = [f"the {dice.pick(COLOURS)} {many}" for _, many, _ in dice.sample(PLURALS[:18], 2)]
    purpose, sentence = dice.pick(PURPOSES)
    names = {
        "me": me,
        "you": you,
        "third": third,
        "day": day,
        "later": later,
        "place": place,
        "spot": spot,
        "gift": gifts[0],
        "pet": dice.pick(("dog", "cat", "horse", "sister")),
        "when": dice.pick(("summer", "winter", "weekend", "autumn", "holiday")),
        "weather": dice.pick(("cold", "warm", "sunny", "wet", "mild")),
    }
    warm, more = (text.format_map(names) for text in dice.sample(WARMTH, 2))
    ending, last = (text.format_map(names) for text in dice.sample(ENDINGS, 2))
    right = sentence.format_map(names)
    wrong = sentence.format_map(names | {"gift": gifts[1], "day": other_day, "place": spot})
    fields = names | {
        "her": "her" if she == "she" else "him",
        "purpose": purpose.format_map(names),
        "warm": warm,
        "more": more,
        "ending": ending,
        "last": last,
        "close": dice.pick(("Best wishes", "Yours", "Kind regards", "With love", "See you soon")),
        "answer": right,
        "Answer": capital(right),
    }
    return fields, {"answer": wrong, "Answer": capital(wrong)}
