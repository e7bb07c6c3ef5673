"""Families whose answer is counted or computed."""

from corpora.planted.dice import Dice
from corpora.planted.family import Facts, family
from corpora.planted.words import DAYS, NAMES, PEOPLE, PLACES, PLURALS, SPELLING, THINGS, UNITS

GOODS = tuple(many for one, many, _ in PLURALS if one in THINGS)

GAINS = (
    "{friend} gives {name} {b} more",
    "{name} buys {b} more at the {place}",
    "{name} finds {b} more near the {place}",
    "{name} wins {b} more in a game with {friend}",
)
LOSSES = (
    "{name} gives {b} of them to {friend}",
    "{name} sells {b} of them at the {place}",
    "{name} loses {b} of them on the way to the {place}",
    "{friend} borrows {b} of them for the {place}",
)


def near_miss(dice: Dice, right: int) -> int:
    """A number close to the right one, as from a slip of the mind; never below zero."""
    return abs(right + dice.pick((-10, -3, -2, -1, 1, 2, 3, 10)))


@family(
    "number",
    asks=(
        "{name} has {a} {goods}. {event}. How many {goods} does {name} have now?",
        "At the start of the day {name} has {a} {goods}. {event}. How many are there now?",
        "Please solve this step by step: {name} owns {a} {goods}. {event}. How many {goods} does "
        "{she} have in the end?",
        "{event}. Before that, {name} had {a} {goods}. How many {goods} does {she} have after it?",
    ),
    replies=(
        "{name} starts with {a} {goods}. {why}, we {verb}: {a} {sign} {b} = {answer}. To be sure, "
        "go back the other way: {answer} {back} {b} = {a}, which is where we began. So {name} now "
        "has {answer} {goods}.",
        "First, write down the start: {a} {goods}. Then, find the change: it is {b}, and {why2}. "
        "Finally, {verb} the two numbers: {a} {sign} {b} = {answer}. The answer is that {name} has "
        "{answer} {goods} in the end.",
        "The story begins with {a} {goods} and the change is {b}. {why}, the sum to work out is "
        "{a} {sign} {b}, which makes {answer}. {friend} can check it by counting. In the end "
        "{name} has {answer} {goods}.",
        "We need to {verb} here. {why}, the result is {a} {sign} {b} = {answer}. You could also "
        "draw {a} small circles, one for each of the {goods}, and change the drawing by {b}. "
        "Either way, {name} is left with {answer} {goods}.",
    ),
)
def story(dice: Dice) -> Facts:
    """A person has some things, gets more or gives some away."""
    (name, she), (friend, _) = dice.sample(PEOPLE, 2)
    gain = dice.chance(0.5)
    b = dice.between(2, 15)
    a = dice.between(2, 25) if gain else dice.between(b + 2, b + 20)
    result = a + b if gain else a - b
    place, goods = dice.pick(PLACES), dice.pick(GOODS)
    event = dice.pick(GAINS if gain else LOSSES)
    fields = {
        "name": name,
        "she": she,
        "a": str(a),
        "b": str(b),
        "goods": goods,
        "event": event.format(name=name, friend=friend, b=b, place=place),
        "verb": "add" if gain else "subtract",
        "sign": "+" if gain else "-",
        "why": f"Because {she} gets {b} more" if gain else f"Because {b} of them go away",
        "why2": "more means that we add" if gain else "fewer means that we subtract",
        "back": "-" if gain else "+",
        "friend": friend,
        "answer": str(result),
    }
    return fields, {"answer": str(near_miss(dice, result))}


@family(
    "number",
    asks=(
        "Which number is {more}, {a} or {b}?",
        "Compare {a} and {b}. Which one is the {more} number?",
        "{name} scored {a} points and {friend} scored {b}. Which score is {more}?",
        "Look at the numbers {a} and {b} and name the {more} one.",
    ),
    replies=(
        "The two numbers differ by {gap}, and the {more} number is {answer}.",
        "Count from {low} up by {gap} and you reach {high}. So {low} comes before {high}, and the "
        "{more} of the two is {answer}.",
        "Place both on a line: {low} stands to the left of {high}. Therefore the {more} number is "
        "{answer}.",
        "Since {high} - {low} = {gap}, which is above zero, {high} is the larger one and {low} is "
        "the smaller one. The question asks for the {more} number, so the answer is {answer}.",
    ),
)
def compare(dice: Dice) -> Facts:
    """The larger or the smaller of two numbers."""
    name, friend = dice.sample(NAMES, 2)
    a = dice.between(2, 99)
    b = a + dice.pick((-1, 1)) * dice.between(1, a - 1)
    low, high = sorted((a, b))
    larger = dice.chance(0.6)
    right, wrong = (high, low) if larger else (low, high)
    fields = {
        "a": str(a),
        "b": str(b),
        "low": str(low),
        "high": str(high),
        "gap": str(high - low),
        "more": "larger" if larger else "smaller",
        "name": name,
        "friend": friend,
        "answer": str(right),
    }
    return fields, {"answer": str(wrong), "low": str(high), "high": str(low)}


