"""`t2 shadow-report`: figures worked out by hand, laws, and what the command writes and refuses."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from t2.cli import main
from t2.errors import T2Error
from t2.shadow.log import ShadowLog
from t2.shadow.measure import measured, share_interval
from t2.shadow.replay import ShadowRecord
from t2.shadow.tables import notes, rounds_table, samples_table, summary_table

ALL = ShadowRecord(
    format="t2-shadow",
    format_version=1,
    time="2026-11-29T12:00:00.000+00:00",
    request_id="chat-0",
    policy="HeadThenStop(cap=8)",
    drawn=8,
    rounds=(8,),
    is_greedy=False,
    was_cut=False,
    agrees=True,
    confidence=0.5,
    drawn_tokens=80,
    tokens=80.0,
    drawn_path=20,
    path=20.0,
    prompt_tokens=12,
)
"""Draws all, saves nothing."""
TWO = replace(ALL, rounds=(2, 1), tokens=30.0, path=25.0, agrees=False, time="2026-11-29T13:00:00.000+00:00")
GREEDY = replace(ALL, rounds=(1,), tokens=10.0, path=10.0, is_greedy=True, agrees=None, confidence=None)
LOG = [ALL, TWO, GREEDY, replace(TWO, agrees=True, confidence=0.9, was_cut=True)]
"""By hand: 320 tokens drawn, T2 80 + 30 + 10 + 30 = 150; 8 + 3 + 1 + 3 samples; paths 20 + 25 + 10 + 25 of 80."""


def random_log(num: int, seed: int = 0) -> list[ShadowRecord]:
    rng = random.Random(seed)
    log = []
    for number in range(num):
        rounds = tuple(rng.choices([1, 2], k=rng.randint(1, 4)))
        drawn_tokens = rng.randint(200, 400)
        log.append(
            replace(
                ALL,
                request_id=f"chat-{number}",
                rounds=rounds,
                tokens=drawn_tokens * sum(rounds) / 8,
                drawn_tokens=drawn_tokens,
                agrees=rng.random() < 0.9,
                confidence=rng.random(),
            )
        )
    return log


def test_figures_by_hand() -> None:
    report = measured(LOG)
    whole = report.everything
    assert (whole.requests, whole.known, report.greedy, report.cut, report.fell_back) == (4, 3, 1, 1, 0)
    assert whole.saved.value == pytest.approx(1 - 150 / 320)
    assert whole.samples.value == pytest.approx(15 / 4)
    assert whole.drawn == 8
    assert whole.rounds.value == pytest.approx(6 / 4)
    assert whole.path_ratio.value == pytest.approx(80 / 80)
    assert whole.agreement is not None
    assert whole.agreement.value == pytest.approx(2 / 3)
    assert whole.confidence is not None
    assert whole.confidence.value == pytest.approx((0.5 + 0.5 + 0.9) / 3)
    assert report.most_changed == pytest.approx(3 / 4), "one differs, one is greedy, one was cut"
    assert (report.first, report.last) == (ALL.time, TWO.time)
    assert {n: group.requests for n, group in report.by_rounds.items()} == {0: 1, 1: 1, 2: 2}
    assert {n: group.requests for n, group in report.by_samples.items()} == {3: 2, 8: 1}
    assert report.by_samples[3].saved.value == pytest.approx(1 - 60 / 160)
    assert report.by_rounds[0].agreement is None


def test_intervals_are_numpys() -> None:
    """The ratio of sums, resampled here with NumPy; its own draws, so it agrees up to their noise."""
    log = random_log(300)
    whole = measured(log).everything
    would, drawn = np.array([r.tokens for r in log]), np.array([float(r.drawn_tokens) for r in log])
    rows = np.random.default_rng(1).integers(0, len(log), (4000, len(log)))
    low, high = np.quantile(1 - would[rows].sum(1) / drawn[rows].sum(1), [0.025, 0.975])
    assert (whole.saved.low, whole.saved.high) == (pytest.approx(low, abs=0.003), pytest.approx(high, abs=0.003))
    agrees = sum(bool(r.agrees) for r in log)
    assert whole.agreement is not None
    assert whole.agreement.low == pytest.approx(beta.ppf(0.025, agrees, 300 - agrees + 1))
    assert whole.agreement.high == pytest.approx(beta.ppf(0.975, agrees + 1, 300 - agrees))


def test_agreement_of_all_is_not_certainty() -> None:
    """59 of 59 leaves 6% open: 0.94^59 is 0.026."""
    interval = share_interval(59, 59)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 59))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=20))
def test_a_rule_that_draws_all_agrees_always_and_saves_nothing(tokens: list[int]) -> None:
    report = measured([replace(ALL, tokens=float(t), drawn_tokens=t) for t in tokens], num_resamples=50)
    whole = report.everything
    assert whole.agreement is not None
    assert (whole.agreement.value, report.most_changed, whole.path_ratio.value) == (1.0, 0.0, 1.0)
    assert whole.saved.value == whole.saved.low == whole.saved.high == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(LOG), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_figure(log: list[ShadowRecord], rng: random.Random) -> None:
    shuffled = log[:]
    rng.shuffle(shuffled)
    one, other = measured(log, 20), measured(shuffled, 20)
    assert (one.cut, one.greedy, list(one.by_rounds)) == (other.cut, other.greedy, list(other.by_rounds))
    for name in ("saved", "samples", "rounds", "path_ratio"):
        first, second = getattr(one.everything, name), getattr(other.everything, name)
        assert first.value == pytest.approx(second.value)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(LOG), min_size=1, max_size=20))
def test_groups_make_up_the_whole(log: list[ShadowRecord]) -> None:
    report = measured(log, 20)
    for groups in (report.by_rounds, report.by_samples):
        assert sum(g.requests for g in groups.values()) == len(log) - (groups is report.by_samples) * report.greedy
    saved = sum(g.saved.value * g.requests for g in report.by_rounds.values())  # all have drawn the same 80 tokens
    assert saved / len(log) == pytest.approx(report.everything.saved.value)


def test_a_log_of_greedy_answers_alone_says_that_it_knows_nothing() -> None:
    report = measured([GREEDY] * 3)
    assert report.everything.agreement is None
    assert report.most_changed == 1.0
    assert "unknown" in str(summary_table(report).rows)
    assert any("temperature 0" in note for note in notes(report))
    assert rounds_table(report).rows[0][0] == "greedy answer"
    assert samples_table(report).rows == ()


def test_no_tokens_save_nothing() -> None:
    assert measured([replace(ALL, tokens=0.0, drawn_tokens=0, path=0.0, drawn_path=0)]).everything.saved.value == 0.0


def test_what_a_reader_must_know_is_said() -> None:
    said = " ".join(notes(measured([replace(TWO, fell_back=True, was_cut=True)])))
    assert "T2 would have drawn more samples than there were" in said
    assert "the activations could not be had" in said
    assert "temperature 0" not in said


def log_of(path: Path, records: list[ShadowRecord]) -> Path:
    log = ShadowLog(path)
    for record in records:
        assert log.write(record)
    return log.path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of(tmp_path / "shadow.jsonl", LOG)
    main(["shadow-report", str(log), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "53.1" in said
    assert "66.7" in said
    assert "greedy answer" in said
    values = json.loads((tmp_path / "out" / "shadow.json").read_text(encoding="utf-8"))
    assert values["format"] == "t2-shadow-report"
    assert values["everything"]["saved"]["value"] == pytest.approx(1 - 150 / 320)
    assert (tmp_path / "out" / "shadow.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Shadow mode" in page
    assert "data:image/png" in page
    before = (tmp_path / "out" / "shadow.json").read_bytes(), (tmp_path / "out" / "shadow.png").read_bytes()
    main(["shadow-report", str(log), "--out", str(tmp_path / "out")])
    assert before == ((tmp_path / "out" / "shadow.json").read_bytes(), (tmp_path / "out" / "shadow.png").read_bytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Expected a file of requests in shadow mode"),
        ("", "Expected at least one request in the log of shadow mode, got none"),
        ("no JSON\n", "Expected a JSON object"),
        ('{"format": "t2-shadow"}\n', "Expected a value as `format_version`"),
    ],
)
def test_bad_logs_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    log = tmp_path / "shadow.jsonl"
    if content is not None:
        log.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["shadow-report", str(log), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_request_is_refused() -> None:
    with pytest.raises(T2Error, match="at least one request"):
        measured([])


def test_prompts_that_are_not_the_heads_are_counted() -> None:
    report = measured([replace(ALL, prompt="as sent"), replace(ALL, prompt="other"), replace(TWO, prompt="other"), TWO])
    assert (report.other_prompts, report.unknown_prompts) == (2, 1)
    assert report.as_json()["other_prompts"] == 2
    rows = {row[0]: row[1] for row in summary_table(report).rows}
    assert rows["requests with another prompt than the head's"] == "2"
    said = " ".join(notes(report))
    assert "In 2 of 4 requests the prompt was another one" in said
    assert "Of 1 requests the log does not say" in said


def test_a_log_that_says_nothing_of_prompts_gets_no_figure_of_them() -> None:
    report = measured(LOG)
    assert "another prompt" not in str(summary_table(report).rows) + " ".join(notes(report)[:-1])
    assert (report.other_prompts, report.unknown_prompts) == (0, 4)
