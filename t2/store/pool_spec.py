"""The identity of a pool: samples of another model, prompt or sampling setting are refused, the difference named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from t2.errors import T2Error
from t2.store.files import write_text_atomically
from t2.store.schema import (
    IMPORTED_FORMAT_VERSION,
    NFKC_FORMAT_VERSION,
    POOL_FORMAT,
    POOL_FORMAT_VERSION,
    PoolPaths,
)

_DESCRIPTIVE = {"model": {"id", "revision", "num_layers", "width", "quantization"}, "prompt": {"template"}}
"""Keys that are recorded for people but not compared: the fingerprints beside them are."""
_ENDS = "end_token_ids"
"""Tokens that end an answer, in `sampling`. Older pools do not say: there the samples are asked, see
`t2.pools.end_tokens`."""


@dataclass(frozen=True)
class PoolSpec:
    """What every sample of a pool has in common."""

    model: dict[str, Any]
    """`ModelFiles.as_json()`: id, revision, fingerprint, num_layers, width; quantization where there is one"""
    prompt: dict[str, Any]
    """`PromptRenderer.recorded`: template, system, shots, fingerprint; arguments and date if the template has some"""
    sampling: dict[str, Any]
    """`Sampler.recorded()`: settings, and the tokens that end an answer"""
    source: dict[str, Any] | None = None
    """imported pools alone: file, sha256, and what the import made of it; see docs/FORMATS.md"""
    default_grader: str | None = None
    """name of the grader that counts if none is asked for; None: the given grades of an imported
    pool; a labelled one does not know"""
    cost_unit: str = "tokens"
    """"samples": nobody knows the tokens, so every sample counts 1"""
    classes_by_nfkc: bool = False
    """imported pools of format version 2 alone: their given classes were compared by NFKC and lower case"""

    @property
    def imported(self) -> bool:
        """Whether the samples came from a file; no labeller ever adds to them."""
        return self.source is not None

    def as_json(self) -> dict[str, Any]:
        """The content of pool.json."""
        imported = NFKC_FORMAT_VERSION if self.classes_by_nfkc else IMPORTED_FORMAT_VERSION
        version = imported if self.imported else POOL_FORMAT_VERSION
        keys = ("model", "prompt", "sampling") + (("source", "default_grader", "cost_unit") if self.imported else ())
        return {"format": POOL_FORMAT, "format_version": version} | {key: getattr(self, key) for key in keys}

    def difference(self, other: PoolSpec) -> list[str]:
        """What keeps `other` out of this pool, as "sampling.temperature: 1.0 here, 0.7 there"; empty if it fits."""
        differences = []
        for part in ("model", "prompt", "sampling"):
            mine, theirs = getattr(self, part), getattr(other, part)
            for key in sorted((mine.keys() | theirs.keys()) - _DESCRIPTIVE.get(part, set())):
                here, asked = mine.get(key), theirs.get(key)
                if here != asked and not (key == _ENDS and here is None):
                    differences.append(f"{part}.{key}: {_short(here)} in the pool, {_short(asked)} asked")
        return differences


def read_spec(paths: PoolPaths) -> PoolSpec:
    """The spec of an existing pool.

    Raises:
        T2Error: no pool there, or one of another format.
    """
    try:
        raw = json.loads(paths.spec.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise T2Error(f"Expected a pool, got no {paths.spec}. Make one: t2 label --config FILE") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise T2Error(f"Expected JSON in {paths.spec}, got {error}. Restore the file.") from error
    if not isinstance(raw, dict):
        raise T2Error(f"Expected a JSON object in {paths.spec}, got {_short(raw)}. Restore the file.")
    version = (raw.get("format"), raw.get("format_version"))
    readable = IMPORTED_FORMAT_VERSION if "source" in raw else POOL_FORMAT_VERSION
    by_nfkc = "source" in raw and version == (POOL_FORMAT, NFKC_FORMAT_VERSION)
    if version != (POOL_FORMAT, readable) and not by_nfkc:
        raise T2Error(
            f"Expected {POOL_FORMAT} version {readable}, got {version} in {paths.spec}. "
            "Use the version of T2 that wrote it."
        )
    if missing := {"model", "prompt", "sampling"} - raw.keys():
        raise T2Error(f"Expected {sorted(missing)} in {paths.spec}, got an object without. Restore the file.")
    further = {key: raw[key] for key in ("source", "default_grader", "cost_unit") if key in raw}
    return PoolSpec(raw["model"], raw["prompt"], raw["sampling"], classes_by_nfkc=by_nfkc, **further)


def check_or_create_spec(paths: PoolPaths, spec: PoolSpec) -> None:
    """Write the spec of a new pool, or make sure that an old one is the same.

    Raises:
        T2Error: the pool belongs to another model, prompt or sampling setting.
    """
    if not paths.spec.exists():
        write_text_atomically(paths.spec, json.dumps(spec.as_json(), indent=2, ensure_ascii=False) + "\n")
    elif difference := read_spec(paths).difference(spec):
        empty = not any(paths.manifests.glob("*.jsonl"))
        ends = " generation_config.json and the tokenizer say what ends an answer: restore the model's files."
        raise T2Error(
            f"Expected the settings of pool {paths.root}, got a difference in {'; '.join(difference)}."
            + (ends if any(_ENDS in each for each in difference) else "")
            + (" It has no samples yet: delete the folder" if empty else " Change the config back")
            + " or choose another `data.pool.path`."
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
