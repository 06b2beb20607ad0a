"""A config's `data.pool` subtree, read without Lightning: what `t2` and `train.py` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t2.errors import T2Error
from t2.spec import LabelJob
from t2.splits import SplitFractions


def read_job(config: str) -> tuple[LabelJob, SplitFractions]:
    """The `data.pool` and `data.splits` of a config that train.py reads too.

    Raises:
        T2Error: no such file, no YAML, no `data.pool`, or a key or value that does not fit.
    """
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser

    import t2.sampling
    import t2.tasks  # noqa: F401  # their classes must be imported to be named without a module path

    try:
        content: Any = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise T2Error(f"Expected a YAML config, got {config}: {' '.join(str(error).split())}") from error
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict) or "pool" not in data:
        raise T2Error(f"Expected the key `data.pool` in {config}, got none. See configs/ for examples.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(LabelJob, "pool")
    parser.add_class_arguments(SplitFractions, "splits")
    try:
        parsed = parser.parse_object({"pool": data["pool"], "splits": data.get("splits") or {}})
        built = parser.instantiate_classes(parsed)
    except ArgumentError as error:
        raise T2Error(f"Expected a valid `data.pool` in {config}, got: {' '.join(str(error).split())}") from error
    return built.pool, built.splits
