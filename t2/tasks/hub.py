"""`HubTask`: a data set of the hub, or one like it in local files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from t2.errors import T2Error
from t2.grading.given import GRADERS
from t2.hashing import unit_interval
from t2.spec import Grader, Question, Task
from t2.tasks.checked_rows import CheckedRows, RowRules, UnusableRows, checked_questions, dropped_notes
from t2.tasks.data_sets import DataSet, read_rows
from t2.tasks.fields import AnswerField, Extract, Fields, question_of
from t2.tasks.keys import Dedup


class HubTask(Task):
    """Reads Parquet, JSON, JSON Lines or CSV, from the hub or from here; nothing is read before it is asked."""

    def __init__(
        self,
        path: str,
        name: str | None = None,
        split: str = "test",
        question: str | list[str] = "question",
        answer: str = "answer",
        choices: str | list[str] | None = None,
        extract: Extract | None = None,
        id: str | None = None,
        family: str | None = None,
        size: str | None = None,
        limit: int | None = None,
        shuffle_seed: int | None = None,
        revision: str | None = None,
        grader: Grader | str = "numeric",
        dedup: Dedup = "exact",
        unusable_rows: UnusableRows = "refuse",
        streaming: bool = False,
    ) -> None:
        """Choose the data set, its columns, and how answers are graded.

        Args:
            path: hub id (NAMESPACE/NAME), or a file or folder of Parquet, JSON, JSON Lines or CSV. A file is one split.
            name: configuration of a data set that has several, as "main".
            split: of the data set, as "test".
            question: column of the question; several are joined by a blank.
            answer: column of the gold answer.
            choices: column with a list of choices, or several columns with a choice each. If the answer's column is one
                of several, the choices are put into an order of their own.
            extract: where the answer stands in its column; by default it is all of it.
            id: column of the ids; None: each is made from its question's text, so that rows may move.
            family: column of a kind of question, for reports.
            size: column of a difficulty, a whole number.
            limit: questions at most; fewer are the first of more.
            shuffle_seed: take questions in an order by hash, for a limit on a data set that is sorted; None: its own.
            revision: branch, tag or commit of the hub. It is resolved to a commit, which the pool records.
            grader: "numeric", "exact", "math", "choice", or a grader of your own.
            dedup: "exact": questions of the same text share a split; "numbers": of the same text but for its numbers.
            unusable_rows: "refuse": an error names rows without a question and its answer, and repeated ones; "drop":
                they are left out and counted.
            streaming: read rows as they are asked for, instead of the whole data set into the local cache.

        Raises:
            T2Error: a limit below 1, or fields that do not go together.
        """
        if limit is not None and limit < 1:
            raise T2Error(f"Expected `limit` of at least 1, got {limit}.")
        where = AnswerField(answer, **vars(extract)) if extract else AnswerField(answer)
        self.fields = Fields(id, question, where, choices, None, family, size)
        self.data = DataSet(path, name, split, revision, streaming)
        self.limit, self.shuffle_seed, self.dedup, self.unusable_rows = limit, shuffle_seed, dedup, unusable_rows
        self._grader = grader

    @cached_property
    def grader(self) -> Grader:
        """Grades this task's answers.

        Raises:
            T2Error: no grader of that name.
        """
        if isinstance(self._grader, Grader):
            return self._grader
        if self._grader not in GRADERS:
            raise T2Error(f"Expected a grader among {sorted(GRADERS)}, got {self._grader!r}. Mend `task.grader`.")
        return GRADERS[self._grader]()

    def questions(self) -> list[Question]:
        """The questions of the split, in its order or in that of `shuffle_seed`.

        Raises:
            T2Error: see `read_rows` and `checked_questions`.
        """
        return list(self._read[0].questions)

    def notes(self) -> list[str]:
        checked, commit = self._read
        source = f"{self.data} at commit {commit}" if commit else str(self.data)
        return [f"{len(checked.questions)} questions of {source}", *dropped_notes(checked.dropped)]

    def origin(self) -> dict[str, str] | None:
        """The data set and its commit; None for files, whose questions a pool compares one by one."""
        _, commit = self._read
        return {**self._address, "revision": commit} if commit else None

    def pin(self, origins: Sequence[Mapping[str, str]]) -> None:
        """Read the commit that the pool was filled from, whatever the hub has by now.

        Raises:
            T2Error: the config names another revision.
        """
        if self.data.is_local or (recorded := self._recorded(origins)) is None:
            return
        if self.data.revision is None:
            self.data = replace(self.data, revision=recorded)
            self.__dict__.pop("_read", None)  # of what the hub has now, if that has been read
        elif (mine := self._read[1]) != recorded:
            raise T2Error(
                f"Expected revision {recorded} of {self.data.path}, which this pool was filled from, got "
                f"{self.data.revision!r} ({mine}). Take `revision` out, or choose another `data.pool.path`."
            )

    @property
    def _address(self) -> dict[str, str]:
        named = {"path": self.data.path, "name": self.data.name, "split": self.data.split}
        return {key: value for key, value in named.items() if value}

    def _recorded(self, origins: Sequence[Mapping[str, str]]) -> str | None:
        """The commit of this data set among those that a pool has recorded."""
        mine = self._address
        return next(
            (each["revision"] for each in origins if {**each, "revision": ""} == {**mine, "revision": ""}), None
        )

    @cached_property
    def _read(self) -> tuple[CheckedRows, str | None]:
        """The questions, and the commit that they are of; None for files."""
        columns = [*self.fields.columns, *filter(None, [self.fields.family, self.fields.size])]
        source = read_rows(self.data, list(dict.fromkeys(columns)))
        shuffled = self.shuffle_seed is not None
        rules = RowRules(str(self.data), self.unusable_rows, limit=None if shuffled else self.limit)
        checked = checked_questions(
            source.rows, lambda row: question_of(row, self.fields, self.dedup), lambda: self.grader, rules
        )
        if shuffled:
            seed = str(self.shuffle_seed)
            ordered = sorted(checked.questions, key=lambda each: (unit_interval("t2-shuffle", seed, each.id), each.id))
            checked = CheckedRows(ordered[: self.limit], checked.dropped)
        return checked, source.commit
