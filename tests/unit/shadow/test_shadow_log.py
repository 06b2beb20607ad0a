"""The log of shadow mode: whole lines, whatever happens, and a reader that says where a line is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from t2.errors import T2Error
from t2.shadow.log import ShadowLog, read_shadow_log
from t2.shadow.replay import ShadowRecord

RECORD = ShadowRecord(
    format="t2-shadow",
    format_version=1,
    time="2026-11-29T12:00:00.250+00:00",
    request_id="chat-0",
    policy="FixedN(2)",
    drawn=3,
    rounds=(1, 1),
    is_greedy=False,
    was_cut=False,
    agrees=True,
    confidence=0.75,
    drawn_tokens=80,
    tokens=17.5,
    drawn_path=64,
    path=10.0,
    prompt_tokens=12,
)


def numbered(number: int) -> ShadowRecord:
    return replace(RECORD, request_id=f"chat-{number}")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = ShadowLog(tmp_path / "new" / "shadow.jsonl")
    assert all(log.write(numbered(number)) for number in range(3))
    assert list(read_shadow_log(log.path)) == [numbered(number) for number in range(3)]
    assert (log.written, log.lost) == (3, 0)
    again = ShadowLog(log.path)
    again.write(numbered(3))
    assert len(list(read_shadow_log(log.path))) == 4


def test_many_threads_and_handles_write_whole_lines(tmp_path: Path) -> None:
    logs = [ShadowLog(tmp_path / "shadow.jsonl") for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: logs[number % 4].write(numbered(number)), range(200)))
    names = {record.request_id for record in read_shadow_log(tmp_path / "shadow.jsonl")}
    assert names == {f"chat-{number}" for number in range(200)}


def test_an_operator_rotates_by_renaming(tmp_path: Path) -> None:
    log = ShadowLog(tmp_path / "shadow.jsonl")
    log.write(numbered(0))
    log.path.rename(tmp_path / "shadow.jsonl.1")
    log.write(numbered(1))
    assert [r.request_id for r in read_shadow_log(tmp_path / "shadow.jsonl.1")] == ["chat-0"]
    assert [r.request_id for r in read_shadow_log(log.path)] == ["chat-1"]


def test_a_full_disk_loses_a_record_and_no_request(tmp_path: Path) -> None:
    log = ShadowLog(tmp_path / "shadow.jsonl")
    log.write(numbered(0))
    size = log.path.stat().st_size
    # A limit on the size of files is the nearest to a full disk that a test may make: the write is cut short.
    code = (
        "import resource, signal, sys\n"
        "from test_shadow_log import ShadowLog, numbered\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 40}, resource.RLIM_INFINITY))\n"
        "log = ShadowLog(sys.argv[1])\n"
        "print(log.write(numbered(1)), log.write(numbered(2)), log.lost)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "print(log.write(numbered(3)))\n"
    )
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{Path(__file__).parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(log.path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False", "False", "2", "True"]
    assert done.stderr.count("loses records") == 1
    assert [record.request_id for record in read_shadow_log(log.path)] == ["chat-0", "chat-3"]


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    line = json.dumps(RECORD.as_json())
    for torn in (line[:40], f"{line}\n{line[:40]}", f"{line}\n" + "x" * 200_000):
        path.write_text(torn, encoding="utf-8")
        whole = torn.count("\n")
        ShadowLog(path).write(numbered(7))
        assert [r.request_id for r in read_shadow_log(path)] == ["chat-0"] * whole + ["chat-7"]


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    path.write_text(json.dumps(RECORD.as_json()) + "\n" + '{"format": "t2-sh', encoding="utf-8")
    assert list(read_shadow_log(path)) == [RECORD]
    path.write_text("", encoding="utf-8")
    assert list(read_shadow_log(path)) == []


@pytest.mark.parametrize("content", ["notes of mine", "notes\n", '{"format": "t2-pool"}\n', "\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(T2Error, match=r"Expected a new file for the log of shadow mode.*nothing was written"):
        ShadowLog(path)
    assert path.read_text(encoding="utf-8") == content


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"that can be written, got .*Is a directory"):
        ShadowLog(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", r"Expected a JSON object, got 'nonsense' at .*:2"),
        ("[1]", r"Expected a JSON object.*:2"),
        ('{"a": 1, "a": 2}', r"Expected each key once.*:2"),
        ({"format": "t2-pool"}, r"Expected one of \['t2-shadow'\] as `format` in .*:2"),
        ({"format_version": 2}, r"`format_version` in .*:2"),
        ({"drawn": "3"}, r"Expected a whole number as `drawn` in .*:2"),
        ({"drawn": 2.5}, r"Expected a whole number as `drawn` in .*:2"),
        ({"rounds": [9]}, r"Expected a request in shadow mode that can be.*:2"),
        ({"tokens": None}, r"Expected a number as `tokens` in .*:2"),
        ({"agrees": "yes"}, r"Expected true or false as `agrees` in .*:2"),
        ({"text": {"prompt": "p", "answers": [1], "texts": []}}, r"Expected a text as `text.answers.0` in .*:2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | dict[str, object], message: str) -> None:
    bad = line if isinstance(line, str) else json.dumps(RECORD.as_json() | line)
    path = tmp_path / "shadow.jsonl"
    path.write_text(f"{json.dumps(RECORD.as_json())}\n{bad}\n", encoding="utf-8")
    with pytest.raises(T2Error, match=message):
        list(read_shadow_log(path))


def test_a_line_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    line = {key: value for key, value in RECORD.as_json().items() if key != "drawn"}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    with pytest.raises(T2Error, match=r"Expected a value as `drawn` in .*:1"):
        list(read_shadow_log(path))


def test_a_number_of_thousands_of_digits_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    line = json.dumps(RECORD.as_json()).replace('"drawn": 3', f'"drawn": {"9" * 5000}')
    path.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(T2Error, match=r"numbers of a sensible length at .*:1"):
        list(read_shadow_log(path))


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected a file of requests in shadow mode"):
        list(read_shadow_log(tmp_path / "none.jsonl"))


def test_prompts_are_not_for_everybody(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        ShadowLog(tmp_path / "log.jsonl").write(RECORD)
    finally:
        os.umask(before)
    assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o640


def test_the_form_of_the_prompt_is_kept_and_older_logs_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shadow.jsonl"
    older = json.dumps(RECORD.as_json())
    assert '"prompt"' not in older
    path.write_text(f"{older}\n", encoding="utf-8")
    ShadowLog(path).write(replace(RECORD, prompt="other"))
    assert [record.prompt for record in read_shadow_log(path)] == [None, "other"]
    path.write_text(json.dumps(RECORD.as_json() | {"prompt": "mine"}) + "\n", encoding="utf-8")
    with pytest.raises(T2Error, match=r"Expected one of .*'other'.* as `prompt` in .*:1"):
        list(read_shadow_log(path))
