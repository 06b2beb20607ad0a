"""Checkpoints of train.py: what T2 keeps in them besides what Lightning does, and how they become exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from t2.activations.learned import Learned
from t2.errors import T2Error
from t2.export import load_exactly, save_head
from t2.head_record import HeadRecord
from t2.heads.base import Head
from t2.heads.training_votes import TrainingVotes
from t2.store.files import write_atomically

CHECKPOINT_KEY = "t2"
"""Where a Lightning checkpoint holds what export needs, as primitives."""
LEARNED_KEY = "t2_learned"
"""Where it holds the weights of an adapter or of attention pooling, by the names of `Learned.tensors`."""
_STATE_PREFIX = "head."
_VOTES_KEY = "t2_votes"
"""Where it holds the train questions' votes."""


def export_checkpoint(checkpoint: str | Path, folder: str | Path) -> Path:
    """Turn a Lightning checkpoint into an exported head; needs neither Lightning nor the LLM.

    Raises:
        T2Error: no such file, not a checkpoint of T2, or tensors that are missing or unexpected.
    """
    content = Checkpoint.read(checkpoint)
    return save_head(content.head(), content.record, folder, content.votes, content.learned)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of train.py, on the CPU."""

    path: Path
    content: dict[str, Any]
    """as Lightning wrote it"""
    record: HeadRecord

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read it whole, without pickle's dangers.

        Raises:
            T2Error: no such file, not a checkpoint of T2, or a damaged record.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise T2Error(f"Expected a checkpoint, got no file {path}.") from error
        except Exception as error:  # torch raises many kinds for a file that is no checkpoint
            raise T2Error(
                f"Expected a checkpoint of primitives and tensors, got {path} ({type(error).__name__})."
            ) from error
        if not isinstance(content, dict) or CHECKPOINT_KEY not in content:
            raise T2Error(f"Expected a checkpoint of train.py with the key {CHECKPOINT_KEY!r}, got {path} without it.")
        return cls(Path(path), content, HeadRecord.from_json(content[CHECKPOINT_KEY], str(path)))

    def head(self) -> Head:
        """The trained head, in eval mode.

        Raises:
            T2Error: a head that is unknown, or tensors that are missing or unexpected.
        """
        head, state = self.record.untrained_head(), self.content["state_dict"]
        own = {k.removeprefix(_STATE_PREFIX): v for k, v in state.items() if k.startswith(_STATE_PREFIX)}
        load_exactly(head, own, str(self.path))
        return head.eval()

    @property
    def votes(self) -> TrainingVotes | None:
        """Of the train questions, for plans without a head; None: the checkpoint is older than decisions."""
        tensors = self.content.get(_VOTES_KEY)
        return None if tensors is None else TrainingVotes.from_tensors(tensors, str(self.path))

    @property
    def learned(self) -> Learned:
        """What was trained besides the head."""
        lora = self.record.features.lora if self.record.features else None
        return Learned.from_tensors(self.content.get(LEARNED_KEY, {}), lora)

    def rewrite(self, record: HeadRecord, votes: TrainingVotes | None = None) -> None:
        """Write the file anew with another record, whole or not at all; votes that it has stay if there are no new."""
        content = {**self.content, CHECKPOINT_KEY: record.as_json()}
        if votes is not None:
            content[_VOTES_KEY] = votes.tensors()
        write_atomically(self.path, lambda scratch: torch.save(content, scratch))
