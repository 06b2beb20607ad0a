"""The import rules of the design: stages import only earlier ones, Lightning and vLLM stay in their places."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    {"errors", "hashing", "hardware", "voting"},
    {"spec"},
    {"splits", "model_files"},
    {"prompts"},
    {"tasks", "grading", "store", "sampling"},
    {"job_config", "importing"},
    {"labelling", "curves", "activations"},
    {"loading"},
    {"heads"},
    {"policies"},
    {"evaluation"},
    {"predictions", "live", "reports"},
    {"model_card"},
    {"export"},
    {"evaluating"},
    {"training"},
    {"cli"},
]
"""Stages in data order: a module imports its own stage and earlier ones. A set is one stage whose members may meet."""
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
PURE = ("curves", "heads", "policies", "evaluation", "voting", "splits")
LIGHTNING = ("t2/training", "data_modules", "train.py")
VLLM = ("t2/sampling/vllm_sampler.py",)


def modules() -> list[Path]:
    return [*sorted((ROOT / "t2").rglob("*.py")), *sorted((ROOT / "data_modules").rglob("*.py")), ROOT / "train.py"]


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def stage(dotted: str) -> str | None:
    """t2.heads.curve -> heads."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "t2" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_stages_import_only_earlier_ones(path: Path) -> None:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    mine = stage(name)
    if mine is None or mine == "__init__":
        return
    assert mine in RANK, f"{name}: give the stage {mine!r} a place in ORDER"
    late = {dotted for dotted in imports(path) if (s := stage(dotted)) and RANK.get(s, -1) > RANK[mine]}
    assert not late, f"{name} imports later stages: {sorted(late)}"
    assert not any(dotted.split(".")[0] == "data_modules" for dotted in imports(path))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_lightning_and_vllm_stay_in_their_places(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    roots = {dotted.split(".")[0] for dotted in imports(path)}
    assert "pytorch_lightning" not in roots
    if not where.startswith(LIGHTNING):
        assert "lightning" not in roots
    if where not in VLLM:
        assert "vllm" not in roots


@pytest.mark.parametrize(
    "path", [p for p in modules() if stage(".".join(p.relative_to(ROOT).with_suffix("").parts)) in PURE]
)
def test_pure_stages_touch_no_files_clock_or_global_randomness(path: Path) -> None:
    banned = {"os", "pathlib", "time", "random", "secrets", "datetime", "subprocess", "pyarrow", "transformers"}
    assert not {dotted.split(".")[0] for dotted in imports(path)} & banned


def test_importing_t2_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "lightning", "vllm", "pyarrow")
    code = f"import sys, t2; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
