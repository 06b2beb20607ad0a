"""Generators of arithmetic and word problems whose difficulty grows with `size`. Pure: a seeded `Random` in, text out.

Every family is a function `(rng, size) -> (text, answer)`; all answers are integers. Sizes run from easy to hopeless
for a model of one or two billion parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Family = Callable[[Random, int], tuple[str, int]]


def expression(rng: Random, size: int) -> tuple[str, int]:
    """`size` + 1 terms, every second one a product: 42 + 6 * 20 - 5 * 5."""
    terms, value = [], 0
    for position in range(size + 1):
        if position % 2:
            left, right = rng.randint(2, 9), rng.randint(2, 10 + 5 * size)
            term, text = left * right, f"{left} * {right}"
        else:
            term = rng.randint(10, 99)
            text = str(term)
        sign = 1 if position == 0 or rng.random() < 0.6 else -1
        value += sign * term
        terms.append(text if position == 0 else f"{'+' if sign > 0 else '-'} {text}")
    return f"What is {' '.join(terms)}?", value


def product(rng: Random, size: int) -> tuple[str, int]:
    """Products: size 1 is 2 x 1 digits, 2 is 2 x 2, 3 is 3 x 2, 4 is 3 x 3."""
    left_digits, right_digits = {1: (2, 1), 2: (2, 2), 3: (3, 2), 4: (3, 3)}[size]
    left = rng.randint(10 ** (left_digits - 1) + 2, 10**left_digits - 1)
    right = rng.randint(max(3, 10 ** (right_digits - 1) + 1), 10**right_digits - 1)
    return f"What is {left} * {right}?", left * right


def chain(rng: Random, size: int) -> tuple[str, int]:
    """Additions and subtractions of 2 + `size` two-digit numbers."""
    value = rng.randint(20, 99)
    text = str(value)
    for _ in range(size + 1):
        term = rng.randint(10, 99)
        sign = "+" if value < term or rng.random() < 0.5 else "-"
        value += term if sign == "+" else -term
        text += f" {sign} {term}"
    return f"What is {text}?", value


def remainder(rng: Random, size: int) -> tuple[str, int]:
    """Remainders: dividend of 1 + `size` digits, divisor of one digit, two from size 2 on."""
    dividend = rng.randint(10**size, 10 ** (size + 1) - 1)
    divisor = rng.randint(3, 9) if size < 2 else rng.randint(11, 29)
    return f"What is the remainder when {dividend} is divided by {divisor}?", dividend % divisor


def percent(rng: Random, size: int) -> tuple[str, int]:
    """One discount (size 1), a discount on several items (2), a discount and then a raise (3)."""
    price = rng.randint(2, 12) * 100
    cut = rng.choice([5, 10, 15, 20, 25, 30, 35, 40])
    reduced = price * (100 - cut) // 100
    if size == 1:
        return f"A coat costs {price} dollars. It is sold {cut}% cheaper. What does it cost now?", reduced
    if size == 2:
        count = rng.randint(2, 6)
        paid = -(-count * reduced // 1000) * 1000
        text = f"A chair costs {price} dollars. {count} chairs are bought with {cut}% off and paid with {paid} dollars."
        return f"{text} How much change is given?", paid - count * reduced
    # Nothing is rounded: 400 (100 - cut) (100 + raised) / 10,000 is whole for each of these.
    price = rng.randint(2, 9) * 400
    cut, raised = rng.choice([10, 20, 25, 30]), rng.choice([10, 20, 30, 50])
    now = price * (100 - cut) * (100 + raised) // 10_000
    return f"A bike costs {price} dollars. The price falls by {cut}% and then rises by {raised}%. What is it now?", now


def shopping(rng: Random, size: int) -> tuple[str, int]:
    """`size` kinds of goods bought, change from a round sum."""
    goods = rng.sample(["pens", "apples", "books", "cups", "lamps", "hats", "maps", "toys"], size)
    counts, prices = [rng.randint(2, 9) for _ in goods], [rng.randint(3, 19) for _ in goods]
    total = sum(count * price for count, price in zip(counts, prices, strict=True))
    paid = -(-(total + 1) // 50) * 50
    bought = ", ".join(f"{c} {g} for {p} dollars each" for c, g, p in zip(counts, goods, prices, strict=True))
    return f"Anna buys {bought}. She pays with {paid} dollars. How much change does she get?", paid - total


def everyday(rng: Random, size: int) -> tuple[str, int]:
    """Word problems of one to three steps (size 1 to 3), three stories each."""
    a, b, c, d = rng.randint(3, 12), rng.randint(12, 48), rng.randint(2, 9), rng.randint(5, 30)
    name = rng.choice(["Tom", "Mia", "Omar", "Lena", "Ravi", "Sara"])
    stories = {
        1: [
            (f"{name} reads {b} pages a day. How many pages are read in {a} days?", a * b),
            (f"A train has {a} cars with {b} seats each. How many seats does it have?", a * b),
            (f"{name} has {a * b} stamps and fills pages of {a}. How many pages are full?", b),
        ],
        2: [
            (f"{name} packs {a} boxes of {b} eggs and drops {d} eggs. How many eggs are left?", a * b - d),
            (f"{a} buses carry {b} people each and {d} people walk. How many people are there?", a * b + d),
            (f"{name} saves {b} dollars a week for {a} weeks and spends {d}. How much is left?", a * b - d),
        ],
        3: [
            (
                f"{name} works {a} hours a day for {c} days at {b} dollars an hour and pays {d} dollars tax a day. "
                "How much is left?",
                c * (a * b - d),
            ),
            (
                f"A farm has {a} rows of {b} trees. Each tree gives {c} baskets; {d} baskets rot. "
                "How many baskets are good?",
                a * b * c - d,
            ),
            (
                f"{name} has {b} boxes of {a} cards, gives away {d} cards and shares the rest among "
                f"{c} friends. How many cards are left over?",
                (a * b - d) % c,
            ),
        ],
    }
    return rng.choice(stories[size])


def average(rng: Random, size: int) -> tuple[str, int]:
    """The mean of 2 + `size` two-digit numbers; it is an integer."""
    count = size + 2
    numbers = [rng.randint(11, 99) for _ in range(count)]
    numbers[-1] += -sum(numbers) % count  # up to the next multiple of count
    return f"What is the average of {', '.join(map(str, numbers))}?", sum(numbers) // count


def ages(rng: Random, size: int) -> tuple[str, int]:
    """Three people: one sum and one product (size 1), their total (2), a condition in the future (3)."""
    first, second, third = rng.sample(["Tom", "Mia", "Omar", "Lena", "Ravi", "Sara"], 3)
    age, older, times, years = rng.randint(4, 19), rng.randint(2, 15), rng.randint(2, 4), rng.randint(3, 12)
    text = f"{first} is {age} years old. {second} is {older} years older than {first}."
    if size == 1:
        return f"{text} {third} is {times} times as old as {second}. How old is {third}?", times * (age + older)
    if size == 2:
        total = age + (age + older) + times * (age + older)
        return f"{text} {third} is {times} times as old as {second}. How old are all three together?", total
    now = times * (age + older + years) - years
    return (
        f"{text} In {years} years {third} will be {times} times as old as {second} then. How old is {third} now?",
        now,
    )


def rates(rng: Random, size: int) -> tuple[str, int]:
    """A constant rate (size 1), a gain against a loss (2), an average over two legs (3)."""
    per_minute, minutes, more = rng.randint(3, 14), rng.randint(3, 12), rng.randint(13, 40)
    if size == 1:
        text = f"A pump moves {per_minute * minutes} liters in {minutes} minutes."
        return f"{text} How many liters does it move in {more} minutes?", per_minute * more
    if size == 2:
        loss = rng.randint(2, 9)
        text = f"A tank holds {per_minute * more} liters. A tap adds {per_minute + loss} liters a minute and a leak"
        return f"{text} loses {loss} liters a minute. After how many minutes is the empty tank full?", more
    first_hours, second_hours = rng.randint(2, 5), rng.randint(2, 5)
    hours = first_hours + second_hours
    slow = rng.randint(30, 60)
    fast = slow + hours * rng.randint(1, 6)
    text = f"A car drives {first_hours} hours at {slow} km an hour and {second_hours} hours at {fast} km an hour."
    speed = (first_hours * slow + second_hours * fast) // hours
    return f"{text} What is its average speed in km an hour?", speed


def shapes(rng: Random, size: int) -> tuple[str, int]:
    """A perimeter (size 1), the price of a floor (2), the area of a border (3)."""
    length, width = rng.randint(11, 39), rng.randint(5, 19)
    if size == 1:
        return f"A garden is {length} m long and {width} m wide. How long is the fence around it?", 2 * (length + width)
    if size == 2:
        cupboards, price = rng.randint(4, 20), rng.randint(3, 12)
        text = f"A floor is {length} m by {width} m, but cupboards stand on {cupboards} square meters. Tiles cost"
        cost = price * (length * width - cupboards)
        return f"{text} {price} dollars a square meter. What do tiles for the rest cost?", cost
    border = rng.randint(1, 4)
    area = (length + 2 * border) * (width + 2 * border) - length * width
    text = f"A pool is {length} m by {width} m. A path {border} m wide runs all around it."
    return f"{text} What is the area of the path in square meters?", area


def sharing(rng: Random, size: int) -> tuple[str, int]:
    """Parts of a known total: two people (size 1), three people (2)."""
    first, second, third = rng.sample(["Tom", "Mia", "Omar", "Lena", "Ravi", "Sara"], 3)
    times, small, more = rng.randint(2, 5), rng.randint(6, 30), rng.randint(2, 15)
    text = f"{first} has {times} times as many marbles as {second}."
    if size == 1:
        return f"{text} Together they have {(times + 1) * small}. How many has {first}?", times * small
    total = (times + 1) * small + small + more
    return (
        f"{text} {third} has {more} more than {second}. Together they have {total}. How many has {first}?",
        times * small,
    )


FAMILIES: dict[str, tuple[Family, tuple[int, ...]]] = {
    "expression": (expression, (2, 3, 4)),
    "product": (product, (1, 2, 3)),
    "chain": (chain, (2, 4, 6)),
    "remainder": (remainder, (2, 3)),
    "percent": (percent, (1, 2, 3)),
    "shopping": (shopping, (2, 3, 4)),
    "everyday": (everyday, (2, 3)),
    "average": (average, (1, 2, 3)),
    "ages": (ages, (1, 2, 3)),
    "rates": (rates, (1, 2, 3)),
    "shapes": (shapes, (1, 2, 3)),
    "sharing": (sharing, (1, 2)),
}
"""Family name -> generator and its sizes, easy to hard."""
