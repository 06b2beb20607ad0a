"""What goes into the artifacts of a pool, a head and a report: files and metadata, without any tracker."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from t2.export import EXPORT_FILES
from t2.hashing import digest
from t2.head_record import HeadRecord
from t2.policies.record import in_words
from t2.store.pool_spec import read_spec
from t2.store.reader import manifest_entries
from t2.store.schema import PoolPaths

Kind = Literal["pool", "head", "report"]
_MOST_LETTERS = 100


@dataclass(frozen=True)
class Contents:
    """An artifact as yet without a tracker."""

    kind: Kind
    name: str
    """letters, digits, dashes, dots and underscores"""
    metadata: dict[str, object]
    files: dict[str, Path]
    """name in the artifact -> where the file lies"""
    texts: dict[str, str] = field(default_factory=dict)
    """name in the artifact -> content of a file that lies nowhere"""
    aliases: tuple[str, ...] = ("latest",)


def pool_contents(pool: Path, with_samples: bool = False) -> Contents:
    """A pool as an artifact: what it is and which shards it has, and their samples and questions only if asked for.

    Raises:
        T2Error: no pool there, or a damaged one.
    """
    paths = PoolPaths(pool)
    spec, entries = read_spec(paths), manifest_entries(paths)
    files = {f"manifests/{path.name}": path for path in sorted(paths.manifests.glob("*.jsonl"))}
    if with_samples:
        files |= {f"shards/{entry['shard']}": paths.shards / entry["shard"] for entry in entries}
        files["questions.parquet"] = paths.questions
    metadata: dict[str, object] = {
        "spec_digest": digest(spec.as_json()),
        "model": spec.model,
        "prompt_fingerprint": spec.prompt.get("fingerprint"),
        "sampling": spec.sampling,
        "cost_unit": spec.cost_unit,
        "imported_from": {key: spec.source.get(key) for key in ("file", "sha256")} if spec.source else None,
        "questions": pq.read_metadata(paths.questions).num_rows,
        "samples": sum(int(entry.get("rows", 0)) for entry in entries),
        "shards": len(entries),
        "has_samples": with_samples,
    }
    return Contents("pool", artifact_name("pool", pool), metadata, {"pool.json": paths.spec, **files})


def head_contents(folder: Path, record: HeadRecord, pool: Contents, worth: Mapping[str, object]) -> Contents:
    """An exported head as an artifact.

    Args:
        folder: of the export.
        record: of the head.
        pool: whose samples it learned from.
        worth: what it saves and loses against N_ref, and on which questions.
    """
    features, calibration = record.features, record.calibration
    metadata: dict[str, object] = {
        "pool": pool.name,
        "spec_digest": pool.metadata["spec_digest"],
        "base_model": record.base_model.as_json(),
        "layers": list(features.layers) if features else None,
        "pooling": features.pooling if features else None,
        "adapter_rank": features.lora.rank if features and features.lora else None,
        "grid": list(record.shape.grid),
        "head": record.head,
        "policy": in_words(record.policy.policy()) if record.policy else None,
        "decision": _decision(record),
        "calibration": {"status": calibration.status, "promise": calibration.promise} if calibration else None,
        **worth,
    }
    promised = calibration is not None and calibration.status == "calibrated"
    aliases = ("latest", "calibrated") if promised else ("latest",)
    files = {name: folder / name for name in EXPORT_FILES if (folder / name).is_file()}
    return Contents("head", artifact_name("head", folder), metadata, files, aliases=aliases)


def report_contents(
    name: str | Path,
    files: Iterable[Path],
    pool: Contents,
    worth: Mapping[str, object],
    texts: Mapping[str, str] | None = None,
) -> Contents:
    """A report as an artifact: its files by their names.

    Args:
        name: of what it is about, or its folder.
        files: pages, tables, pictures; those that are not there are left out.
        pool: that it is of.
        worth: figures by which reports are compared.
        texts: further files.
    """
    metadata = {"pool": pool.name, "spec_digest": pool.metadata["spec_digest"], **worth}
    found = {path.name: path for path in files if path.is_file()}
    return Contents("report", artifact_name("report", name), metadata, found, dict(texts or {}))


def artifact_name(kind: Kind, of: str | Path) -> str:
    """As "head-my-model" of heads/my-model: the last part of a path, in letters that trackers take."""
    last = Path(of).resolve().name if isinstance(of, Path) else of
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', last)}"[:_MOST_LETTERS]


def _decision(record: HeadRecord) -> dict[str, object] | None:
    decision = record.decision
    if decision is None:
        return None
    names = ("basis", "why", "allowance", "max_rounds", "n_ref", "num_questions", "warning")
    return {name: getattr(decision, name) for name in names}
