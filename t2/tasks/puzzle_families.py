"""Generators of puzzles: counting, ordering, dates, codes and combinations rather than plain arithmetic.

Every family is a function `(rng, size) -> (text, answer)`; all answers are integers, and sizes 1 to 3 run from easy to
hopeless for a model of one or two billion parameters. Pure: a seeded `Random` in, text out.
"""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

from t2.tasks.math_families import Family

WORDS = (
    "strawberry banana mississippi committee balloon elephant parallel necessary assessment bookkeeper cucumber "
    "pineapple tomorrow successful engineer remember anniversary chocolate possession raspberry butterfly telephone "
    "coffee accommodation address difference millennium occurrence recommend questionnaire umbrella zucchini alphabet "
    "calendar december eleven festival grasshopper horizon independence"
)
"""Words with repeated letters, none of them sure to be one token."""
KINDS = {
    "animals": ("dog", "cat", "horse", "lion", "sheep", "mouse", "goat", "tiger"),
    "fruits": ("apple", "pear", "plum", "cherry", "banana", "grape", "lemon", "peach"),
    "tools": ("hammer", "saw", "drill", "wrench", "pliers", "chisel", "shovel", "rake"),
    "colors": ("red", "blue", "green", "yellow", "black", "white", "purple", "brown"),
}
MONTH_DAYS = {"March": 31, "April": 30, "May": 31, "June": 30, "July": 31, "August": 31, "September": 30, "October": 31}
"""Months that do not depend on leap years."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
UNITS = {
    "seconds": (("hours", 3600), ("minutes", 60), ("seconds", 1)),
    "minutes": (("days", 1440), ("hours", 60), ("minutes", 1)),
    "millimeters": (("meters", 1000), ("centimeters", 10), ("millimeters", 1)),
}
"""Asked unit -> units of a quantity with their size in it, the largest first."""


def joined(numbers: list[int]) -> str:
    """[4, 7] -> "4, 7"."""
    return ", ".join(map(str, numbers))


def sequence(rng: Random, size: int) -> tuple[str, int]:
    """The next term: equal steps (size 1), steps that grow equally (2), two sequences in turn (3)."""
    start, step, growth = rng.randint(2, 60), rng.randint(3, 17), rng.randint(2, 9)
    if size == 1:
        terms = [start + step * i for i in range(6)]
    elif size == 2:
        terms = [start + step * i + growth * i * (i - 1) // 2 for i in range(6)]
    else:
        other, fall = rng.randint(60, 99), rng.randint(2, 12)
        terms = [other - fall * (i // 2) if i % 2 else start + step * (i // 2) for i in range(7)]
    return f"Which number comes next: {joined(terms[:-1])}?", terms[-1]


def letters(rng: Random, size: int) -> tuple[str, int]:
    """How often a letter occurs in one word (size 1), three words (2), six words (3)."""
    words = rng.sample(WORDS.split(), {1: 1, 2: 3, 3: 6}[size])
    letter = rng.choice("".join(words))
    text = f'How many times does the letter "{letter}" occur in "{" ".join(words)}"?'
    return text, sum(word.count(letter) for word in words)


def counting(rng: Random, size: int) -> tuple[str, int]:
    """Things of a kind (size 1), numbers above a bound (2), multiples (3) in a list."""
    if size == 1:
        kind, other = rng.sample(sorted(KINDS), 2)
        hits = rng.sample(KINDS[kind], rng.randint(2, 6))
        things = hits + rng.sample(KINDS[other], rng.randint(2, 6))
        rng.shuffle(things)
        return f"How many of these are {kind}: {', '.join(things)}?", len(hits)
    numbers = rng.sample(range(11, 100), 12 if size == 2 else 16)
    if size == 2:
        bound = rng.randint(35, 75)
        text = f"How many of these numbers are greater than {bound}: {joined(numbers)}?"
        return text, sum(number > bound for number in numbers)
    divisor = rng.choice([3, 4, 6, 7])
    text = f"How many of these numbers can be divided by {divisor} without a remainder: {joined(numbers)}?"
    return text, sum(number % divisor == 0 for number in numbers)


def clock(rng: Random, size: int) -> tuple[str, int]:
    """Minutes between two times: of one day (size 1), overnight (2), without breaks (3)."""
    minutes = {1: rng.randint(35, 175), 2: rng.randint(200, 600), 3: rng.randint(400, 620)}[size]
    start = {1: rng.randint(360, 1200), 2: rng.randint(1260, 1420), 3: rng.randint(360, 700)}[size]
    begin, end = (f"{at // 60 % 24:02d}:{at % 60:02d}" for at in (start, start + minutes))
    if size == 1:
        return f"A film runs from {begin} to {end}. How many minutes does it take?", minutes
    if size == 2:
        return f"A night train leaves at {begin} and arrives at {end}. How many minutes does it travel?", minutes
    breaks, length = rng.randint(2, 4), rng.randint(11, 35)
    text = f"A shift runs from {begin} to {end} with {breaks} breaks of {length} minutes each."
    return f"{text} How many minutes of work is that?", minutes - breaks * length


def calendar(rng: Random, size: int) -> tuple[str, int]:
    """Days within a month (size 1), across months (2), the date of the n-th weekday of a month (3)."""
    months = list(MONTH_DAYS)
    if size == 1:
        month = rng.choice(months)
        first, last = sorted(rng.sample(range(1, MONTH_DAYS[month] + 1), 2))
        return f"How many days are there from {month} {first} to {month} {last}, counting both?", last - first + 1
    if size == 2:
        early, late = sorted(rng.sample(range(len(months)), 2))
        first, last = rng.randint(1, MONTH_DAYS[months[early]]), rng.randint(1, MONTH_DAYS[months[late]])
        days = sum(MONTH_DAYS[month] for month in months[early:late]) + last - first
        return f"How many days after {months[early]} {first} is {months[late]} {last} of the same year?", days
    month, known, nth = rng.choice(months), rng.randint(1, 28), rng.randint(1, 4)
    known_weekday, wanted = rng.sample(range(7), 2)
    # Day d has weekday known_weekday + d - known; the first wanted one is that day modulo 7 in 1..7.
    first = (wanted - known_weekday + known - 1) % 7 + 1
    text = f"{month} {known} is a {WEEKDAYS[known_weekday]}. On which day of {month} is the {ORDINALS[nth - 1]}"
    return f"{text} {WEEKDAYS[wanted]} of that month?", first + 7 * (nth - 1)


def order(rng: Random, size: int) -> tuple[str, int]:
    """Largest or smallest of 6 (size 1), second or third of 9 (2), median of 11 (3)."""
    numbers = rng.sample(range(100, 1000), {1: 6, 2: 9, 3: 11}[size])
    if size == 3:
        return f"What is the median of {joined(numbers)}?", sorted(numbers)[5]
    side = rng.choice(["largest", "smallest"])
    rank = 0 if size == 1 else rng.randint(1, 2)
    name = side if rank == 0 else f"{ORDINALS[rank]} {side}"
    return f"What is the {name} of {joined(numbers)}?", sorted(numbers, reverse=side == "largest")[rank]


def position(rng: Random, size: int) -> tuple[str, int]:
    """Where a number stands (size 1), which stands n-th from the end (2), how many stand between two (3)."""
    numbers = rng.sample(range(11, 100), {1: 8, 2: 10, 3: 14}[size])
    if size == 1:
        place = rng.randint(2, 8)
        text = f"At which position is {numbers[place - 1]} in the list {joined(numbers)}? The first position is 1."
        return text, place
    if size == 2:
        place = rng.randint(2, 7)
        return f"Which number is {ORDINALS[place - 1]} from the end in the list {joined(numbers)}?", numbers[-place]
    left, right = sorted(rng.sample(range(14), 2))
    pair = [numbers[left], numbers[right]]
    rng.shuffle(pair)
    text = f"How many numbers stand between {pair[0]} and {pair[1]} in the list {joined(numbers)}?"
    return text, right - left - 1


def bases(rng: Random, size: int) -> tuple[str, int]:
    """Binary to decimal, 4 to 6 bits (size 1) and 8 to 9 (2); decimal to binary (3)."""
    low, high = {1: (8, 63), 2: (128, 511), 3: (33, 255)}[size]
    value = rng.randint(low, high)
    if size == 3:
        return f"Write the decimal number {value} in binary.", int(f"{value:b}")
    return f"Write the binary number {value:b} in decimal.", value


def digits(rng: Random, size: int) -> tuple[str, int]:
    """Digit sum of 5 digits (size 1) and 12 (2); how many numbers of a range contain a digit (3)."""
    if size == 3:
        low, digit = rng.randint(1, 300), rng.randint(1, 9)
        high = low + rng.randint(60, 200)
        text = f"How many of the whole numbers from {low} to {high} contain the digit {digit} at least once?"
        return text, sum(str(digit) in str(number) for number in range(low, high + 1))
    length = 5 if size == 1 else 12
    number = rng.randint(10 ** (length - 1), 10**length - 1)
    return f"What is the sum of the digits of {number}?", sum(map(int, str(number)))


def quantity(rng: Random, parts: tuple[tuple[str, int], ...], low: int, high: int) -> tuple[str, int]:
    """An amount of each unit, like 3 hours and 25 minutes, with its value in the last unit; the first is low..high."""
    amounts = [rng.randint(low, high)] + [
        rng.randint(1, above // here - 1) for (_, above), (_, here) in pairwise(parts)
    ]
    words = [f"{a} {unit if a > 1 else unit[:-1]}" for a, (unit, _) in zip(amounts, parts, strict=True)]
    value = sum(amount * scale for amount, (_, scale) in zip(amounts, parts, strict=True))
    return f"{', '.join(words[:-1])} and {words[-1]}", value


def units(rng: Random, size: int) -> tuple[str, int]:
    """Two units (size 1) or three (2) in the smallest of them; the difference of two such quantities (3)."""
    unit = rng.choice(sorted(UNITS))
    parts = UNITS[unit][1:] if size == 1 else UNITS[unit]
    text, value = quantity(rng, parts, 4, 9)
    if size < 3:
        return f"How many {unit} are {text}?", value
    less, smaller = quantity(rng, parts, 1, 3)
    return f"How many {unit} more than {less} are {text}?", value - smaller


def coins(rng: Random, size: int) -> tuple[str, int]:
    """Fewest coins, greedy (size 1) and where greed may fail (2); number of ways to pay (3)."""
    kinds = {
        1: (1, 5, 10, 25),
        2: rng.choice([(1, 7, 10), (1, 6, 9, 20), (1, 4, 9), (1, 8, 12)]),
        3: rng.choice([(1, 5, 10), (2, 5, 10), (5, 10, 20), (1, 10, 25)]),
    }[size]
    amount = 5 * rng.randint(4, 16) if kinds == (5, 10, 20) else rng.randint(17, 95 if size < 3 else 60)
    # fewest[t] and ways[t] of a total t, coin by coin, so that the order of coins does not count as another way.
    fewest, ways = [0] + [amount] * amount, [1] + [0] * amount
    for coin in kinds:
        for total in range(coin, amount + 1):
            fewest[total] = min(fewest[total], fewest[total - coin] + 1)
            ways[total] += ways[total - coin]
    there = f"There are coins of {joined(list(kinds[:-1]))} and {kinds[-1]} cents, as many of each as you like."
    if size < 3:
        return f"{there} What is the fewest number of coins that make {amount} cents?", fewest[amount]
    return f"{there} In how many ways can they make {amount} cents, if order does not matter?", ways[amount]


def pairs(rng: Random, size: int) -> tuple[str, int]:
    """All pairs of a group (size 1), all but partners (2), teams of three with a condition (3)."""
    count = rng.randint(4, 40)
    if size == 1:
        stories = (
            "people meet and each shakes hands once with every other. How many handshakes are there?",
            "teams play each other exactly once. How many games are played?",
        )
        return f"{count} {rng.choice(stories)}", math.comb(count, 2)
    if size == 2:
        stories = (
            "couples meet. Everyone shakes hands once with all but the own partner. How many handshakes are there?",
            "pairs of twins play chess. Everyone plays all but the own twin once. How many games are played?",
        )
        return f"{count} {rng.choice(stories)}", math.comb(2 * count, 2) - count
    girls, boys = rng.randint(3, 11), rng.randint(3, 11)
    text = f"There are {girls} girls and {boys} boys. In how many ways can a team of 3 with at least one girl"
    return f"{text} be chosen?", math.comb(girls + boys, 3) - math.comb(boys, 3)


def exceptions(rng: Random, size: int) -> tuple[str, int]:
    """Each but a few (size 1), a few have another number (2), two groups that overlap (3)."""
    many, few, each, other = rng.randint(18, 60), rng.randint(3, 11), rng.randint(3, 9), rng.randint(10, 14)
    if size == 1:
        text = f"Each of {many} pupils gets {each} pens, except {few} who get none. How many pens are given out?"
        return text, (many - few) * each
    if size == 2:
        text = f"A street has {many} houses. Each has {each} windows, except {few} that have {other} each."
        return f"{text} How many windows are there?", (many - few) * each + few * other
    # Of the people `first` speak only French, `second` only German.
    both, first, second, neither = few, rng.randint(4, 30), rng.randint(4, 30), each
    text = f"Of {both + first + second + neither} people {both + first} speak French, {both + second} speak German"
    return f"{text} and {neither} speak neither. How many speak both?", both


FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (sequence, letters, counting, clock, calendar, order, position, bases, digits, units, coins, pairs,
                   exceptions)
}  # fmt: skip
"""Family name -> generator."""
SIZES = (1, 2, 3)
"""Of every family, easy to hard."""
