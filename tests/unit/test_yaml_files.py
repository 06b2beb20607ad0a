"""Configs that grow, say a key twice or name another file: one line in both programs, before anything is built."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from t2 import cli
from t2.config import read_data
from t2.tasks import ArithTask
from t2.yaml_files import read_yaml
from train import main

ROOT = Path(__file__).resolve().parents[2]
TASK = "class_path: ArithTask\ninit_args: {num_questions: 33}\n"


def bomb(levels: int = 12) -> str:
    lists = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(["a0: &a0 [boom]", *lists, f"data: {{pool: *a{levels - 1}}}"])


def merged_bomb(levels: int = 12) -> str:
    maps = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, levels)]
    return "\n".join(["a0: &a0 {k: boom}", *maps, f"data: {{pool: *a{levels - 1}}}"])


BAD = {
    "bomb": (bomb(), r"at most 100,000 values, got more in .* aliases"),
    "merged bomb": (merged_bomb(), r"at most 100,000 values, got more in .* aliases"),
    "long text": (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]", r"at most 100,000 values"),
    "itself": ("a: &a [*a]\ndata: {pool: 1}", r"an alias \(\*x\) inside what it stands for"),
    "itself as a key": ("a: &a {b: *a}", r"an alias \(\*x\) inside what it stands for"),
    "nested": ("[" * 100_000, r"Expected a YAML config, got"),
    "key twice": ("data: {eps: 0.1, eps: 0.2}", r"each key once, got `eps` twice in .*, again in line 1"),
    "two documents": ("data: {}\n---\ndata: {}", r"Expected a YAML config, got"),
    "a list as a key": ("? [a, b]\n: c", r"Expected a YAML config, got"),
    "an object of Python": ("a: !!python/object/apply:os.system [echo]", r"Expected a YAML config, got"),
    "no number": ("a: !!int x", r"Expected a YAML config, got"),
    "nothing": ("", r"Expected keys and values"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_yaml_is_one_line(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert_one_line(cli.main, ["label", "--config", str(path)], message, capsys)


@pytest.mark.parametrize("name", ["bomb", "merged bomb", "key twice"])
def test_train_py_says_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = BAD[name]
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert_one_line(main, ["fit", "--config", str(path)], message, capsys)


def assert_one_line(
    run: Callable[[list[str]], None], args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with pytest.raises(SystemExit, match="2"):
        run(args)
    assert time.monotonic() - begun < 30
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line
    assert len(line) < 700


def test_aliases_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {k: 1}\nb: {<<: *a, l: *a}\nc: [*a, *a]", encoding="utf-8")
    one = {"k": 1}
    assert read_yaml(path) == {"a": one, "b": {"k": 1, "l": one}, "c": [one, one]}


def config(folder: Path, task: str) -> Path:
    path = folder / "config.yaml"
    pool = {"path": "p", "model": "m", "task": task}
    path.write_text(yaml.safe_dump({"data": {"pool": pool}, "model": {"head": "PriorHead"}}), encoding="utf-8")
    return path


@pytest.mark.parametrize("place", ["config", "working", "both", "absolute"])
def test_a_task_in_another_file(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name is relative to the config's folder, else to the working folder, in both programs."""
    beside, working = tmp_path / "configs", tmp_path / "work"
    for folder in (beside, working):
        (folder / "tasks").mkdir(parents=True)
    monkeypatch.chdir(working)
    (beside if place in ("config", "both") else working).joinpath("tasks/a.yaml").write_text(TASK)
    if place == "both":
        (working / "tasks/a.yaml").write_text(TASK.replace("33", "44"))
    path = config(beside, str(working / "tasks/a.yaml") if place == "absolute" else "tasks/a.yaml")
    task = read_data(path).pool.task
    assert isinstance(task, ArithTask)
    assert task.num_questions == 33
    for words in [[f"--config={path}"]] if place == "both" else [["--config", str(path)]]:
        with pytest.raises(SystemExit, match="0"):
            main(["fit", *words, "--print_config", "--data.pool.task.init_args.seed=7"])
        printed = yaml.safe_load(capsys.readouterr().out)["data"]["pool"]["task"]
        assert printed["class_path"] == "t2.tasks.ArithTask"
        assert printed["init_args"]["num_questions"] == 33
        assert printed["init_args"]["seed"] == 7


BAD_TASKS = [
    ("class_path: NoTask", r"the name of a class that T2 knows as `data\.pool\.task`"),
    ("class_path: ArithTask\ninit_args: {num: 3}", r"got `data\.pool\.task\.init_args\.num`"),
    ("- 1", r"Expected keys and values.*task\.yaml"),
    (bomb(), r"at most 100,000 values, got more in .*task\.yaml"),
    (None, r"Expected the file of a task as `data\.pool\.task` in .*, got 'task\.yaml': neither beside the config"),
]


@pytest.mark.parametrize(("task", "message"), BAD_TASKS)
def test_a_bad_task_file_is_one_line(
    task: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if task is not None:
        (tmp_path / "task.yaml").write_text(task, encoding="utf-8")
    path = config(tmp_path, "task.yaml")
    assert_one_line(cli.main, ["label", "--config", str(path)], message, capsys)
    if task is None or task.startswith("a0"):
        assert_one_line(main, ["fit", "--config", str(path)], message, capsys)


def test_numbers_of_a_config_survive_its_task_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole is handed on as YAML: 1e-2, .inf and null mean what they meant."""
    (tmp_path / "task.yaml").write_text(TASK, encoding="utf-8")
    path = config(tmp_path, "task.yaml")
    path.write_text(
        path.read_text(encoding="utf-8")
        + "decision: {max_rounds: .inf, allowance: 1e-2}\n"
        + "trainer: {max_epochs: 3, logger: false}\nexport: {folder: null}\n",
        encoding="utf-8",
    )
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(path), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["decision"]["max_rounds"] == float("inf")
    assert printed["decision"]["allowance"] == 0.01
    assert printed["trainer"]["logger"] is False
    assert printed["export"]["folder"] is None
