"""`t2 grade`: how grades were reached, and what another grader would change."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from t2.cli import main
from t2.errors import T2Error
from t2.grading.exact import ExactGrader
from t2.grading.given import GivenGrader, grader_named
from t2.grading.numeric import NumericGrader
from t2.importing.command import import_file
from t2.pools.load import load_pool
from t2.regrading.command import grades_of
from t2.regrading.measure import GradedSample, QuestionGrades, changes, ways
from t2.spec import GREEDY_DRAW, Grade

TEXTS = ("#### 7", "#### 7.0", "so 7", "#### 7 or 8", "#### 7\nQ: 1?\n#### 1", "#### 8", "#### 08", "\\boxed{7}")


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """An imported pool of one question whose default grader is numeric."""
    samples = [{"text": text, "tokens": 4} for text in TEXTS]
    row = {"id": "q", "question": "3+4?", "answer": "7", "samples": samples, "greedy": {"text": "#### 7", "tokens": 4}}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    import_file(str(tmp_path / "samples.jsonl"), str(tmp_path / "pool"), grader="numeric")
    return str(tmp_path / "pool")


def shown(*args: object, **options: object) -> str:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as capture:
        console.print(grades_of(*args, **options))  # type: ignore[arg-type]  # as the test asks
    return " ".join(capture.get().split())


def test_how_grades_were_reached_and_the_classes(pool: str) -> None:
    text = shown(pool)
    assert "marker 6 66.7 66.7" in text
    assert "no marker 1 11.1 abstain so 7" in text
    assert "marker: unsure words" in text or "marker: several numbers 1 11.1 abstain" in text
    assert "box 1 11.1 100.0" in text
    assert "q 7 7 7 x4, 8 x2, abstain x2 4" in text


def test_what_another_grader_changes(pool: str) -> None:
    text = shown(pool, "exact", diff=True)
    assert "abstain 2 1 1" in text  # "7 or 8" is a text
    assert "right 5 4 1" in text  # 7.0 is another text than 7
    assert "vote with others 2" in text  # 7.0, and 08 beside 8
    assert "q, draw 1, gold 7 #### 7.0 -> 7 (marker) -> 7.0 (marker)" in text
    assert shown(pool, "exact", against="numeric") == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diff": True}, r"Expected `--grader` with `--diff`, got none"),
        ({"grader": "numeric", "diff": True}, r"Expected another grader than 'numeric-3-####-1' to compare with"),
        ({"grader": "choice"}, r"grader 'choice-1-####-J' can read, got 1 of 1 that it cannot \('7' for 'q'\)"),
        ({"examples": -1}, "Expected `examples` of at least 0, got -1"),
    ],
)
def test_what_cannot_be_compared(pool: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        shown(pool, **options)


def graded(*classes: str | None) -> QuestionGrades:
    samples = tuple(GradedSample(i - 1, str(i), True, Grade(name, f"how {name}")) for i, name in enumerate(classes))
    return QuestionGrades("q", "7", "7", samples)


def test_other_names_of_classes_are_no_change() -> None:
    """Graders name classes in their own ways; only who votes with whom counts, and who is right."""
    before = graded("7", "7", "8", "8", "9", None)
    assert before.samples[0].draw == GREEDY_DRAW
    after = graded("7", "7", "text: 8", "text: 8", "x", None)
    assert changes([before], [after])[0].changed == ()
    merged = changes([before], [graded("7", "7", "a", "a", "a", "a")])[0]
    assert (len(merged.changed), merged.newly_abstaining, merged.newly_read, merged.moved) == (2, 0, 1, 1)
    righted = changes([before], [graded("7", "7", "7", "8", "9", None)])[0]
    assert (righted.right_before, righted.right_after, righted.flipped, righted.moved) == (2, 3, 1, 1)
    first = ways([before])[0]
    assert (first.how, first.samples, first.right, first.abstain) == ("how 7", 2, 2, 0)


MY_GRADER = """
from t2.grading.exact import ExactGrader

