"""The JSONL written by hand in docs/GUIDE.md, the commands below it, and the code that uses a head."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import t2.judging.command
import train
from t2 import cli

ROOT = Path(__file__).resolve().parents[2]
NUM_QUESTIONS = 70
"""The guide's lines with other numbers."""
MANY_UNSEEN = [
    f"--data.splits.{name}={share}"
    for name, share in zip(("train", "validation", "calibration", "test"), (0.25, 0.1, 0.25, 0.4), strict=True)
]
"""So that 40 of these are left which the head has not learned from."""
QUICK = ["--fold_seeds", "[0]", "--epochs", "2", "--only_configured_head", "true"]


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The guide's two shell blocks: import and curse, then training and reports. They run in a fresh folder."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    shell = code_blocks("docs/GUIDE.md", "sh")
    assert len(shell) == 2
    return shell


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def write_files(block: str) -> list[list[str]]:
    """Do what `cat > FILE <<'END'` does; gives the other commands as lists of arguments."""
    heredoc = re.compile(r"cat > (\S+) <<'END'\n(.*?)\nEND\n", re.DOTALL)
    for name, content in heredoc.findall(block):
        Path(name).write_text(content + "\n", encoding="utf-8")
    commands = [shlex.split(line, comments=True) for line in heredoc.sub("", block).splitlines()]
    return [command for command in commands if command]


def run(command: list[str], *more: str) -> None:
    if command[0] == "t2":
        cli.main([*command[1:], *more])
    else:
        assert command[:2] == ["python", "train.py"]
        train.main([*command[2:], *more])


def grown(row: dict[str, Any], index: int) -> dict[str, Any]:
    """A line of the guide as another question: the same pattern of right and wrong, all numbers `index` larger."""
    moved = {**row, "id": f"{row['id']}-{index}", "question": f"{row['question']}+{index}"}
    moved["answer"] = str(int(row["answer"]) + index)
    moved["samples"] = [{**sample, "answer": str(int(sample["answer"]) + index)} for sample in row["samples"]]
    return moved


def test_import_and_curse_of_the_lines_in_the_guide(blocks: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    imported, curse = write_files(blocks[0])
    num_lines = len(Path("my_answers.jsonl").read_text(encoding="utf-8").splitlines())
    run(imported)
    assert f"{num_lines} questions, {6 * num_lines} samples" in capsys.readouterr().out
    run(curse)
    found = json.loads(Path("curse/curse.json").read_text(encoding="utf-8"))
    assert (found["num_questions"], found["samples"], found["cost_unit"]) == (num_lines, 6, "tokens")
    assert found["label_grid"] == [1, 3]
    assert found["verdict"] in Path("curse/index.html").read_text(encoding="utf-8")


def test_a_handful_of_questions_is_too_few_to_train_on(blocks: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    imported, _ = write_files(blocks[0])
    cross_validate, report, fit, evaluate = write_files(blocks[1])
    run(imported)
    for command, reason in (
        (cross_validate, "questions"),
        (report, "train.py cross_validate"),
        (fit, "questions"),
        (evaluate, "heads/mine"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run(command)
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert re.fullmatch(f"error: Expected [^\n]*{reason}[^\n]*\n", error), error


@pytest.mark.slow
@pytest.mark.usefixtures("few_settings")
def test_all_four_commands_on_more_lines_of_that_kind(
    blocks: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t2.judging.command, "FOLD_SEEDS", (0,))  # a third of the time
    imported, curse = write_files(blocks[0])
    cross_validate, report, fit, evaluate = write_files(blocks[1])
    file = Path("my_answers.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    more = [grown(rows[index % len(rows)], index) for index in range(NUM_QUESTIONS)]
    file.write_text("\n".join(map(json.dumps, more)), encoding="utf-8")
    run(imported)
    run(curse)
    run(cross_validate, *QUICK)
    run(report)
    assert f"Out-of-fold predictions of {NUM_QUESTIONS} questions" in capsys.readouterr().out
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "CurveHead + Utility" in page
    assert f"Prompt tokens of {NUM_QUESTIONS} questions are unknown" in page
    run(fit, "--trainer.max_epochs=2", "--decision.mode=configured", *MANY_UNSEEN)
    run(evaluate)
    found = json.loads(Path("evaluation/report.json").read_text(encoding="utf-8"))
    assert found["num_questions"] + found["left_out"] == NUM_QUESTIONS
    assert found["num_questions"] >= 40
    assert found["as_exported"]["policy"].startswith("Utility")
    assert json.loads(Path("curse/curse.json").read_text(encoding="utf-8"))["num_questions"] == NUM_QUESTIONS
    use_of_a_head = code_blocks("docs/GUIDE.md", "python")[:1]
    for block, shown in zip(use_of_a_head, (r"^[1356]$",), strict=True):
        capsys.readouterr()
        exec(block.replace("heads/quickstart", "heads/mine"), {})
        assert re.search(shown, capsys.readouterr().out, re.MULTILINE)
