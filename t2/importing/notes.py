"""What a reader of numbers must know of an import: sentences from the `source` entry of pool.json. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from t2.errors import quoted

_REASONS_SHOWN = 5
"""Finish reasons that a note names: a file may give each sample another one."""


def source_notes(source: dict[str, Any], cost_unit: str, regraded: bool = False) -> Iterator[str]:
    """The sentences; if a grader has read the samples (`regraded`), what the file says of them does not count."""
    if cost_unit == "samples":
        yield "Cost is in samples, not tokens: the imported file gives no token counts and no tokenizer was named."
    if counted := source.get("tokens_counted"):
        yield f"Tokens of {counted} samples were counted from their text with the tokenizer {source['tokenizer']}."
    if unfinished := source.get("unfinished"):
        often = sorted(unfinished.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{quoted(reason, 40)} {count}" for reason, count in often[:_REASONS_SHOWN])
        more = f" and {len(often) - _REASONS_SHOWN} other reasons" if len(often) > _REASONS_SHOWN else ""
        abstaining = sum(unfinished.values())
        yield f"{abstaining} samples abstain because they did not finish: finish_reason {reasons}{more}."
        if abstaining >= source["samples"]:
            yield (
                "NOTHING HAS FINISHED, so nothing votes: this pool says nothing of any rule. If these are names for "
                'finished answers, write "stop" in their place and import the file again.'
            )
    if (bare := source.get("classes_from_text")) and not regraded:
        yield (
            f"{bare} samples vote for their whole text, since the file names no `answer` and no grader was chosen: "
            "equal answers in other words count as different."
        )
