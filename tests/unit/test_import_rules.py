"""The import rules of the design: rooms import only earlier ones, Lightning and vLLM stay in their places."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = (
    *("errors", "hashing", "hardware", "json_record", "json_lines", "yaml_files", "progress", "endings", "voting"),
    *("spec", "splits"),
    *("hub", "model_files", "prompts"),
    *("store", "grading", "sampling", "tasks", "curves", "activations", "config", "importing", "pools"),
    *("heads", "policies", "stats", "pages", "preview", "curse", "regrading", "calibration", "comparison", "layers"),
    *("head_record", "model_card", "export", "checkpoint", "budget_head", "push", "tracking", "judging"),
    *("answering", "engine", "ask", "shadow", "api", "serving", "gateway"),
    "training",
    "cli",
)
"""Rooms in data order: a module imports its own room and earlier ones, so there is no circle among rooms."""
RANK = {name: rank for rank, name in enumerate(ORDER)}
PURE = ("curves", "heads", "policies", "stats", "calibration", "voting", "splits")
SHELLS = {
    "comparison": (
        *("command", "frontier_figure", "growth_command", "growth_figure", "ladder_figure", "plane_figure"),
        *("predicted", "predictions", "report"),
    ),
    "layers": ("command", "figure"),
    "curse": ("command", "figures", "report"),
    "regrading": ("command", "samples"),
    "preview": ("command", "early"),
    "judging": ("command", "live_command", "live_run", "questions", "report"),
    "answering": ("asking", "question_file"),
    "shadow": ("command", "figure", "log", "replay"),  # a record has its time
}
"""Rooms of a command, with the modules in them that touch files, clock or matplotlib; the others are pure."""
LIGHTNING = ("t2/training", "data_modules", "train.py")
VLLM = (
    *("t2/sampling/probes.py", "t2/sampling/vllm_sampler.py"),
    *(
        "t2/engine/vllm_models.py",
        "t2/engine/wide_steps.py",
        "t2/engine/label_reads.py",
        "t2/serving/endpoint.py",
        "t2/serving/engine_session.py",
    ),
)


def modules() -> list[Path]:
    return [*sorted((ROOT / "t2").rglob("*.py")), *sorted((ROOT / "data_modules").rglob("*.py")), ROOT / "train.py"]


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, at any depth."""
    dotted: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            dotted.add(node.module)
    return dotted


def room(dotted: str) -> str | None:
    """t2.heads.curve -> heads."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "t2" and len(parts) > 1 else None


def dotted_name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


def is_pure(path: Path) -> bool:
    mine = room(dotted_name(path))
    return mine in PURE or (mine in SHELLS and path.stem not in SHELLS[mine])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_earlier_ones(path: Path) -> None:
    mine = room(dotted_name(path))
    if mine is None or mine == "__init__":
        return
    assert mine in RANK, f"{path}: give the room {mine!r} a place in ORDER"
    late = {dotted for dotted in imports(path) if (r := room(dotted)) and RANK.get(r, -1) > RANK[mine]}
    assert not late, f"{path} imports later rooms: {sorted(late)}"
    assert not any(dotted.split(".")[0] == "data_modules" for dotted in imports(path))


def test_the_order_names_the_rooms_that_there_are() -> None:
    names = {p.stem for p in (ROOT / "t2").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert names - {"__init__"} == set(ORDER)


def test_the_modules_called_shells_exist() -> None:
    for name, shells in SHELLS.items():
        for shell in shells:
            assert (ROOT / "t2" / name / f"{shell}.py").exists(), f"t2/{name}/{shell}.py"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_lightning_and_vllm_stay_in_their_places(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    roots = {dotted.split(".")[0] for dotted in imports(path)}
    assert "pytorch_lightning" not in roots
    if not where.startswith(LIGHTNING):
        assert "lightning" not in roots
    if where not in VLLM:
        assert "vllm" not in roots


@pytest.mark.parametrize("path", [p for p in modules() if is_pure(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_modules_touch_no_files_clock_or_global_randomness(path: Path) -> None:
    banned = {
        *("os", "pathlib", "time", "random", "secrets", "datetime", "subprocess"),
        *("pyarrow", "transformers", "matplotlib", "rich"),
    }
    assert not {dotted.split(".")[0] for dotted in imports(path)} & banned


def test_importing_t2_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "lightning", "vllm", "pyarrow")
    code = f"import sys, t2; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_modules_of_t2_import_each_other_in_a_circle() -> None:
    """Also inside a room, and for the type checker alone: what is tied both ways is one thing in two files."""
    paths = {dotted_name(path).removesuffix(".__init__"): path for path in (ROOT / "t2").rglob("*.py")}
    graph = {
        name: {target for target in imports(path) if target in paths and target != name} for name, path in paths.items()
    }
    rooms = {name for name, path in paths.items() if path.name == "__init__.py"}
    for name in rooms:  # a room's front door gathers what is inside, and is imported from there for what it gathers
        graph[name] = set()
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
