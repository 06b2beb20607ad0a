"""A labelling process that is killed, asked to end, or left alone: what is finished stays, and nothing runs on."""

import multiprocessing
import os
import signal
import time
from functools import partial

import psutil
import pytest
from helpers.filled_pools import (
    FRACTIONS,
    NUM_QUESTIONS,
    assert_complete,
    job_of,
    num_taken,
    rows_of,
    scripts,
    slow_job,
    wait_for,
)
from helpers.scripted import DyingSampler

import t2.pools.fill
import t2.store.writer
from t2.errors import T2Error
from t2.pools.fill import fill
from t2.pools.labeller import LabellerProcess
from t2.sampling import ScriptedSampler
from t2.spec import PromptSpec
from t2.store.lock import is_held, read_heartbeat
from t2.store.schema import PoolPaths
from t2.store.writer import ShardWriter
from t2.tasks import ArithTask


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class ToldWriter(ShardWriter):
    """Flushes often, and writes down how many rows have been flushed."""

    def flush(self):
        rows = sum(len(result.samples) for result in self._results)
        super().flush()
        with self.paths.root.with_name("flushed").open("a") as file:
            file.write("x" * rows)


def _label_and_tell(path):
    """A slow labelling process that says what is drawn and what is flushed."""
    t2.pools.fill.ShardWriter = partial(ToldWriter, flush_seconds=0.2)  # type: ignore[misc, assignment]
    fill(slow_job(path), FRACTIONS)


def test_kill_9_loses_at_most_what_was_not_flushed(tmp_path):
    pool = tmp_path / "pool"
    process = multiprocessing.get_context("spawn").Process(target=_label_and_tell, args=(pool,))
    process.start()
    try:
        wait_for(lambda: (pool / "shards").is_dir() and len(list((pool / "shards").glob("*.parquet"))) >= 3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    stored = rows_of(pool)
    assert 0 < len((tmp_path / "flushed").read_text()) <= len(stored) <= num_taken(pool) + 2
    assert read_heartbeat(PoolPaths(pool)).pid == process.pid
    fast = ScriptedSampler(scripts(ArithTask(200)), samples_per_request=2)
    resumed = fill(job_of(pool, 8, ArithTask(200), fast), FRACTIONS)
    assert resumed.resumed == len(stored)
    assert_complete(pool, 200, 8)


@pytest.mark.parametrize("named", [False, True])
def test_an_end_in_the_middle_of_a_flush_neither_loses_nor_doubles(tmp_path, monkeypatch, named):
    """SIGTERM becomes SystemExit anywhere: before a shard is named, or after it is and its rows are still buffered."""
    add_shard, calls = t2.store.writer.add_shard, []

    def interrupted(*args):
        calls.append(args)
        if named or len(calls) != 2:
            add_shard(*args)
        if len(calls) == 2:
            raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr(t2.store.writer, "add_shard", interrupted)
    monkeypatch.setattr(t2.pools.fill, "ShardWriter", partial(ShardWriter, flush_seconds=0.0))
    seen = []
    with pytest.raises(SystemExit):
        fill(job_of(tmp_path / "pool"), FRACTIONS, seen.append)
    keys = [(row["question_id"], row["draw"]) for row in rows_of(tmp_path / "pool")]
    assert len(keys) == len(set(keys)) == 3  # the greedy answer, then a request of two samples
    monkeypatch.undo()
    assert fill(job_of(tmp_path / "pool"), FRACTIONS).resumed == 3
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 4)


def test_sigterm_flushes(tmp_path):
    pool = tmp_path / "pool"
    labeller = LabellerProcess(slow_job(pool), FRACTIONS, tmp_path / "label.log")
    wait_for(lambda: num_taken(pool) > 20)
    labeller.check()
    labeller.stop()
    assert labeller.process.exitcode == 128 + signal.SIGTERM
    assert num_taken(pool) <= len(rows_of(pool)) <= num_taken(pool) + 2
    assert not (pool / "heartbeat.json").exists()
    assert not is_held(PoolPaths(pool))
    labeller.stop()


def test_the_labeller_finishes(tmp_path):
    labeller = LabellerProcess(job_of(tmp_path / "pool"), FRACTIONS, tmp_path / "logs" / "label.log")
    labeller.process.join(240)
    labeller.check()
    assert "labelled 30 samples" in labeller.last_lines()
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 4)
    labeller.stop()


@pytest.mark.slow
def test_a_dead_labeller_shows_its_last_lines(tmp_path):
    sampler = DyingSampler(scripts(ArithTask(NUM_QUESTIONS)), samples_per_request=2, after=3)
    labeller = LabellerProcess(job_of(tmp_path / "pool", sampler=sampler), FRACTIONS, tmp_path / "label.log")
    labeller.process.join(240)
    with pytest.raises(T2Error, match=r"(?s)exit code 1.*the engine is out of memory"):
        labeller.check()
    labeller.stop()
    # A mistake of the user is one line, without a traceback.
    bad = job_of(tmp_path / "pool", prompt=PromptSpec(system="Be brief."))
    labeller = LabellerProcess(bad, FRACTIONS, tmp_path / "second.log")
    labeller.process.join(240)
    with pytest.raises(T2Error, match=r"(?s)exit code 2.*prompt\.system") as caught:
        labeller.check()
    assert "Traceback" not in str(caught.value)
    labeller.stop()


def _train(pool, log, pid_file):
    """Stands for a training run: starts a labeller and works on."""
    labeller = LabellerProcess(slow_job(pool), FRACTIONS, log)
    pid_file.write_text(str(labeller.process.pid))
    time.sleep(120)


@pytest.mark.slow
def test_the_labeller_ends_with_its_parent(tmp_path):
    pool, pid_file = tmp_path / "pool", tmp_path / "pid"
    parent = multiprocessing.get_context("spawn").Process(target=_train, args=(pool, tmp_path / "log", pid_file))
    parent.start()
    try:
        wait_for(lambda: num_taken(pool) > 20)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.join()
    wait_for(partial(is_gone, int(pid_file.read_text())), 60)
    assert num_taken(pool) <= len(rows_of(pool)) <= num_taken(pool) + 2
    assert not is_held(PoolPaths(pool))
