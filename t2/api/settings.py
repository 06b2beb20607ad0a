"""What every server of T2 is told about answering, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from t2.api.requests import BudgetMode
from t2.errors import T2Error


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """Of one server, whoever draws its samples.

    Raises:
        T2Error: one makes no sense.
    """

    default: BudgetMode = "off"
    """`t2_budget` of requests that say nothing"""
    fallback_samples: int | None = None
    """of a question whose activations cannot be had; None: N_ref"""
    shadow: int | None = None
    """samples of requests that ask nothing of T2 and set no `n`, which T2 then watches; None: no shadow mode"""
    shadow_log: str | None = None
    """file of what T2 would have drawn"""
    shadow_text: bool = False
    """the log has prompts and answers too"""

    def __post_init__(self) -> None:
        for flag, samples in (("--fallback_samples", self.fallback_samples), ("--samples", self.shadow)):
            if samples is not None and samples < 1:
                raise T2Error(f"Expected `{flag}` as a number of samples from 1 on, got {samples}.")
        if (self.shadow is None) != (self.shadow_log is None):
            raise T2Error("Expected `--shadow` with a `--shadow_log`, got one of them. Add the other one.")
        if self.shadow is not None and self.default == "auto":
            raise T2Error(
                "Expected `--shadow` or `--default auto`, got both. Shadow mode changes no answer: leave one out."
            )
        if self.shadow_text and self.shadow is None:
            raise T2Error("Expected `--shadow_text` beside `--shadow`, got it alone. Add `--shadow`, or leave it out.")