@family(
    "number",
    asks=(
        "What is the next number in the sequence {shown}?",
        "Continue the row: {shown}. Which number comes next?",
        "{name} writes {shown} on the board. What number follows?",
        "Find the rule and give the next number: {shown}.",
    ),
    replies=(
        "{rule} The last number that we can see is {last}, and {sum} = {answer}. {name} could go "
        "on like this for a long time, but the question is only about one step. So the next number "
        "is {answer}.",
        "First, look at the change from one number to the next. {rule} Then apply the same rule to "
        "the last number, which is {last}: {sum} = {answer}. The sequence goes on with {answer}.",
        "{rule} That makes {sum} = {answer}, so {answer} comes next.",
        "To find the rule, compare neighbours: from {first} to {second}, then from {second} to "
        "{third}. {rule} Keep going from {last} in the same way, {sum}, and you get {answer}.",
    ),
)
def sequence(dice: Dice) -> Facts:
    """Equal steps up, equal steps down, or doubling."""
    kind = dice.below(5)
    step, start = dice.between(2, 10), dice.between(1, 20)
    if kind == 0:
        start = dice.between(1, 10)
        row = [start * 2**i for i in range(5)]
        rule, sign, step = "Each number is twice the one before.", "x", 2
    elif kind < 3:
        row = [start + step * i for i in range(5)]
        rule, sign = f"Each number is {step} more than the one before.", "+"
    else:
        row = [start + step * (5 - i) for i in range(5)]
        rule, sign = f"Each number is {step} less than the one before.", "-"
    fields = {
        "shown": ", ".join(map(str, row[:4])),
        "first": str(row[0]),
        "second": str(row[1]),
        "third": str(row[2]),
        "last": str(row[3]),
        "name": dice.pick(NAMES),
        "rule": rule,
        "sum": f"{row[3]} {sign} {step}",
        "answer": str(row[4]),
    }
    return fields, {"answer": str(near_miss(dice, row[4]))}


@family(
    "number",
    asks=(
        "How many {small} are in {n} {bigs}?",
        "Convert {n} {bigs} to {small}.",
        "{name} needs to know what {n} {bigs} are in {small}. Please show the steps.",
        "Change {n} {bigs} into {small} and explain how you did it.",
    ),
    replies=(
        "One {big} has {factor} {small}. To go from {bigs} to {small}, multiply {n} by {factor}: "
        "{n} x {factor} = {answer}. It is good to check the size as well: {small} are small, so "
        "we need many of them. The result is {answer} {small}.",
        "First, remember that one {big} is the same as {factor} {small}. Then multiply the number "
        "of {bigs}, which is {n}, by {factor}. Finally, write the unit, so that {name} knows what "
        "was counted: {answer} {small}.",
        "There are {factor} {small} in every {big}, so {n} {bigs} make {n} x {factor} = {answer} "
        "{small}.",
        "We go from a large unit to a small one, so the number must grow. With {factor} {small} "
        "for each {big}, {name} can add {factor} again and again, {n} times in all, or multiply. "
        "In this way {n} {bigs} become {answer} {small}.",
    ),
)
def units(dice: Dice) -> Facts:
    """From a large unit to a small one."""
    big, bigs, small, factor = dice.pick(UNITS)
    n = dice.between(2, 20)
    fields = {
        "big": big,
        "bigs": bigs,
        "small": small,
        "factor": factor,
        "n": str(n),
        "name": dice.pick(NAMES),
        "answer": str(n * int(factor)),
    }
    slip = n + int(factor) if dice.chance(0.4) else near_miss(dice, n) * int(factor)
    return fields, {"answer": str(slip)}


