"""What `t2 serve` tells T2's part of vLLM's server: through the environment, since vLLM's own arguments are vLLM's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from t2.errors import T2Error
from t2.json_record import JsonRecord

VARIABLE = "T2_SERVER"
PROBE_SECONDS = 30.0
"""Longest time of a probe, unless told. A full engine makes it wait as it makes everybody wait."""


@dataclass(frozen=True)
class ServerSettings(JsonRecord):
    """Of one server."""

    head: str
    """folder of the export, absolute"""
    head_name: str
    """as clients may see it: never a path"""
    default: Literal["auto", "off"] = "off"
    """what a request gets that says nothing"""
    probe_seconds: float = PROBE_SECONDS
    """longest time of a probe"""
    fallback_samples: int | None = None
    """of a question whose probe fails; None: N_ref"""
    shadow: int | None = None
    """samples of every request, while T2 only says what it would have drawn; None: no shadow mode"""
    shadow_log: str | None = None
    """file of what it would have drawn"""
    shadow_text: bool = False
    """the log has prompts and answers too"""

    def __post_init__(self) -> None:
        if not self.probe_seconds > 0:
            raise T2Error(f"Expected `--probe_timeout` above 0 seconds, got {self.probe_seconds:g}.")
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
            raise T2Error("Expected `--shadow_text` beside `--shadow`, got it alone.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What `t2 serve` has said.

        Raises:
            T2Error: it was not `t2 serve` that has started this process.
        """
        try:
            said = json.loads(environment[VARIABLE])
        except (KeyError, ValueError) as error:
            raise T2Error(
                f"Expected the settings of `t2 serve` in the environment variable {VARIABLE}, got none. Start the "
                "server with: t2 serve MODEL --head FOLDER_OR_HUB_ID"
            ) from error
        return cls.from_json(said, f"the environment variable {VARIABLE}")

    def in_environment(self) -> dict[str, str]:
        """The variable that says it."""
        return {VARIABLE: json.dumps(self.as_json(), allow_nan=False)}
