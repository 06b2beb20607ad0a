"""Tasks: prefixes, gold answers computed a second way, duplicates, and bad question files by their messages."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from t2.errors import T2Error
from t2.grading.exact import ExactGrader
from t2.spec import Question, Task
from t2.tasks import ArithTask, JsonlTask, MathStepsTask
from t2.tasks.jsonl import AnswerField, Fields
from t2.tasks.keys import unordered_key
from t2.tasks.math_families import FAMILIES

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
SECOND_WAY: dict[tuple[str, int], Callable[..., float]] = {
    ("product", 1): lambda a, b: a * b,
    ("product", 2): lambda a, b: a * b,
    ("product", 3): lambda a, b: a * b,
    ("remainder", 2): math.fmod,
    ("remainder", 3): math.fmod,
    ("percent", 1): lambda price, cut: price - price * cut / 100,
    ("percent", 2): lambda price, n, cut, paid: paid - n * (price - price * cut / 100),
    ("percent", 3): lambda price, cut, up: price * (1 - cut / 100) * (1 + up / 100),
    ("ages", 1): lambda age, older, times: times * (age + older),
    ("ages", 2): lambda age, older, times: age + (1 + times) * (age + older),
    ("ages", 3): lambda age, older, years, times: times * (age + older + years) - years,
    ("rates", 1): lambda liters, minutes, more: liters / minutes * more,
    ("rates", 2): lambda liters, tap, leak: liters / (tap - leak),
    ("rates", 3): lambda t, v, u, w: (t * v + u * w) / (t + u),
    ("shapes", 1): lambda a, b: a + b + a + b,
    ("shapes", 2): lambda a, b, taken, price: (a * b - taken) * price,
    ("shapes", 3): lambda a, b, border: 2 * border * (a + b + 2 * border),
    ("sharing", 1): lambda times, total: total * times / (times + 1),
    ("sharing", 2): lambda times, more, total: (total - more) * times / (times + 2),
}


def _change(numbers: tuple[int, ...]) -> int:
    """Counts and prices in turn, then what is paid."""
    *goods, paid = numbers
    return paid - sum(count * price for count, price in zip(goods[::2], goods[1::2], strict=True))


SECOND_WAY |= {("shopping", size): lambda *numbers: _change(numbers) for size in (2, 3, 4)}
SECOND_WAY |= {("average", size): lambda *numbers: sum(numbers) / len(numbers) for size in (1, 2, 3)}


def evaluated(expression: str) -> int:
    """The value of an expression of +, - and *."""

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(int(number)):
                return number
            case ast.BinOp(left, symbol, right):
                return OPERATORS[type(symbol)](value(left), value(right))
        raise ValueError(ast.dump(node))

    return value(ast.parse(expression, mode="eval").body)


def second_answer(question: Question) -> float | None:
    """The gold answer from the text alone; None where the story would have to be understood."""
    if question.family in ("expression", "chain"):
        return evaluated(question.text.removeprefix("What is ").removesuffix("?"))
    formula = SECOND_WAY.get((question.family, question.size))
    return formula(*map(int, re.findall(r"\d+", question.text))) if formula else None


TASKS: list[Callable[[int], Task]] = [ArithTask, MathStepsTask]


@pytest.mark.parametrize("make", TASKS)
def test_a_larger_task_has_the_smaller_as_a_prefix(make: Callable[[int], Task]) -> None:
    assert make(40).questions() == make(300).questions()[:40]


@pytest.mark.parametrize("make", TASKS)
def test_ids_and_texts_are_unique_and_answers_readable(make: Callable[[int], Task]) -> None:
    task = make(1500)
    questions = task.questions()
    assert len(questions) == len({q.id for q in questions}) == len({q.text for q in questions}) == 1500
    assert all(task.grader.gold_class(q.answer) == str(int(q.answer)) for q in questions)
    assert all(q.family and q.size and q.dedup_key for q in questions)


@pytest.mark.parametrize("make", [ArithTask, MathStepsTask])
def test_seeds_give_other_questions(make: Callable[..., Task]) -> None:
    first, second = make(60, seed=0).questions(), make(60, seed=1).questions()
    assert not {q.id for q in first} & {q.id for q in second}
    assert [q.text for q in first] != [q.text for q in second]


def test_prefixes_are_balanced() -> None:
    counts = Counter(q.family for q in ArithTask(210).questions())
    assert max(counts.values()) - min(counts.values()) <= 2
    cells = Counter((q.family, q.size) for q in MathStepsTask(330).questions())
    assert set(cells) == {(name, size) for name, (_, sizes) in FAMILIES.items() for size in sizes}
    assert max(cells.values()) - min(cells.values()) <= 2


def test_arith_answers_and_terms() -> None:
    for question in ArithTask(600, seed=3).questions():
        assert int(question.answer) == evaluated(question.text)
        terms = re.findall(r"\d+", question.text)
        assert len(terms) == question.size
        assert {len(term) for term in terms} == {{"small": 1, "medium": 2, "large": 3}[question.family]}


def test_arith_questions_with_the_same_terms_share_their_key() -> None:
    by_terms: dict[tuple[str, ...], set[str]] = {}
    for question in ArithTask(1500, families=["small"], sizes=[3, 4]).questions():
        terms = tuple(sorted(re.findall(r"[+-]\d", f"+{question.text}")))
        by_terms.setdefault(terms, set()).add(question.dedup_key)
    assert len(by_terms) < 1500
    assert all(len(keys) == 1 for keys in by_terms.values())
    assert len({key for keys in by_terms.values() for key in keys}) == len(by_terms)


def test_math_answers_the_second_way() -> None:
    checked = set()
    for question in MathStepsTask(3000, seed=5).questions():
        answer = second_answer(question)
        if answer is not None:
            checked.add((question.family, question.size))
            assert int(question.answer) == pytest.approx(answer, abs=1e-6), question.text
    cells = {(name, size) for name, (_, sizes) in FAMILIES.items() for size in sizes}
    assert checked == {cell for cell in cells if cell[0] != "everyday"}


@pytest.mark.parametrize(
    ("pattern", "formula"),
    [
        (r"packs (\d+) boxes of (\d+) eggs and drops (\d+)", lambda a, b, c: a * b - c),
        (r"^(\d+) buses carry (\d+) people each and (\d+)", lambda a, b, c: a * b + c),
        (r"saves (\d+) dollars a week for (\d+) weeks and spends (\d+)", lambda a, b, c: a * b - c),
        (r"works (\d+) hours a day for (\d+) days at (\d+) .* pays (\d+)", lambda h, d, w, tax: d * h * w - d * tax),
        (r"has (\d+) rows of (\d+) trees. Each tree gives (\d+) baskets; (\d+)", lambda r, t, b, bad: r * t * b - bad),
        (r"has (\d+) boxes of (\d+) cards, gives away (\d+) .* among (\d+)", lambda n, c, out, by: (n * c - out) % by),
    ],
)
def test_everyday_stories(pattern: str, formula: Callable[..., int]) -> None:
    told = 0
    for question in MathStepsTask(300, seed=2, families=["everyday"]).questions():
        if found := re.search(pattern, question.text):
            told += 1
            assert int(question.answer) == formula(*map(int, found.groups()))
    assert told > 5


def test_hardest_product_size() -> None:
    """Size 4 is generated on request only."""
    text, answer = FAMILIES["product"][0](Random(0), 4)
    assert evaluated(text.removeprefix("What is ").removesuffix("?")) == answer
    assert re.fullmatch(r"What is \d{3} \* \d{3}\?", text)


@pytest.mark.parametrize(
    ("family", "one", "other"),
    [
        ("product", "What is 12 * 34?", "What is 34 * 12?"),
        ("average", "What is the average of 11, 12, 13?", "What is the average of 13, 11, 12?"),
        ("chain", "What is 20 + 30 - 15?", "What is 20 - 15 + 30?"),
    ],
)
def test_reordered_questions_share_their_key(family: str, one: str, other: str) -> None:
    """The question mark stuck to the last number, so that 12 * 34 and 34 * 12 could fall into train and test."""
    assert unordered_key(family, one) == unordered_key(family, other)
    assert unordered_key(family, one) != unordered_key(family, one.replace("1", "7"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArithTask(0), "Expected at least one question"),
        (lambda: MathStepsTask(0), "Expected at least one question"),
        (lambda: ArithTask(5, families=["huge"]), r"Expected families .* got \['huge'\]"),
        (lambda: ArithTask(5, sizes=[9]), r"got .*\[9\]"),
        (lambda: MathStepsTask(5, families=["poetry"]), r"Expected families among .* got \['poetry'\]"),
        (lambda: ArithTask(500, families=["small"], sizes=[2]).questions(), "Expected 500 distinct questions, found"),
        (lambda: MathStepsTask(500, families=[]), r"at least one question and one family, got 500 and \[\]"),
        (lambda: ArithTask(500, families=[]), r"Expected at least one question and one family, got 500 and \[\]"),
        (lambda: ArithTask(500, sizes=[]), r"Expected sizes among .*, at least one, got \[\]"),
    ],
)
def test_impossible_tasks(make: Callable[[], object], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        make()


def jsonl(folder: Path, *lines: object) -> Path:
    """A file with one JSON value a line; texts are written as they are."""
    path = folder / "questions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def row(name: Any = "q1", **fields: object) -> dict[str, object]:
    return {"id": name, "question": f"What is {name}?", "answer": "1", **fields}


def test_jsonl(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, row("a"), "", row("b", answer=0, family="f", size=3, dedup_key="k"), row(7, question="WHAT  is a?")
    )
    task = JsonlTask(str(path))
    assert task.questions() == [
        Question("a", "What is a?", "1", "what is a?"),
        Question("b", "What is b?", "0", "k", "f", 3),
        Question("7", "WHAT  is a?", "1", "what is a?"),
    ]
    assert task.grader.version.startswith("numeric")
    assert JsonlTask(str(path), "exact").grader.version.startswith("exact")
    own = ExactGrader("=>")
    assert JsonlTask(str(path), own).grader is own


@pytest.mark.parametrize("character", ["\u2028", "\u0085", "\x7f", "\u00a0"])
def test_unicode_line_ends_inside_a_question(tmp_path: Path, character: str) -> None:
    """JSON allows U+2028 and U+0085 inside strings; `str.splitlines` cut such lines in two."""
    path = jsonl(tmp_path, row("a", question=f"one{character}two"), row("b"))
    assert [q.text for q in JsonlTask(str(path)).questions()] == [f"one{character}two", "What is b?"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "Expected at least one question, got an empty file"),
        ([row("a"), row("b"), row("a")], r"Expected unique ids, got 'a' on lines 1 and 3"),
        ([row("a"), {"id": "b", "question": "What?"}], r"Expected the field 'answer', got .*jsonl:2"),
        ([row("a", answer=" ")], r"Expected the field 'answer', got .*jsonl:1"),
        ([row("a", question=None)], r"Expected the field 'question', got .*jsonl:1"),
        ([row(None)], r"Expected the field 'id', got .*jsonl:1"),
        ([row("a"), "", '{"id": "b",'], r"Expected a JSON object, got '\{\"id\": \"b\",' at .*jsonl:3"),
        ([[1, 2]], r"Expected a JSON object, got '\[1, 2\]' at .*jsonl:1"),
        ([row("a", size="large")], r"jsonl:1"),
    ],
)
def test_bad_lines(tmp_path: Path, lines: list[object], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        JsonlTask(str(jsonl(tmp_path, *lines))).questions()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": true, "question": "What?", "answer": "1"}', "Expected a text as `id`, got True"),
        ('{"id": "a", "question": "What?", "answer": ["Paris"]}', r"Expected a text as `answer`, got \['Paris'\]"),
        ('{"id": "a", "question": "What?", "answer": "1", "size": 3.7}', "integer of at least 0 as `size`, got 3.7"),
        ('{"id": "a", "question": "What?", "answer": "1", "size": ' + "9" * 5000 + "}", "as `size`, got 999"),
        ('{"id": "a", "question": "\\ud800", "answer": "1"}', "half a surrogate pair in `question`"),
        (
            '{"id": "a", "id": "b", "question": "What?", "answer": "1"}',
            "each key once, got 'id' twice at .*:1",
        ),
        ("[" * 100_000, "Expected a JSON object, got .*:1"),
    ],
    ids=["bool", "list", "fraction", "digits", "surrogate", "key twice", "nested"],
)
def test_what_was_taken_as_text_or_ended_in_a_traceback(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(T2Error, match=message):
        JsonlTask(str(path)).questions()


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": 7, "question": "Half?", "answer": 0.50}', encoding="utf-8-sig")
    assert JsonlTask(str(path)).questions() == [Question("7", "Half?", "0.50", "half?")]


def test_fields_by_other_names(tmp_path: Path) -> None:
    """As in GSM8K, whose lines have no id and end a solution with the answer, and SVAMP, whose questions are in two."""
    solved = jsonl(
        tmp_path,
        *({"question": f"How many, {n}?", "answer": f"#### is no mark. {n}+1={n + 1}\n#### {n + 1}"} for n in range(3)),
    )
    fields = Fields(id=None, answer=AnswerField("answer", after="####"))
    first, second, third = JsonlTask(str(solved), fields=fields).questions()
    assert [first.answer, second.answer, third.answer] == ["1", "2", "3"]
    assert len({first.id, second.id, third.id}) == 3
    moved = jsonl(tmp_path, {"question": "How many, 1?", "answer": "#### 2"})
    assert JsonlTask(str(moved), fields=fields).questions()[0].id == second.id, "lines may move"
    parts = jsonl(tmp_path, {"ID": "c-1", "Body": "There are 3.", "Question": "How many?", "Answer": 3.0})
    fields = Fields(id="ID", question=["Body", "Question"], answer=AnswerField("Answer"))
    assert JsonlTask(str(parts), fields=fields).questions() == [
        Question("c-1", "There are 3. How many?", "3.0", "there are 3. how many?")
    ]


def test_fields_that_are_not_there(tmp_path: Path) -> None:
    twice = jsonl(tmp_path, {"question": "Same?", "answer": "1"}, {"question": "Same?", "answer": "1.0"})
    with pytest.raises(T2Error, match=r"Expected each question of .* once, .*'Same\?' in rows 1 and 2"):
        JsonlTask(str(twice), fields=Fields(id=None)).questions()
    unmarked = jsonl(tmp_path, {"question": "Sum?", "answer": "It is 3."})
    with pytest.raises(
        T2Error, match=r"an answer after the last '####' of the field 'answer', got 'It is 3\.' at .*:1"
    ):
        JsonlTask(str(unmarked), fields=Fields(id=None, answer=AnswerField(after="####"))).questions()
    with pytest.raises(
        T2Error, match=r"Expected the field 'problem', got nothing among the fields \['answer', 'question'\]"
    ):
        JsonlTask(str(unmarked), fields=Fields(id=None, question="problem")).questions()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"Expected a file of questions, got .*none\.jsonl: No such file"):
        JsonlTask(str(tmp_path / "none.jsonl")).questions()
    with pytest.raises(T2Error, match=r"Expected a file of questions, got .*: Is a directory"):
        JsonlTask(str(tmp_path)).questions()


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"id": "a", "question": "Wie gro\xdf?", "answer": "1"}')
    with pytest.raises(T2Error, match="Expected UTF-8, got byte 0xdf at offset 32 of"):
        JsonlTask(str(path)).questions()
