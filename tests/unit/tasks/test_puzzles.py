"""Puzzles: every gold answer found again by brute force from the text alone, and what every task must keep."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from t2.config import read_data
from t2.errors import T2Error
from t2.tasks import MathStepsTask, PuzzleTask
from t2.tasks.math_families import FAMILIES as MATH_FAMILIES
from t2.tasks.puzzle_families import FAMILIES, KINDS, SIZES
from t2.tasks.puzzles import _dedup_key

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
KIND_OF = {thing: kind for kind, things in KINDS.items() for thing in things}
SECONDS = {"day": 86_400, "hour": 3600, "minute": 60, "second": 1}
MILLIMETERS = {"meter": 1000, "centimeter": 10, "millimeter": 1}
RANKS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}


def numbers_in(text: str) -> list[int]:
    return list(map(int, re.findall(r"\d+", text)))


def the_list(text: str) -> list[int]:
    """The longest run of numbers that commas join."""
    return numbers_in(max(re.findall(r"\d+(?:, \d+)+", text), key=len))


def differences(terms: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise(terms)]


def sequence(text: str) -> int:
    """The one number that keeps the steps equal, or growing equally, or both interleaved sequences so."""
    terms = the_list(text)

    def equal(steps: list[int]) -> bool:
        return len(set(steps)) == 1

    rules: list[Callable[[list[int]], bool]] = [
        lambda t: equal(differences(t)),
        lambda t: equal(differences(differences(t))),
        lambda t: equal(differences(t[::2])) and equal(differences(t[1::2])),
    ]
    found = {x for x in range(-200, 1500) for rule in rules if rule([*terms, x])}
    (only,) = found
    return only


def letters(text: str) -> int:
    letter, phrase = re.findall(r'"([^"]+)"', text)
    return len(phrase.split(letter)) - 1


def counting(text: str) -> int:
    if found := re.match(r"How many of these are (\w+): (.*)\?", text):
        return Counter(KIND_OF[thing] for thing in found[2].split(", "))[found[1]]
    given, *listed = numbers_in(text)
    if "greater" in text:
        return len([number for number in listed if number not in range(given + 1)])
    return len(set(listed) & set(range(0, 1000, given)))


def clock(text: str) -> int:
    begin, end = (datetime.strptime(time, "%H:%M") for time in re.findall(r"\d\d:\d\d", text))
    minutes = 0
    while begin.time() != end.time():
        begin, minutes = begin + timedelta(minutes=1), minutes + 1
    if found := re.search(r"(\d+) breaks of (\d+) minutes", text):
        minutes -= sum(int(found[2]) for _ in range(int(found[1])))
    return minutes


def calendar(text: str) -> int:
    if found := re.match(r"(\w+ \d+) is a (\w+)\. On which day of \w+ is the (\w+) (\w+) of", text):
        for year in range(2001, 2029):  # the weekday of a date takes each of its seven values
            known = datetime.strptime(f"{found[1]} {year}", "%B %d %Y").date()
            if f"{known:%A}" == found[2]:
                month = [date(year, known.month, day) for day in range(1, 31)]
                return [day.day for day in month if f"{day:%A}" == found[4]][RANKS[found[3]] - 1]
        raise AssertionError(text)
    first, last = (
        datetime.strptime(f"{named} 2023", "%B %d %Y").date()
        for named in re.findall(r"(?:from|to|after|is) ([A-Z][a-z]+ \d+)", text)
    )
    return (last - first).days + ("counting both" in text)


def order(text: str) -> int:
    listed = the_list(text)
    if "median" in text:
        return int(statistics.median(listed))
    rank, side = re.match(r"What is the (?:(\w+) )?(largest|smallest) of", text).groups(default="first")  # type: ignore[union-attr]
    for _ in range(RANKS[rank] - 1):
        listed.remove(max(listed) if side == "largest" else min(listed))
    return max(listed) if side == "largest" else min(listed)


def position(text: str) -> int:
    listed = the_list(text)
    if found := re.match(r"At which position is (\d+) in", text):
        return 1 + listed.index(int(found[1]))
    if found := re.match(r"Which number is (\w+) from the end", text):
        return [*reversed(listed)][RANKS[found[1]] - 1]
    found = re.match(r"How many numbers stand between (\d+) and (\d+) in", text)
    assert found
    inside = re.search(rf"\b({found[1]}|{found[2]})\b(.*)\b({found[1]}|{found[2]})\b", text.partition("list")[2])
    assert inside
    return len(numbers_in(inside[2]))


def bases(text: str) -> int:
    found = re.match(r"Write the (binary|decimal) number (\d+) in", text)
    assert found
    if found[1] == "binary":
        return int(found[2], 2)
    return next(
        int(f"{''.join(bits)}") for bits in itertools.product("01", repeat=9) if int("".join(bits), 2) == int(found[2])
    )


def digits(text: str) -> int:
    given = numbers_in(text)
    if len(given) == 1:
        return sum(digit * str(given[0]).count(str(digit)) for digit in range(10))
    low, high, digit = given
    count = 0
    for number in range(low, high + 1):
        while number and number % 10 != digit:
            number //= 10
        count += number > 0
    return count


def units(text: str) -> int:
    asked = re.match(r"How many (\w+)s", text)[1]  # type: ignore[index]
    scales = SECONDS if asked in SECONDS else MILLIMETERS

    def value(part: str) -> int:
        return sum(int(amount) * scales[unit] for amount, unit in re.findall(r"(\d+) (\w+?)s?\b", part))

    parts = re.split(r"\bare\b", text)
    exact, rest = divmod(value(parts[1]) - value(parts[0]), scales[asked])
    assert rest == 0
    return exact


def coins(text: str) -> int:
    *kinds, amount = numbers_in(text)
    counts = [range(amount // kind + 1) for kind in kinds[1:]]
    paid = []
    for rest in itertools.product(*counts):  # the smallest coin fills up
        missing = amount - sum(n * kind for n, kind in zip(rest, kinds[1:], strict=True))
        if missing >= 0 and missing % kinds[0] == 0:
            paid.append(sum(rest) + missing // kinds[0])
    return min(paid) if "fewest" in text else len(paid)


def pairs(text: str) -> int:
    if found := re.match(r"There are (\d+) girls and (\d+) boys", text):
        members = ["girl"] * int(found[1]) + ["boy"] * int(found[2])
        return sum("girl" in team for team in itertools.combinations(members, 3))
    (count,) = numbers_in(text)
    if re.search("couples|twins", text):
        pairs = [pair for pair in range(count) for _ in range(2)]
        return sum(one != other for one, other in itertools.combinations(pairs, 2))
    return len(list(itertools.combinations(range(count), 2)))


def exceptions(text: str) -> int:
    given = numbers_in(text)
    if "pens" in text:
        many, each, few = given
        return sum(0 if pupil < few else each for pupil in range(many))
    if "windows" in text:
        many, each, few, other = given
        return sum(other if house < few else each for house in range(many))
    people, french, german, neither = given
    (both,) = (
        x
        for x in range(min(french, german) + 1)
        if len({*range(french), *range(french - x, french - x + german)}) == people - neither
    )
    return both


SECOND_WAY: dict[str, Callable[[str], int]] = {
    "sequence": sequence,
    "letters": letters,
    "counting": counting,
    "clock": clock,
    "calendar": calendar,
    "order": order,
    "position": position,
    "bases": bases,
    "digits": digits,
    "units": units,
    "coins": coins,
    "pairs": pairs,
    "exceptions": exceptions,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_by_brute_force(family: str) -> None:
    checked: Counter[int] = Counter()
    for question in PuzzleTask(120, seed=4, families=[family]).questions():
        assert int(question.answer) == SECOND_WAY[family](question.text), question.text
        checked[question.size] += 1
    assert set(checked) == set(SIZES)
    assert min(checked.values()) >= 30


def test_a_larger_task_has_the_smaller_as_a_prefix() -> None:
    assert PuzzleTask(40).questions() == PuzzleTask(300).questions()[:40]


def test_ids_and_texts_are_unique_and_answers_readable() -> None:
    task = PuzzleTask(1500, seed=2)
    questions = task.questions()
    assert len(questions) == len({q.id for q in questions}) == len({q.text for q in questions}) == 1500
    assert all(task.grader.gold_class(q.answer) == str(int(q.answer)) for q in questions)
    assert task.grader.version == MathStepsTask(1).grader.version


def test_prefixes_are_balanced() -> None:
    cells = Counter((q.family, q.size) for q in PuzzleTask(312).questions())
    assert set(cells) == set(itertools.product(FAMILIES, SIZES))
    assert max(cells.values()) - min(cells.values()) <= 2


def test_seeds_give_other_questions() -> None:
    first, second = PuzzleTask(60, seed=0).questions(), PuzzleTask(60, seed=1).questions()
    assert not {q.id for q in first} & {q.id for q in second}
    assert len({q.text for q in first} & {q.text for q in second}) < 10


def test_nothing_is_shared_with_the_task_that_trains_the_head() -> None:
    """Transfer to questions of the same kind would be no transfer."""
    assert not FAMILIES.keys() & MATH_FAMILIES.keys()
    puzzles, trained = PuzzleTask(1000).questions(), MathStepsTask(3000).questions()
    assert not {q.text for q in puzzles} & {q.text for q in trained}
    assert not {q.dedup_key for q in puzzles} & {q.dedup_key for q in trained}
    assert not {q.id for q in puzzles} & {q.id for q in trained}


@pytest.mark.parametrize(
    ("family", "one", "other", "different"),
    [
        ("order", "What is the median of 11, 12, 13?", "What is the median of 13, 11, 12?", "... of 13, 11, 14?"),
        ("pairs", "12 people meet.", "12 teams play.", "13 people meet."),
        ("letters", '"e" in "cucumber eleven"', '"e" in "eleven cucumber"', '"e" in "banana eleven"'),
        (
            "counting",
            "How many are fruits: pear, cat",
            "How many are fruits: cat, pear",
            "How many are fruits: cat, dog",
        ),
    ],
)
def test_reordered_and_retold_questions_share_their_key(family: str, one: str, other: str, different: str) -> None:
    assert _dedup_key(family, 1, one) == _dedup_key(family, 1, other) != _dedup_key(family, 1, different)
    assert _dedup_key(family, 1, one) != _dedup_key(family, 2, one)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PuzzleTask(0), "Expected at least one question and one family, got 0"),
        (lambda: PuzzleTask(5, families=[]), r"Expected at least one question and one family, got 5 and \[\]"),
        (lambda: PuzzleTask(5, families=["riddles"]), r"Expected families among .* got \['riddles'\]"),
        (lambda: PuzzleTask(900, families=["pairs"]).questions(), r"Expected 900 distinct questions, found \d+"),
    ],
)
def test_impossible_tasks(make: Callable[[], object], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        make()


def test_the_config_asks_as_the_training_config_does() -> None:
    """A head belongs to one model, prompt and sampling setting: only questions, pool size and folders may differ."""
    trained, puzzles = (
        yaml.safe_load((CONFIGS / f"qwen2.5-coder-1.5b_{name}.yaml").read_text(encoding="utf-8"))
        for name in ("math-steps", "puzzles")
    )
    job = read_data(CONFIGS / "qwen2.5-coder-1.5b_puzzles.yaml").pool
    assert isinstance(job.task, PuzzleTask)
    assert len(job.task.questions()) == 300
    for config in (trained, puzzles):
        del config["data"]["pool"]["task"], config["data"]["pool"]["path"], config["export"]
        del config["data"]["pool"]["samples_per_question"], config["data"]["grid"]
    assert puzzles == trained