class MyGrader(ExactGrader):
    version = "mine-1"

    def gold_class(self, answer):
        return answer.strip()[-1:] or None
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a grader of the user's own, which is not on the path, as for a console script."""
    (tmp_path / "my_graders_of_test.py").write_text(MY_GRADER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, "my_graders_of_test", raising=False)


@pytest.mark.usefixtures("beside")
def test_a_grader_in_the_working_folder_is_found(pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train.py` found a class beside it and `t2` did not; `t2 import` and folders took names only."""
    name = "my_graders_of_test.MyGrader"
    main(["import", str(tmp_path / "samples.jsonl"), "--pool", "mine", "--grader", name])
    assert load_pool("mine").grader == "mine-1"
    main(["grade", pool, "--grader", name, "--diff"])
    assert "mine-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latex", r"Expected a grader among \['choice', .*'numeric'\] or the path of a class, .* got 'latex'"),
        ("no_such.Grader", r"importable from the working folder .* got 'no_such.Grader': No module named"),
        ("t2.grading.numeric.No", "got 't2.grading.numeric.No': module .* has no attribute 'No'"),
        ("collections.Counter", r"Expected a subclass of t2\.spec\.Grader, got 'collections\.Counter'"),
    ],
)
def test_no_grader_of_that_name(name: str, message: str) -> None:
    with pytest.raises(T2Error, match=message):
        grader_named(name)


def test_every_name_is_a_grader() -> None:
    kinds = [type(grader_named(name)).__name__ for name in ("numeric", "exact", "math", "choice", "given")]
    assert kinds == ["NumericGrader", "ExactGrader", "MathGrader", "ChoiceGrader", "GivenGrader"]


def imported(tmp_path: Path, gold: str, *answers: dict[str, object]) -> Path:
    row = {"id": "q", "question": "?", "answer": gold, "samples": [{**answer, "tokens": 3} for answer in answers]}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    import_file(str(tmp_path / "samples.jsonl"), str(tmp_path / "pool"))
    return tmp_path / "pool"


@pytest.mark.parametrize(("gold", "wrong"), [("mW", "MW"), ("10⁶", "106")])
def test_an_import_tells_units_apart(tmp_path: Path, gold: str, wrong: str) -> None:
    """`correct: false` on MW was a contradiction to the gold answer mW, and the whole file was refused."""
    pool = imported(tmp_path, gold, {"answer": wrong, "correct": False}, {"answer": gold})
    assert load_pool(pool).pool.right_QM.tolist() == [[False, True]]


def test_pools_imported_before_keep_their_classes(tmp_path: Path) -> None:
    """Format version 2 stored folded classes: the gold answer mW must be looked up as mw there, or nothing is right."""
    pool = imported(tmp_path, "mw", {"answer": "mw"}, {"answer": "8"})
    import pyarrow.parquet as pq

    questions = pq.read_table(pool / "questions.parquet")
    at = questions.schema.get_field_index("answer")
    pq.write_table(questions.set_column(at, "answer", [["mW"]]), pool / "questions.parquet")
    assert load_pool(pool).pool.right_QM.tolist() == [[False, False]]
    spec = json.loads((pool / "pool.json").read_text())
    (pool / "pool.json").write_text(json.dumps({**spec, "format_version": 2}))
    assert load_pool(pool).pool.right_QM.tolist() == [[True, False]]
    assert "given" in shown(str(pool))


def test_an_own_grader_needs_no_grades_of_how() -> None:
    class Own(ExactGrader):
        version = "own"

        def answer_class(self, text: str) -> str | None:
            return text[-1:] or None

        def grade(self, text: str) -> Grade:
            return super(ExactGrader, self).grade(text)

    assert Own().grade("ab") == Grade("b", "read")
    assert Own().grade("") == Grade(None, "no answer")
    assert NumericGrader().grade("#### 5") == Grade("5", "marker")
    assert GivenGrader().grade("5").answer_class == "5"
