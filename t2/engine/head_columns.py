"""How what a head says travels through an engine: as logits of columns beyond the vocabulary. Pure.

An engine that carries a head gives logits of width V + O + 1: the vocabulary, the head's O raw outputs, and a constant.
Log probabilities are logits less a common normaliser, so the raw outputs are the differences to the constant's. All
extra columns lie so far below the vocabulary's that their probabilities are exactly 0 in float32: what is sampled, and
every log probability of a token, stay as they are without a head (up to temperature 7).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from t2.activations.cache import as_stored
from t2.errors import T2Error
from t2.heads.base import Head

REFERENCE = -1000.0
"""Logit of the constant column. Near 1000 a float32 is exact to 6e-5, which is what raw outputs are read to."""
LOWEST, HIGHEST = -900.0, 200.0
"""Raw outputs are held between these: a larger one would come near the vocabulary, and NaN would spoil a whole row."""


class HeadColumns:
    """The head inside an engine. Called for every row that a token is sampled from; only a probe reads its columns."""

    def __init__(self, head: Head, vocab_size: int) -> None:
        """Hold the head, which must be on the device of the logits."""
        self.head, self.vocab_size = head.eval().requires_grad_(False), vocab_size
        self._raw = head.folded()
        self.record: list[Tensor] | None = None
        """features that the head has read, step by step, where somebody wants to compare them; None: nobody does"""

    def __call__(self, logits_BV: Tensor, tapped_BF: Tensor) -> Tensor:
        """Logits with the head's columns behind them, float32.

        Args:
            logits_BV: of the vocabulary.
            tapped_BF: hidden states of the tapped layers side by side, F = layers x width.
        """
        shape, tokens = self.head.shape, self.vocab_size
        # Rounded as a pool's features are: the head sees in serving what it has seen in training.
        pooled_BLD = as_stored(tapped_BF.reshape(-1, shape.num_layers, shape.width))
        if self.record is not None:
            self.record.append(pooled_BLD.cpu())
        raw_BO = self._raw(pooled_BLD)
        wide_BV = logits_BV.new_empty(len(logits_BV), tokens + raw_BO.shape[1] + 1, dtype=torch.float32)
        wide_BV[:, :tokens].copy_(logits_BV)
        wide_BV[:, tokens:-1] = raw_BO.nan_to_num(nan=HIGHEST).clamp_(LOWEST, HIGHEST).add_(REFERENCE)
        wide_BV[:, -1] = REFERENCE
        return wide_BV


def column_ids(vocab_size: int, num_outputs: int) -> tuple[int, ...]:
    """Token ids of the head's columns, the constant's last."""
    return tuple(range(vocab_size, vocab_size + num_outputs + 1))


def raw_outputs(logprobs: Sequence[float]) -> Tensor:
    """The head's raw outputs, (O,), from the log probabilities of its columns.

    Raises:
        T2Error: they are no numbers, or were none inside the engine: the features were not finite, or too large.
    """
    columns = torch.tensor(logprobs, dtype=torch.float64)
    raw_O = columns[:-1] - columns[-1]
    # What was held at a bound has lost its value. The bounds are read back as inexactly as all else.
    if not bool(((raw_O > LOWEST + 0.5) & (raw_O < HIGHEST - 0.5)).all()):
        raise T2Error(
            f"Expected raw outputs of the head between {LOWEST:.0f} and {HIGHEST:.0f} from the engine, got "
            f"{float(raw_O.min())} to {float(raw_O.max())}: its features of this prompt were not finite, or the export "
            "is not of this LLM. Ask without the head."
        )
    return raw_O.float()
