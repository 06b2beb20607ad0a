"""What `t2 serve` tells T2's part of vLLM's server: through the environment, since vLLM's own arguments are vLLM's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from t2.api.settings import AnswerSettings
from t2.errors import T2Error
from t2.json_record import JsonRecord

VARIABLE = "T2_SERVER"
PROBE_SECONDS = 30.0
"""Longest time of a probe, unless told. A full engine makes it wait as it makes everybody wait."""


@dataclass(frozen=True)
class ServerSettings(AnswerSettings, JsonRecord):
    """Of one server."""

    head: str
    """folder of the export, absolute"""
    head_name: str
    """as clients may see it: never a path"""
    probe_seconds: float = PROBE_SECONDS
    """longest time of a probe"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.probe_seconds > 0:
            raise T2Error(f"Expected `--probe_timeout` above 0 seconds, got {self.probe_seconds:g}.")

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
