"""How commands end: Ctrl-C, SIGTERM and mistakes of the user are one line and an exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.signals import SIGNALS, end, go_on, handlers_come_back, start

import t2.endings
from t2.cli import main
from t2.endings import Interrupted, keeping, no_signals_in_children, one_line_endings, raise_on_signals
from t2.errors import T2Error
from t2.importing.rows import ImportedRows
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

NUM_QUESTIONS, SAMPLES = 40, 8


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    with handlers_come_back():
        yield


def interrupted(
    command: tuple[str, ...], signum: signal.Signals, capsys: pytest.CaptureFixture[str], **kept: Any
) -> str:
    """What a command says that gets a signal in the middle."""
    with pytest.raises(SystemExit) as caught, one_line_endings(*command), keeping(**kept):
        signal.raise_signal(signum)
    assert caught.value.code == 128 + signum
    assert caught.value.__cause__ is None
    return capsys.readouterr().err


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_is_one_line_and_its_exit_code(signum: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("t2", "report", "my pool")
    said = interrupted(command, signum, capsys, sentence=lambda: "", goes_on=False)
    assert said == "Interrupted. Again: t2 report 'my pool'\n"
    said = interrupted(command, signum, capsys, sentence=lambda: "3 of 4 are kept")
    assert said == "Interrupted: 3 of 4 are kept. Go on: t2 report 'my pool'\n"
    said = interrupted(command, signum, capsys, sentence=lambda: "nothing is kept", goes_on=False)
    assert said == "Interrupted: nothing is kept. Again: t2 report 'my pool'\n"


def test_who_knows_more_speaks_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), one_line_endings("t2"), keeping(lambda: "outer"), keeping(lambda: "inner"):
        signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err == "Interrupted: inner. Go on: t2\n"


@pytest.mark.parametrize("given", [["--ckpt_path", "old"], ["--ckpt_path=old"], []])
def test_an_option_of_the_next_run_replaces_the_old_one(given: list[str]) -> None:
    ending = Interrupted(signal.SIGINT)
    ending.options["--ckpt_path"] = "new"
    line = ending.line(["train.py", *given, "--x", "1"])
    assert line == "Interrupted. Again: train.py --x 1 --ckpt_path new"


def test_an_interrupt_that_comes_otherwise_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="130"), one_line_endings("t2"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Interrupted. Again: t2\n"


def test_a_second_signal_does_not_cut_short_what_the_first_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """But a later one counts: the first may have been swallowed by whatever was running."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    raise_on_signals()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)
    now += t2.endings.DEAF_SECONDS - 1
    signal.raise_signal(signal.SIGTERM)
    now += 2
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)


def test_handlers_come_back_when_a_command_has_ended_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with one_line_endings("t2"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit, match="2"), one_line_endings("t2"):
        raise T2Error("Expected sense, got none.")
    assert capsys.readouterr().err == "error: Expected sense, got none.\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_child_is_deaf_from_its_first_moment_on() -> None:
    """While Python starts in a child, Ctrl-C was a traceback of it among ours."""
    command = [sys.executable, "-c", "input()"]
    with no_signals_in_children(signal.SIGINT):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.kill(child.pid, signal.SIGINT)
    _, err = child.communicate("\n", timeout=60)
    assert (child.returncode, err) == (0, "")


# t2 label


def pool_config(folder: Path, seconds: float) -> Path:
    answers = {q.id: {f"#{q.answer}": 0.6, "": 0.4} for q in ArithTask(NUM_QUESTIONS).questions()}
    sampler = {"answers": answers, "seconds_per_request": seconds, "samples_per_request": 2}
    pool = {
        "path": str(folder / "pool"),
        "model": str(Path(__file__).parents[2] / "assets" / "tiny-arith"),
        "task": {"class_path": "ArithTask", "init_args": {"num_questions": NUM_QUESTIONS}},
        "sampler": {"class_path": "ScriptedSampler", "init_args": sampler},
        "samples_per_question": SAMPLES,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"data": {"pool": pool}}))
    return path


def stored(folder: Path) -> list[tuple[str, int]]:
    reader = ShardReader(PoolPaths(folder / "pool"))
    reader.refresh()
    return [(r["question_id"], r["draw"]) for table in reader.tables.values() for r in table.to_pylist()]


@pytest.mark.slow
@pytest.mark.parametrize("signum", SIGNALS)
def test_labelling_that_is_interrupted_says_what_is_kept_and_goes_on(tmp_path: Path, signum: signal.Signals) -> None:
    """Ctrl-C was a traceback through the whole engine, and SIGTERM said nothing."""
    process = start(["t2", "label", "--config", str(pool_config(tmp_path, 0.05))], tmp_path)

    def draws() -> bool:
        beat = tmp_path / "pool" / "heartbeat.json"
        return beat.exists() and bool(json.loads(beat.read_text())["writer"])

    err = end(process, lambda: draws() and not time.sleep(0.5), signum)
    kept, everything = stored(tmp_path), NUM_QUESTIONS * (SAMPLES + 1)
    assert 0 < len(kept) < everything
    config = pool_config(tmp_path, 0.0)
    assert err == (
        f"Interrupted: {len(kept)} of {everything} samples are kept in {tmp_path / 'pool'}. "
        f"Go on: t2 label --config {config}\n"
    )
    main(go_on(err)[1:])
    keys = stored(tmp_path)
    assert len(keys) == len(set(keys)) == everything
    assert set(kept) < set(keys)


def test_labelling_that_is_piped_writes_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was silent until its end."""
    for name in ("FIRST_SECONDS", "EVERY_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(f"t2.progress.{name}", 0.02)
    main(["label", "--config", str(pool_config(tmp_path, 0.002)), "--try_features", "false"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("labelling: ")
    counts = [int(line.split()[1]) for line in lines if " left, " in line]
    assert counts == sorted(counts)
    assert len(counts) > 2
    assert lines[-2].startswith("labelling: 360 of 360 samples, ")
    assert lines[-2].endswith(", 4 tokens a sample")
    assert lines[-1].startswith("Pool ")


# t2 import


@pytest.mark.parametrize("signum", SIGNALS)
def test_an_import_that_is_interrupted_leaves_no_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signum: signal.Signals
) -> None:
    rows = [{"id": f"q{i}", "question": "1+1", "answer": "2", "samples": [{"answer": "2"}] * 2} for i in range(9)]
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    add = ImportedRows.add

    def add_until_the_fifth(self: ImportedRows, given: Any) -> None:
        add(self, given)
        if given.question.id == "q5":
            signal.raise_signal(signum)

    monkeypatch.setattr(ImportedRows, "add", add_until_the_fifth)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=str(128 + signum)):
        main(["import", "samples.jsonl", "--pool", "pool"])
    assert capsys.readouterr().err == (
        "Interrupted: no pool was made, an import is whole or not at all. Again: t2 import samples.jsonl --pool pool\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]
    monkeypatch.setattr(ImportedRows, "add", add)
    main(["import", "samples.jsonl", "--pool", "pool"])
    assert len(stored(tmp_path)) == 18
