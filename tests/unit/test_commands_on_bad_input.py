"""Whatever a file of samples holds, `t2 import`, `curse` and `report` work or end with one clear line and code 2."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.evil import EVIL

from t2.cli import main

Fails = Callable[..., str]


def question(id: Any = "q", answers: Any = (7, 8, 7, 7, 9, 7), **more: Any) -> dict[str, Any]:
    return {"id": id, "question": f"question {id}", "answer": 7, "samples": samples(*answers), **more}


def samples(*answers: Any, **common: Any) -> list[dict[str, Any]]:
    return [{"answer": answer, **common} for answer in answers]


def lines(*rows: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def sample_of(**fields: Any) -> bytes:
    return lines({**question(), "samples": [{"answer": 7, **fields}]})


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs `t2`, which must end with exit code 2 and one line; gives it."""

    def run(*args: Any) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        output = capsys.readouterr()
        assert caught.value.code == 2
        assert output.err.startswith("error: Expected ")
        assert output.err.count("\n") == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", output.err)
        assert len(output.err) < 700
        return output.err

    return run


NO_POOLS = {
    "empty": b"",
    "blank lines": b"\n \n\t\n",
    "not UTF-8": b'{"id": "caf\xe9"}',
    "UTF-16": json.dumps(question()).encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "cut off": lines(question())[:-5],
    "a list": b"[1, 2]",
    "a number": b"7",
    "nested too deep": b'{"id": ' + b"[" * 100_000,
    "raw control character": b'{"id": "a\x01"}',
    "second line bad": lines(question(), {"id": "b"}),
    "duplicate ids": lines(question("a"), question("b"), question("a")),
    "ids that differ in type alone": lines(question(1), question("1")),
    "no id": lines({"question": "?", "answer": 7, "samples": []}),
    "id true": lines(question(True)),
    "answer NaN": lines({**question(), "answer": float("nan")}),
    "samples an object": lines({**question(), "samples": {}}),
    "samples a text": lines({**question(), "samples": "7"}),
    "a sample that is a list": lines({**question(), "samples": [[7]]}),
    "no samples anywhere": lines({**question(), "samples": []}),
    "tokens NaN": sample_of(tokens=float("nan")),
    "tokens infinite": sample_of(tokens=float("inf")),
    "tokens negative": sample_of(tokens=-1),
    "tokens a fraction": sample_of(tokens=1.5),
    "tokens 1e3": sample_of(tokens=7).replace(b'"tokens": 7', b'"tokens": 1e3'),
    "tokens true": sample_of(tokens=True),
    "tokens a text": sample_of(tokens="7"),
    "tokens beyond 32 bits": sample_of(tokens=2**31),
    "tokens of some samples": lines({**question(), "samples": [{"answer": 7, "tokens": 3}, {"answer": 7}]}),
    "prompt_tokens false": lines(question(prompt_tokens=False)),
    "size true": lines(question(size=True)),
    "correct 1": sample_of(correct=1),
    "correct null and finish_reason 0.5": lines({**question(), "samples": [{"answer": 7, "finish_reason": [0.5]}]}),
    "gold answer flagged wrong": sample_of(correct=False),
    "half a surrogate pair": sample_of(text="\ud83e"),
    "evil id twice": lines(question(EVIL), question(EVIL)),
    "evil type": lines({**question(), "answer": [EVIL]}),
    "evil field": lines({**question(), "samples": [{EVIL: 1}]}),
    "a megabyte of wrong type": lines({**question(), "samples": "7" * 1_000_000}),
}


