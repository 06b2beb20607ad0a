"""One reader of a config: what does not fit is one line, the same in train.py and in every t2 command."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_modules import BudgetDataModule
from t2 import cli
from t2.config import DataSettings, read_data
from t2.errors import T2Error
from train import main

ROOT = Path(__file__).resolve().parents[2]
WRONG = [
    ("data.epss", 0.1, r"Expected keys that T2 knows in {config}, got `data\.epss`\. Did you mean `data\.eps`\?"),
    ("data.eps", "small", r"Expected float as `data\.eps` in {config}, got 'small'"),
    ("data.grid", "1,2", r"Expected a list of int or null as `data\.grid` in {config}, got '1,2'"),
    ("data.pool.modell", "x", r"got `data\.pool\.modell`\. Did you mean `data\.pool\.model`\?"),
    ("data.splits", {"tset": 0.5}, r"got `data\.splits\.tset`\. Did you mean `data\.splits\.test`\?"),
    ("data.pool.task.init_args.num", 3, r"got `data\.pool\.task\.init_args\.num`"),
    ("data.pool.task.init_args.num_questions", "many", r"int as `data\.pool\.task\.init_args\.num_questions` .*'many'"),
    ("data.pool.task", {"class_path": "NoTask"}, r"the name of a class that T2 knows as `data\.pool\.task` .*'NoTask'"),
    ("data.pool.task", {"class_path": "JsonlTask"}, r"Expected the key `data\.pool\.task\.init_args\.path` in"),
    ("model.hed", "CurveHead", r"got `model\.hed`\. Did you mean `model\.head`\?"),
    ("model.head", {"class_path": "CurveHead", "init_args": {"atom": 3}}, r"got `model\.head\.init_args\.atom`"),
    ("accuracy_cost.policy.init_args.prize", 1, r"got `accuracy_cost\.policy\.init_args\.prize`"),
    ("trainer.max_epoch", 3, r"got `trainer\.max_epoch`\. Did you mean `trainer\.max_epochs`\?"),
    ("trainer.max_epochs", "three", r"Expected int or null as `trainer\.max_epochs` in {config}, got 'three'"),
    ("calibraton", {"alpha": 0.1}, r"got `calibraton\.alpha`\. Did you mean `calibration\.alpha`\?"),
]
"""Key, value, and the message; `{config}` stands for the file's name."""


Mistake = tuple[str, Any, str]


def written(mistake: Mistake, tmp_path: Path) -> tuple[Path, str]:
    """A config with one mistake, and what must be said of it."""
    dotted, value, message = mistake
    config: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "tiny-arith.yaml").read_text(encoding="utf-8"))
    *parents, last = dotted.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path, message.replace("{config}", str(path))


@pytest.mark.parametrize("mistake", WRONG, ids=[f"{key}={value!r}"[:50] for key, value, _ in WRONG])
def test_t2_commands_say_it_in_one_line(mistake: Mistake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They read `data.pool` alone: a typo beside it, or in another section, passed silently."""
    path, message = written(mistake, tmp_path)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["label", "--config", str(path)])
    _assert_one_line(capsys, message)


@pytest.mark.parametrize("command", [["fit", "--config"], ["curse"], ["report"], ["evaluate", "no-head"]], ids=" ".join)
@pytest.mark.parametrize("mistake", WRONG[1::6], ids=lambda mistake: mistake[0])
def test_train_py_and_the_other_commands_say_the_same(
    command: list[str], mistake: Mistake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """train.py printed the usage of 800 options, then several lines."""
    path, message = written(mistake, tmp_path)
    with pytest.raises(SystemExit, match="2"):
        (main if command[0] == "fit" else cli.main)([*command, str(path)])
    _assert_one_line(capsys, message)


def _assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message.replace("/", r"\/"), lines[0]), lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {pool: [", r"Expected a YAML config"),
        ("- 1\n- 2", r"Expected keys and values, as `data.pool`, in the config .*, got '\[1, 2\]'"),
        ("model: {}", r"Expected the key `data\.pool` in"),
        ("data: {pool: {path: x, task: {class_path: ArithTask}}}", r"Expected the key `data\.pool\.model` in"),
        (
            "data: {pool: {path: x, model: m, task: {class_path: ArithTask}}, eps: 1.5}",
            r"`data\.eps` in \[0, 1\), got 1\.5",
        ),
    ],
)
def test_what_is_no_config_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(T2Error, match=message):
        read_data(path)


def test_the_datamodule_takes_exactly_these_settings() -> None:
    """Both programs parse the same fields: the class of train.py adds and hides none."""
    assert inspect.signature(BudgetDataModule) == inspect.signature(DataSettings)


def test_help_says_what_each_key_means(capsys: pytest.CaptureFixture[str]) -> None:
    """The fields of `data.pool` had no text, since jsonargparse does not read strings under fields by default."""
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for meaning in (
        "folder of the pool; append-only, resumable",
        "share that chooses nothing",
        "questions of an optimizer step",
    ):
        assert meaning in text


def test_a_prompt_may_have_a_date_and_arguments(tmp_path: Path) -> None:
    """Without quotes a date was one to `t2`, which wanted a text, and a text to train.py."""
    config = yaml.safe_load((ROOT / "configs" / "tiny-arith.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "dated.yaml"
    path.write_text(yaml.safe_dump(config))
    pool = "  pool:\n    prompt: {date: 2026-11-29, template_arguments: {enable_thinking: false, effort: low}}\n"
    path.write_text(path.read_text().replace("  pool:\n", pool, 1))
    prompt = read_data(path).pool.prompt
    assert prompt.date == "2026-11-29"
    assert prompt.template_arguments == {"enable_thinking": False, "effort": "low"}
    cli.main(["curse", str(path), "--out", str(tmp_path / "curse")])  # has train.py's reader check every key