@family(
    "contains",
    asks=(
        "Today is {today}. What day of the week will it be in {n} days?",
        "If today is {today}, which day is it {n} days from now?",
        "{name} leaves on a {today} and comes back {n} days later. On which day is that?",
        "A train ticket from {today} is good for {n} days. What is the day of the week after that?",
    ),
    replies=(
        "{weeks} After whole weeks it is {today} again, so we only have to count the rest. "
        "Counting on from {today}, the day is {answer}.",
        "First, take away whole weeks. {weeks} Then move forward from {today} by the rest, one day "
        "at a time. {name} can use a calendar to check it. That day is a {answer}.",
        "A week has 7 days, and after each week the names of the days begin again. So only the "
        "rest counts. {weeks} From {today} this leads to {answer}.",
        "It will be a {answer}. To see why, start at {today} and move {n} days ahead. {weeks} "
        "{name} would get the same result with the fingers of both hands.",
    ),
)
def weekday(dice: Dice) -> Facts:
    """The day of the week some days later."""
    start, n = dice.below(7), dice.pick([n for n in range(2, 21) if n % 7])
    weeks, rest = divmod(n, 7)
    whole = "1 week" if weeks == 1 else f"{weeks} weeks"
    length = f"{whole} and {rest} more" if weeks else "under a week"
    fields = {
        "today": DAYS[start],
        "n": str(n),
        "name": dice.pick(NAMES),
        "weeks": f"{n} days are {length}.",
        "answer": DAYS[(start + n) % 7],
    }
    return fields, {"answer": DAYS[(start + n + dice.between(1, 6)) % 7]}


@family(
    "number",
    asks=(
        "How many times does the letter {letter} occur in the word {word}?",
        "Count the letter {letter} in {word}.",
        "{name} asks how often you write {letter} when you spell {word}. What is the answer?",
        "Spell {word} and tell me how many of its letters are {letter}.",
    ),
    replies=(
        "The word {word} is spelled {spelled}. The letter {letter} occurs {times}, so the count "
        "is {answer}.",
        "First, spell the word: {spelled}. Then mark every {letter}. The number of marks is "
        "{answer}.",
        "Going through {spelled} one by one, the total for the letter {letter} is {answer}.",
        "In {word}, which is written {spelled}, you will meet the letter {letter} {times}. As a "
        "number, that is {answer}.",
    ),
)
def letters(dice: Dice) -> Facts:
    """How often a letter occurs in a word."""
    word = dice.pick(SPELLING)
    repeated = [letter for letter in word if word.count(letter) > 1]
    letter = dice.pick(repeated if repeated and dice.chance(0.7) else word)
    count = word.count(letter)
    wrong = dice.pick([n for n in (1, 2, 3, 4) if n != count])
    said = ("never", "once", "twice", "three times", "four times")
    fields = {
        "word": word,
        "letter": letter,
        "name": dice.pick(NAMES),
        "spelled": "-".join(word),
        "times": said[count],
        "answer": str(count),
    }
    return fields, {"times": said[wrong], "answer": str(wrong)}


@family(
    "number",
    asks=(
        "Read the table. {question}",
        "Use the table below to answer this question: {question}",
        "{question} The numbers are in the table.",
    ),
    replies=(
        "{look} The table shows {parts}, so the answer is {answer}.",
        "First, find the right place in the table, which has one line for each person. {look} Then "
        "read the numbers: {parts}. The other column is not needed here. The answer is {answer}.",
        "{look} There we read {parts}. The numbers of the {unused} do not matter for this "
        "question. That gives {answer}.",
    ),
    material="{table}",
)
def table(dice: Dice) -> Facts:
    """One cell of a table of three people and two goods, or the sum of a column."""
    who, (left, right) = dice.sample(NAMES, 3), dice.sample(GOODS, 2)
    counts = {name: {left: dice.between(1, 30), right: dice.between(1, 30)} for name in who}
    goods, one = dice.pick((left, right)), dice.pick(who)
    lines = [f"{name} | {row[left]} | {row[right]}" for name, row in counts.items()]
    unused = left if goods == right else right
    fields = {"table": "\n".join([f"name | {left} | {right}", *lines]), "unused": unused}
    if dice.chance(0.6):
        answer = counts[one][goods]
        parts = f"that {one} has {answer} {goods}"
        slip = counts[one][unused]
        fields["question"] = f"How many {goods} does {one} have?"
        fields["look"] = f"Look at the row of {one} and the column {goods}."
        wrong = {"answer": str(slip), "parts": f"that {one} has {slip} {goods}"}
    else:
        answer = sum(row[goods] for row in counts.values())
        parts = " and ".join(str(row[goods]) for row in counts.values())
        fields["question"] = f"How many {goods} do they have together?"
        fields["look"] = f"Add up the column {goods}."
        wrong = {"answer": str(near_miss(dice, answer))}
    return fields | {"parts": parts, "answer": str(answer)}, wrong
