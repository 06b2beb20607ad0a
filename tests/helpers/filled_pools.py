"""Pools that are filled with scripted answers to small arithmetic, fast or slowly. Light: labellers import it."""

import time
from pathlib import Path

from helpers.scripted import TINY_ARITH, CountedSampler

from t2.sampling import ScriptedSampler
from t2.spec import GREEDY_DRAW, LabelJob
from t2.splits import SplitFractions
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

FRACTIONS = SplitFractions()
NUM_QUESTIONS = 6


def scripts(task, right=0.6, unparsed=0.0):
    """Each question: right with `right`, no answer with `unparsed`, else one wrong answer."""
    wrong = 1 - right - unparsed
    return {q.id: {f"#{q.answer}": right, f"#{int(q.answer) + 1}": wrong, "": unparsed} for q in task.questions()}


def job_of(path, samples=4, task=None, sampler=None, **rest):
    task = task or ArithTask(NUM_QUESTIONS)
    sampler = sampler or ScriptedSampler(scripts(task), samples_per_request=2)
    return LabelJob(str(path), TINY_ARITH, task, sampler, samples_per_question=samples, **rest)


def slow_job(path):
    """Takes 50 seconds or more; what is drawn is written down in `taken`, beside the pool."""
    task, taken = ArithTask(200), path.with_name("taken")
    sampler = CountedSampler(scripts(task), taken=taken, seconds_per_request=0.05, samples_per_request=2)
    return job_of(path, 8, task, sampler)


def num_taken(pool):
    taken = pool.with_name("taken")
    return taken.read_text().count("x") if taken.exists() else 0


def rows_of(path):
    reader = ShardReader(PoolPaths(Path(path)))
    reader.refresh()
    return [row for table in reader.tables.values() for row in table.to_pylist()]


def assert_complete(path, num_questions, samples):
    """Every draw is there, once."""
    keys = sorted((row["question_id"], row["draw"]) for row in rows_of(path))
    ids = [q.id for q in ArithTask(num_questions).questions()]
    assert keys == sorted((i, draw) for i in ids for draw in range(GREEDY_DRAW, samples))


def wait_for(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
