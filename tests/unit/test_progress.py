"""Progress without a terminal: when lines come and what they say, by a clock that the test sets."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch

import t2.progress
from t2.activations.cache import FeatureSpec
from t2.activations.features import PROMPTS_A_PART, in_parts
from t2.progress import Counts, Lines, duration, progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Work:
    """A piece of work under a clock: what it has written, and at which second."""

    def __init__(self, total: int | None = None) -> None:
        self.clock, self.written = Clock(), []
        self.counts = Counts("labelling", total, "samples", self.clock)
        self.lines = Lines(self.counts, lambda line: self.written.append((self.clock.now - 100, line)))

    def pass_seconds(self, seconds: int, per_second: int = 0) -> None:
        for _ in range(seconds):
            self.clock.now += 1
            if per_second:
                self.counts(self.counts.done + per_second)
            self.lines.look()


def test_the_first_line_comes_after_ten_seconds_and_then_one_every_thirty() -> None:
    work = Work(total=1000)
    work.counts(0)
    work.pass_seconds(100, per_second=2)
    assert [second for second, _ in work.written] == [10, 40, 70, 100]
    work.lines.finish()
    assert work.written[-1] == (100, "labelling: 200 of 1,000 samples, 2.0 samples/s, in 1 min 40 s")


def test_a_line_says_what_is_done_of_how_much_the_rate_and_the_time_left() -> None:
    work = Work(total=12_800)
    work.counts(0, note="44 tokens a sample")
    work.pass_seconds(10, per_second=64)
    expected = "labelling: 640 of 12,800 samples, 64.0 samples/s, 3 min 10 s left, 44 tokens a sample"
    assert work.written == [(10, expected)]


def test_before_the_first_unit_there_is_a_sign_of_life() -> None:
    work = Work()
    work.pass_seconds(39)
    work.counts(0, total=50)
    work.pass_seconds(1)
    assert work.written == [
        (10, "labelling: starting, 10 s so far"),
        (40, "labelling: 0 of 50 samples, 40 s so far"),
    ]


def test_work_without_a_known_end_has_a_count_and_a_rate() -> None:
    """`trainer.max_epochs: -1`."""
    work = Work()
    work.counts(0)
    work.pass_seconds(10, per_second=3)
    assert work.written == [(10, "labelling: 30 samples, 3.0 samples/s, 10 s so far")]


def test_what_was_there_before_and_loading_count_for_no_rate() -> None:
    """Taken up at epoch 50 of 100, after 20 s of loading: a rate from the start would be 7 times too high."""
    work = Work(total=100)
    work.pass_seconds(20)
    work.counts(50)
    work.pass_seconds(20)
    work.counts(60)
    assert work.counts.words() == "60 of 100 samples, 30.0 samples/min, 1 min 20 s left"


def test_units_of_unlike_time_give_the_time_left_by_share() -> None:
    work = Work(total=100)
    work.counts(0, share=0.0)
    work.pass_seconds(30)
    work.counts(10, share=0.75)
    assert work.counts.words() == "10 of 100 samples, 20.0 samples/min, 10 s left"


def test_a_note_is_asked_when_it_is_shown() -> None:
    work, area = Work(total=10), ["0.1"]
    work.counts(1, note=lambda: f"val/area {area[-1]}")
    area.append("0.2")
    work.counts(2)
    assert work.counts.words().endswith("val/area 0.2")


def test_work_that_is_soon_over_and_work_that_is_none_write_nothing() -> None:
    short = Work(total=10)
    short.counts(0)
    short.pass_seconds(9, per_second=1)
    short.lines.finish()
    none = Work(total=0)
    none.pass_seconds(100)
    none.lines.finish()
    assert short.written == none.written == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (93_900, "26 h 05 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines at every look."""
    for name in ("FIRST_SECONDS", "EVERY_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(t2.progress, name, 0.005)


@pytest.mark.usefixtures("often")
def test_lines_come_while_the_work_itself_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    seen = threading.Event()
    write = t2.progress._write

    def write_and_tell(line: str) -> None:
        write(line)
        seen.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(t2.progress, "_write", write_and_tell)
        with progress("features", 8, unit="prompts"):
            assert seen.wait(30)
    assert capsys.readouterr().out.startswith("features: 0 of 8 prompts, 0 s so far\n")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("progress")]


@pytest.mark.usefixtures("often")
def test_what_fails_ends_without_a_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress("features", 8, unit="prompts") as advance:
        advance(3, total=1 // 0)
    assert ", in " not in capsys.readouterr().out


def test_a_reader_that_has_gone_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """`t2 label | head`."""

    class Closed:
        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    t2.progress._write("a line")


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("labelling", unit="samples") as advance:
        advance(0, 20)
        advance(20)
    out = capsys.readouterr().out
    assert "━" in out
    assert "labelling" in out
    assert "20 of 20 samples" in out


@pytest.mark.usefixtures("often")
def test_features_are_counted_by_prompts(tiny_arith: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were by parts of 256 prompts, and in a log not at all."""
    written: list[str] = []
    monkeypatch.setattr(t2.progress, "_write", written.append)
    monkeypatch.setattr("t2.activations.backbone.TOKENS_PER_BATCH", 400)
    prompts = [[1 + index % 9, 3, 4, 5] for index in range(PROMPTS_A_PART + 44)]
    parts = list(in_parts(Path(tiny_arith), prompts, FeatureSpec("model", (1,))))
    assert sum(map(len, parts)) == len(torch.cat(parts)) == PROMPTS_A_PART + 44
    assert written[0].startswith("features: ")
    assert written[-1].startswith("features: 300 of 300 prompts, ")
