"""Imports that cannot be: one line with the place, and no half a pool is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.imported_files import Import, everything, question, samples, stored

import t2.importing.command
import t2.importing.rows
from t2.errors import T2Error
from t2.importing.command import import_file
from t2.spec import SamplingSettings
from t2.store.pool_spec import PoolSpec, check_or_create_spec
from t2.store.schema import PoolPaths

# The same import again, or another one


def test_the_same_file_again_is_a_no_op_that_says_so(run: Import, pool: Path) -> None:
    row = question(samples=samples(7, 8, tokens=2))
    first = run(row, grader="exact", model="m")
    before = everything(pool)
    again = run(row, grader="exact", model="m")
    assert (first.already_there, again.already_there) == (False, True)
    assert again.source == first.source
    assert next(again.lines()).startswith("samples.jsonl was imported before, nothing to do: 1 questions, 2 samples")
    assert everything(pool) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"grader": "exact"}, "--grader None there, exact asked"),
        ({"model": "m"}, "--model unknown there, m asked"),
        ({"tokenizer": "some/tokenizer"}, "--tokenizer None there, some/tokenizer asked"),
    ],
)
def test_other_options_are_refused(run: Import, pool: Path, options: dict[str, str], named: str) -> None:
    run(question())
    before = everything(pool)
    with pytest.raises(T2Error, match=named):
        run(question(), **options)
    assert everything(pool) == before


def test_another_file_is_refused(run: Import, pool: Path) -> None:
    run(question())
    before = everything(pool)
    with pytest.raises(T2Error, match=r"\(samples.jsonl\), got a difference in file \w+ there, \w+ asked"):
        run(question("another"))
    assert everything(pool) == before


def test_a_labelled_pool_is_refused(run: Import, pool: Path) -> None:
    spec = PoolSpec({"id": "m", "fingerprint": "f"}, {"fingerprint": "e"}, SamplingSettings().as_json())
    check_or_create_spec(PoolPaths(pool), spec)
    before = everything(pool)
    with pytest.raises(T2Error, match=r"which t2 label fills\. Choose another `--pool`"):
        run(question())
    assert everything(pool) == before


def test_a_folder_with_something_else_is_refused(run: Import, pool: Path) -> None:
    pool.mkdir()
    (pool / "thesis.tex").write_text("x")
    with pytest.raises(T2Error, match="with something else"):
        run(question())
    assert everything(pool) == {"thesis.tex": b"x"}


def test_a_file_in_the_way_is_refused(run: Import, pool: Path) -> None:
    pool.write_text("x")
    with pytest.raises(T2Error, match="with something else"):
        run(question())


def test_an_empty_folder_is_filled(run: Import, pool: Path) -> None:
    pool.mkdir()
    run(question())
    assert len(stored(pool)) == 1


# Nothing half


@pytest.mark.parametrize("step", ["rows.add_shard", "rows.write_imported_questions", "command.check_or_create_spec"])
def test_an_interrupted_import_leaves_nothing(
    run: Import, pool: Path, file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"t2.importing.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            run(question())
    assert list(pool.parent.iterdir()) == [file]
    run(question())
    assert len(stored(pool)) == 1


def test_a_bad_last_line_leaves_nothing(run: Import, pool: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t2.importing.rows, "_ROWS_PER_SHARD", 1)
    with pytest.raises(T2Error, match=r"samples\.jsonl:2"):
        run(question("a"), {"id": "b"})
    assert list(pool.parent.iterdir()) == [file]


def test_kill_9_leaves_no_pool_and_the_next_import_makes_it(file: Path, pool: Path) -> None:
    file.write_text(json.dumps(question()))
    code = (
        "import os, signal, sys, t2.importing.command as command, t2.importing.rows as rows\n"
        "rows.write_imported_questions = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "command.import_file(sys.argv[1], sys.argv[2])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(file), str(pool)], cwd=root, env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not pool.exists()
    import_file(str(file), str(pool))
    assert len(stored(pool)) == 1


# Bad input, by message


def bad(rows: Any, message: str) -> Any:
    return pytest.param(rows, message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        bad([b""], r"at least one question, got an empty file: .*samples\.jsonl"),
        bad([b"\n \n"], "at least one question"),
        bad([b'{"id": "a"'], r"Expected a JSON object, got '\{\"id\": \"a\"' at .*samples\.jsonl:1"),
        bad([b"\n[1, 2]"], r"Expected a JSON object, got .* at .*samples\.jsonl:2"),
        bad([b"[" * 100_000], "Expected a JSON object"),
        bad([b'{"id": "caf\xe9"}'], r"Expected UTF-8, got byte 0xe9 at offset 11 of .*samples\.jsonl:1"),
        bad([b"\xff\xfe{"], "Expected UTF-8, got byte 0xff"),
        bad([question(), question()], r"Expected unique ids, got 'q' on lines 1 and 2 of"),
        bad([question(1), question("1")], "Expected unique ids, got '1' on lines 1 and 2"),
        bad([question(id=None)], "Expected the field 'id', got nothing at"),
        bad([question(id=["a"])], r"Expected a text as `id`, got \['a'\]"),
        bad([question(question=" ")], "Expected the field 'question', got ' '"),
        bad([question(answer=None)], "Expected the field 'answer', got nothing"),
        bad([question(answer=True)], "Expected a text as `answer`, got True"),
        bad([question(answer=".")], r"that grader 'given' can read, got '\.'"),
        bad([question(size=-1)], "Expected an integer of at least 0 as `size`, got -1"),
        bad([question(size=2**31)], "Expected an integer of at least 0 as `size`, got 2147483648"),
        bad([question(family={})], r"Expected a text as `family`, got \{\}"),
        bad([question(prompt_tokens=1.5)], "as `prompt_tokens`, got 1.5"),
        bad([{"id": "a", "question": "?", "answer": "7"}], "Expected the field 'samples' with a list, got nothing"),
        bad([question(samples=())], "Expected samples of at least one question, got none in"),
        bad([{**question(), "samples": {}}], r"Expected the field 'samples' with a list, got \{\}"),
        bad([question(samples=["7"])], r"Expected an object with 'text' or 'answer', got '7' in samples\[0\] at"),
        bad([question(samples=[{"tokens": 3}])], r"Expected 'text' or 'answer', got the fields \['tokens'\]"),
        bad([question(samples=samples(7, [8]))], r"as `answer`, got \['8'\] in samples\[1\] at .*samples\.jsonl:1"),
        bad([question(samples=samples(7, tokens=-1))], "as `tokens`, got -1 in"),
        bad([question(samples=samples(7, tokens="3"))], "as `tokens`, got '3' in"),
        bad([question(samples=samples(7, tokens=True))], "as `tokens`, got True in"),
        bad([question(samples=samples(7, correct="yes"))], "Expected true or false as `correct`, got 'yes'"),
        bad([question(samples=samples(7, correct=1))], "Expected true or false as `correct`, got 1 in"),
        bad([question(samples=samples(7, finish_reason=[]))], r"Expected a text as `finish_reason`, got \[\]"),
        bad([question(greedy=[])], r"Expected an object with 'text' or 'answer', got \[\] in greedy at"),
        bad([question(greedy={"answer": 7, "tokens": "x"})], "as `tokens`, got 'x' in greedy at"),
        bad([question(samples=samples("7", correct=False))], "Expected `correct: true` for the gold answer, got"),
        bad([question(samples=samples(None, correct=True))], "Expected an answer in every sample with `correct: true`"),
        bad(
            [question(samples=[{"answer": "rome", "correct": True}, {"answer": " Rome", "correct": False}])],
            "Expected one `correct` flag for equal answers, got true and false for 'rome' at",
        ),
        bad(
            [question("a", samples(1, tokens=1)), question("b")],
            r"in every sample or in none, got some with \(.*:1\) and some without \(.*:2\). .* --tokenizer ID",
        ),
        bad([question(samples=[{"text": "\ud83e"}])], "got half a surrogate pair in `text` of samples"),
    ],
)
def test_bad_input_is_one_line_with_the_place(
    run: Import, pool: Path, file: Path, rows: list[Any], message: str
) -> None:
    with pytest.raises(T2Error, match=message) as caught:
        run(*rows)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert list(pool.parent.iterdir()) == [file]


def test_a_missing_file(pool: Path) -> None:
    with pytest.raises(T2Error, match=r"Expected a file of samples, got nowhere\.jsonl\. Check the path\."):
        import_file("nowhere.jsonl", str(pool))
    with pytest.raises(T2Error, match="Expected a file of samples"):
        import_file(str(pool.parent), str(pool))


def test_an_unknown_grader(run: Import) -> None:
    with pytest.raises(
        T2Error,
        match=r"grader among \['choice', 'exact', 'given', 'math', 'numeric'\] or the path of a class.*, got 'latex'",
    ):
        run(question(), grader="latex")


def test_an_unknown_tokenizer(run: Import, pool: Path, file: Path) -> None:
    with pytest.raises(T2Error, match=r"Expected a tokenizer folder or hub id, got '/no/such/folder'"):
        run(question(), tokenizer="/no/such/folder")
    assert list(pool.parent.iterdir()) == [file]


def test_a_gold_answer_that_the_grader_cannot_read(run: Import) -> None:
    with pytest.raises(T2Error, match=r"grader 'numeric-3-####-1' can read, got 'several' at .*samples\.jsonl:1"):
        run(question(answer="several"), grader="numeric")