@pytest.mark.parametrize("content", NO_POOLS.values(), ids=NO_POOLS)
def test_what_is_no_pool_is_one_line_and_leaves_nothing(tmp_path: Path, fails: Fails, content: bytes) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(content)
    assert "s.jsonl" in fails("import", file, "--pool", tmp_path / "pool")
    assert list(tmp_path.iterdir()) == [file]
    assert "s.jsonl --pool FOLDER" in fails("curse", file, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [file]


POOLS = {
    "one question": [question()],
    "one question, one sample": [question(answers=[7])],
    "one sample a question": [question("a", [7]), question("b", [8])],
    "two samples a question": [question("a", [7, 7]), question("b", [8, 7])],
    "no correct answer": [question("a", [8] * 6), question("b", [8, 9, 9, 8, 8, 1])],
    "all correct": [question("a", [7] * 6), question("b", [7] * 6)],
    "only abstentions": [question("a", [None] * 6), question("b", ["", " ", None, ".", " . ", None])],
    "only cut off": [{**question(q), "samples": samples(*[7] * 6, finish_reason="length")} for q in "ab"],
    "ragged": [question("a", range(9)), question("b", [7, 7]), question("c", [7, 8, 7, 7]), question("d", [])],
    "below the grid": [question("a", [7, 8, 7]), question("b", [7, 7, 8])],
    "more than curves can hold": [question("a", [7, 8] * 300), question("b", [7] * 600)],
    "one dedup key": [question("a", dedup_key="k"), question("b", [7, 7, 8, 8, 7, 7], dedup_key="k")],
    "megabyte-long answers": [question("a", ["x" * 1_000_000, 7, "9" * 1_000_000, 7, 7, 7]), question("b")],
    "megabyte-long id": [question("i" * 1_000_000), question("b")],
    "evil texts": [
        {
            "id": EVIL + str(q),
            "question": EVIL,
            "answer": EVIL,
            "family": EVIL,
            "dedup_key": EVIL + str(q),
            "samples": samples(EVIL, EVIL + "x", EVIL, f"{EVIL}{q}", text=EVIL, finish_reason="stop"),
            "greedy": {"answer": EVIL, "finish_reason": EVIL},
        }
        for q in range(4)
    ],
    "no tokens spent": [{**question(q), "samples": samples(7, 8, 7, 7, tokens=0)} for q in "ab"],
    "two billion tokens each": [{**question(q), "samples": samples(7, 8, 7, 7, tokens=2**31 - 1)} for q in "abc"],
    "all fields null": [{**question(q), "prompt_tokens": None, "greedy": None, "family": None} for q in "ab"],
}


VERDICTS = {
    "one question": "Not decided: one question",
    "one sample a question": "Not measured: with 1 samples a question",
    "no correct answer": "Nothing to measure",
    "only abstentions": "Nothing to measure",
    "only cut off": "Nothing to measure",
    "all correct": "Nothing to overscale: one sample is enough",
    "one dedup key": "Not decided: one question, or questions of one dedup key",
    "below the grid": "Not measured: with 3 samples a question",
}
"""How the verdict on a pool must start, lest it claims what cannot be known."""
SLOW = {"more than curves can hold"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else (), id=name) for name in POOLS]
)
def test_unusual_pools_are_measured(
    tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, pool, out = tmp_path / "s.jsonl", tmp_path / "pool", tmp_path / "out"
    file.write_bytes(lines(*POOLS[name]))
    main(["import", str(file), "--pool", str(pool), "--model", EVIL.replace("\x00", "")])
    main(["curse", str(pool), "--out", str(out)])
    printed = capsys.readouterr().out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search("<script|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert len(page) < 2_000_000

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads((out / "curse.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert content["verdict"] in " ".join(page.replace("&#39;", "'").split())
    assert content["verdict"].split()[0] in printed
    assert content["verdict"].startswith(VERDICTS.get(name, ""))
    assert "cross_validate --config FILE" in fails("report", pool, "--out", tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("command", ["import", "curse"])
def test_paths_that_cannot_be(tmp_path: Path, fails: Fails, command: str) -> None:
    """A name that the file system refuses was a traceback."""
    option = "--pool" if command == "import" else "--out"
    assert "File name too long" in fails(command, "x" * 5000, option, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_pool_where_none_can_lie(tmp_path: Path, fails: Fails) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(lines(question()))
    assert "Expected a folder as `--pool`" in fails("import", file, "--pool", tmp_path / ("x" * 300))
    assert "Expected to write the pool" in fails("import", file, "--pool", file / "pool")
    assert list(tmp_path.iterdir()) == [file]


def test_names_that_are_not_utf_8(tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    """File names may be any bytes; the record of one in pool.json was a UnicodeEncodeError."""
    file, pool = tmp_path / "caf\udce9.jsonl", tmp_path / "pool"
    file.write_bytes(lines(question()))
    assert "whose path UTF-8 can hold" in fails("import", file, "--pool", tmp_path / "p\udce9")
    assert list(tmp_path.iterdir()) == [file]
    assert "curse" not in fails("curse", tmp_path / "p\udce9", "--out", tmp_path / "out")
    main(["import", str(file), "--pool", str(pool), "--model", "m\udce9"])
    assert "caf?.jsonl imported: 1 questions, 6 samples" in capsys.readouterr().out
    spec = json.loads((pool / "pool.json").read_text(encoding="utf-8"))
    assert (spec["source"]["file"], spec["model"]["id"]) == ("caf?.jsonl", "m?")


def test_a_file_that_cannot_be_read(tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    file = tmp_path / "s.jsonl"
    file.write_bytes(lines(question()))
    monkeypatch.setattr("t2.importing.command.sha256_of_file", refuse)
    assert "Permission denied" in fails("import", file, "--pool", tmp_path / "pool")
