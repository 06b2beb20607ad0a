"""What vLLM loads in every engine is light, and gives what is asked for alone."""

from __future__ import annotations

import ast
import subprocess
import sys

from helpers.own_group import ROOT, environment


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, t2.serving.plugin\n"
        "print(sorted({'torch', 'vllm', 'lightning', 'transformers', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_models_need_no_lightning() -> None:
    """The worker's process loads the head, and has no use for training."""
    code = (
        "import sys, t2.engine.head_columns, t2.engine.engine_head, t2.engine.vllm_models\n"
        "print(sorted({'vllm', 'lightning', 'peft', 'datasets', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_entry_points_are_where_the_plugin_is() -> None:
    import tomllib

    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    named = {value for group in points.values() for value in group.values()}
    functions = ast.parse((ROOT / "t2/serving/plugin.py").read_text()).body
    assert named == {f"t2.serving.plugin:{each.name}" for each in functions if isinstance(each, ast.FunctionDef)}
