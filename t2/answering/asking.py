"""How an export wants its LLM to be asked: grader, sampling, end tokens. Nobody has to get them right by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from t2.budget_head import BudgetHead
from t2.errors import T2Error, quoted
from t2.grading.given import GRADERS, grader_named
from t2.grading.record import grader_of_version
from t2.head_record import HeadRecord
from t2.model_files import ModelFiles
from t2.sampling.end_tokens import end_token_ids
from t2.spec import Grader, SamplingSettings

PromptForm = Literal["completed", "as sent", "other"]
"""How a request's prompt stands to the head's. T2 has put the head's system line and worked examples in front; the
request has them itself; or the prompt is another one than the head was trained with, as far as can be seen, so that
budgets and confidence promise nothing."""


@dataclass(frozen=True)
class Asking:
    """As the samples were drawn that the head learned from."""

    grader: Grader
    settings: SamplingSettings
    end_token_ids: tuple[int, ...] | None
    """tokens that end an answer; None: the export is older than their record"""
    dtype: str
    """of weights and activations in the engine"""
    max_model_len: int | None
    """tokens of prompt and answer; None: as far as the LLM goes"""

    @staticmethod
    def of(head: BudgetHead, grader: str | Grader | None = None) -> Asking:
        """From an export; `grader` replaces its own.

        Raises:
            T2Error: the export does not say how samples were drawn or answers are read.
        """
        record = head.record
        if record.sampling is None:
            raise T2Error(
                "Expected an export that records how its samples were drawn, got one without. It was trained without "
                "a pool: train it on one, and export it again."
            )
        known = dict(record.sampling)
        ends = known.pop("end_token_ids", None)
        stop = known.pop("stop", None) or ()
        try:
            settings = SamplingSettings(**known, stop=tuple(stop))  # type: ignore[arg-type]  # checked right below
        except TypeError as error:
            raise T2Error(f"Expected sampling settings in the export, got {record.sampling}: {error}.") from error
        answering = record.answering
        return Asking(
            grader=grader_of(record, grader),
            settings=settings,
            end_token_ids=None if ends is None else tuple(ends),  # type: ignore[arg-type]  # of JSON
            dtype=(answering and answering.dtype) or "auto",
            max_model_len=answering.max_model_len if answering else None,
        )

    def check_ends(self, folder: Path) -> None:
        """Make sure that the LLM ends its answers where the samples ended.

        Raises:
            T2Error: it has other end tokens, so that its answers would be other ones.
        """
        if self.end_token_ids is None:
            return
        if (own := end_token_ids(folder)) != self.end_token_ids:
            raise T2Error(
                f"Expected an LLM whose answers end at the tokens {list(self.end_token_ids)}, as the head's samples "
                f"did, got {list(own)} in {folder.name}. Restore its generation_config.json."
            )


def grader_of(record: HeadRecord, grader: str | Grader | None = None) -> Grader:
    """What reads the answers: the given one, or its name, or the export's own.

    Raises:
        T2Error: an unknown name, or none is given and the export's is not one of T2's.
    """
    if isinstance(grader, Grader):
        return grader
    if grader is not None:
        return grader_named(grader)
    answering, version = record.answering, record.labels.grader
    if answering is not None and answering.grader is not None:
        return answering.grader.grader()
    if (own := grader_of_version(version)) is not None:
        return own
    raise T2Error(
        f"Expected a grader, got none: the head's answers were read by {quoted(str(version))}, which is none of T2's "
        f"own. Name one of {sorted(GRADERS)}, or your own as my_graders.MyGrader."
    )


def check_base_model(head: BudgetHead, files: ModelFiles) -> None:
    """Make sure that answers come from the LLM whose samples the head learned from.

    Raises:
        T2Error: it is another one.
    """
    base = head.record.base_model
    if base.fingerprint is not None and files.fingerprint != base.fingerprint:
        raise T2Error(
            f"Expected the LLM {base.id} ({base.fingerprint[:12]}...), whose samples the head learned from, got "
            f"another ({files.fingerprint[:12]}...) in {files.folder}. Its budgets mean nothing for other LLMs."
        )
