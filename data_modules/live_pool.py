"""A pool that may still be filling: which questions are labelled, and waiting for more beside a labeller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.pools.grader import PoolGrader
from t2.pools.labeller import LabellerProcess
from t2.pools.prepare import Prepared
from t2.progress import Counts, progress
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.lock import Heartbeat, is_held, read_heartbeat
from t2.store.reader import ShardReader

POLL_SECONDS = 1.0


class FillingPool:
    """Graded samples of a job's questions, named by row; starts or joins a labeller where samples are missing."""

    def __init__(
        self, job: LabelJob, prepared: Prepared, fractions: SplitFractions, stall_timeout_seconds: float
    ) -> None:
        """Read what is there; no labeller is started yet."""
        self.job, self.prepared, self.fractions = job, prepared, fractions
        self.stall_timeout_seconds = stall_timeout_seconds
        self._grader = PoolGrader(ShardReader(prepared.paths), job.task.grader)
        self._grader.refresh()
        self._labeller: LabellerProcess | None = None
        self._threads: int | None = None
        """threads of this process before it shared the CPU with a labeller"""

    def complete(self) -> list[int]:
        """Rows of all questions that are labelled, ascending."""
        complete = self._complete_ids()
        return [row for row, question in enumerate(self.prepared.questions) if question.id in complete]

    def all_labelled(self, rows: Sequence[int]) -> bool:
        """Whether these questions are, after a look at what has come."""
        self._grader.refresh()
        return self._missing(rows) == 0

    def graded(self, rows: Sequence[int]) -> GradedPool:
        """Samples of these questions, which must be labelled."""
        questions = [self.prepared.questions[row] for row in rows]
        tokens = [self.prepared.prompt_tokens[row] for row in rows]
        return self._grader.pool(questions, tokens, self.job.samples_per_question)

    def start_labeller_if_needed(self) -> None:
        """Start one if a sample is missing anywhere and none is at work."""
        everything = range(len(self.prepared.questions))
        if self._labeller is None and self._missing(everything) and not is_held(self.prepared.paths):
            log_path = self.prepared.paths.root / "label.log"
            self._labeller = LabellerProcess(self.job, self.fractions, log_path)
            print(f"Missing samples are drawn beside this run; what their engine says is in {log_path}", flush=True)
        self.share_cores()

    def wait_for(self, rows: Sequence[int], in_training: bool = False) -> None:
        """Return when these questions are labelled; starts a labeller if none runs.

        Args:
            rows: of the questions.
            in_training: something else shows how far everything is.

        Raises:
            T2Error: the labeller died, or no sample came for too long.
        """
        if self.all_labelled(rows):
            return
        with nullcontext() if in_training else progress("labelling", unit="samples") as advance:
            self._wait_for(rows, advance)

    def _wait_for(self, rows: Sequence[int], advance: Counts | None) -> None:
        last_change, last_shards = time.monotonic(), -1
        while True:
            self._grader.refresh()
            missing = self._missing(rows)
            if missing == 0:
                return
            if len(self._grader.reader.tables) != last_shards:
                last_change, last_shards = time.monotonic(), len(self._grader.reader.tables)
            self._look_after_labeller()
            if advance and (sign := self._drawing()):
                waited = f"{len(rows) - missing:,} of the {len(rows):,} questions that are waited for"
                advance(sign.samples_done, sign.samples_total, waited)
            if time.monotonic() - last_change > self.stall_timeout_seconds:
                raise T2Error(
                    f"Expected new samples within `data.stall_timeout_seconds` = {self.stall_timeout_seconds:g}, got "
                    f"none; {missing} of {len(rows)} questions are missing. See {self.prepared.paths.root}/label.log."
                )
            time.sleep(POLL_SECONDS)

    @property
    def drawn(self) -> str:
        """What the labeller has drawn so far, in words; empty if none is at work."""
        sign = self._drawing()
        return f"labelling {sign.samples_done:,} of {sign.samples_total:,} samples" if sign else ""

    @property
    def kept(self) -> str:
        """What an interruption leaves, in words."""
        self._grader.refresh()
        num_samples = sum(table.num_rows for table in self._grader.reader.tables.values())
        return f"{num_samples:,} samples are kept in {self.prepared.paths.root}"

    def _drawing(self) -> Heartbeat | None:
        sign = read_heartbeat(self.prepared.paths)
        # A labeller that was killed leaves its last heartbeat behind, with counts of a run that is over.
        return sign if sign and sign.writer and is_held(self.prepared.paths) else None

    def share_cores(self) -> None:
        """Train on one thread while a labeller of this run has the CPU; on all again when it has ended.

        Its engine keeps a thread on every core. Small products on several threads then wait for each other at each
        step, and hold up the engine: `make quickstart` took five times as long.
        """
        alive = self._labeller is not None and self._labeller.process.is_alive()
        beside = alive and not torch.cuda.is_available()  # with a GPU, the engine runs there
        if beside and self._threads is None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)
        elif not beside and self._threads is not None:
            torch.set_num_threads(self._threads)
            self._threads = None

    def close(self) -> None:
        if self._labeller is not None:
            self._labeller.stop()
            self._labeller = None
        self.share_cores()

    def _look_after_labeller(self) -> None:
        if self._labeller is None:
            self.start_labeller_if_needed()
        elif self._labeller.lost_to_another(self.prepared.paths):
            self._labeller = None  # two runs started at once; the other's labeller serves both
        else:
            self._labeller.check()

    def _complete_ids(self) -> set[str]:
        imported = self.prepared.spec.imported  # complete from the start, often without greedy answers
        return self._grader.complete_ids(self.job.samples_per_question, with_greedy=not imported)

    def _missing(self, rows: Sequence[int]) -> int:
        complete = self._complete_ids()
        return sum(self.prepared.questions[row].id not in complete for row in rows)
