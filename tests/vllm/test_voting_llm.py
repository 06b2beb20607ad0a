"""`VotingLLM` and `t2 ask` on a real engine that carries a trained head of the embedded LLM."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import torch
from helpers.own_group import ROOT, run_alone
from helpers.trained_head import CONFIG, GRID, MODEL, NUM_TRAIN, export_trained

from t2.budget_head import BudgetHead
from t2.policies.orders import Orders
from t2.pools.load import load_pool

pytestmark = pytest.mark.vllm

NUM_ASKED = 120
TOO_LONG = "1+" * 200 + "1"
_SCRIPT = """
import contextlib, io, json, sys
from dataclasses import asdict

import t2
from pathlib import Path

from t2.ask.command import AskedFile, already, ask

if __name__ == "__main__":
    model, questions = sys.argv[1], json.load(open("questions.json"))
    engine = {"max_num_seqs": 32, "kv_cache_gib": 0.25}
    told = {}
    with t2.VotingLLM("head", model, engine=engine, seed=11) as llm:
        told["answers"] = [asdict(answer) for answer in llm.answer(questions, show_progress=False)]
        stream = llm.answer_stream(questions[:20])
        told["first"] = next(stream)[0]
        stream.close()  # with nineteen questions in the engine
        told["running"] = llm._sampler._llm.llm_engine.get_num_unfinished_requests()
        told["again"] = [asdict(answer) for answer in llm.answer(questions[:5], show_progress=False)]
        told["asked"] = []
        try:
            told["asked"].extend(ask(llm, AskedFile.of(Path("questions.jsonl"), Path("answers.jsonl"))))
        except t2.T2Error as error:
            told["left out"] = str(error)
        told["asked again"] = already(AskedFile.of(Path("questions.jsonl"), Path("answers.jsonl")))
        for _ in llm.answer_stream(questions[:2]):
            try:
                llm.answer(questions[:1])
            except t2.T2Error as error:
                told["second stream"] = str(error)
        told["nothing"] = llm.answer([])
        errors = []
        for wrong in ("3+4", ["3+4", ""], [[{"type": "image_url"}]], ["1+" * 200 + "1"]):
            try:
                llm.answer(wrong)
            except t2.T2Error as error:
                errors.append(str(error))
        told["errors"] = errors
    try:
        llm.answer(["3+4"])
    except t2.T2Error as error:
        told["closed"] = str(error)
    with contextlib.redirect_stdout(io.StringIO()) as shown:  # the three lines of the README, in an engine of their own
        exec(open("readme.py").read(), {})
    told["readme"] = shown.getvalue()
    json.dump(told, open("out.json", "w"))
"""


@pytest.fixture(scope="module")
def asked() -> list[Any]:
    """Questions that the head has not seen."""
    return list(load_pool(CONFIG).questions[NUM_TRAIN : NUM_TRAIN + NUM_ASKED])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, asked: list[Any]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("voting")
    export_trained(folder / "head")
    (folder / "questions.json").write_text(json.dumps([question.text for question in asked]))
    lines = [json.dumps({"id": question.id, "question": question.text}) for question in asked[:6]]
    lines.insert(2, json.dumps({"id": "long", "question": TOO_LONG}))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (folder / "readme.py").write_text(
        block.replace("heads/quickstart", "head").replace("assets/tiny-arith", str(MODEL))
    )
    (folder / "script.py").write_text(_SCRIPT)
    _, survivors = run_alone([sys.executable, "script.py", str(MODEL)], folder)
    answers = (folder / "answers.jsonl").read_text().splitlines()
    told = json.loads((folder / "out.json").read_text())
    return {**told, "survivors": survivors, "folder": folder, "lines": [json.loads(line) for line in answers]}


def test_first_rounds_are_those_of_the_head_outside_the_engine(told: dict[str, Any], asked: list[Any]) -> None:
    head = BudgetHead.from_pretrained(told["folder"] / "head")
    rules = head.rules(head.activations([question.text for question in asked], MODEL))
    expected = [rule.extra([]) for rule in rules]
    drawn = [answer["rounds"][0] for answer in told["answers"]]
    assert sum(a == b for a, b in zip(expected, drawn, strict=True)) >= 0.99 * NUM_ASKED
    assert len(set(drawn)) > 3, "the head tells questions apart"


def test_answers_are_as_right_and_as_many_as_replay_says(told: dict[str, Any], asked: list[Any]) -> None:
    """Four standard errors of the difference between fresh samples and the mean over orders of the stored ones."""
    loaded, rows = load_pool(CONFIG), torch.arange(NUM_TRAIN, NUM_TRAIN + NUM_ASKED)
    head = BudgetHead.from_pretrained(told["folder"] / "head")
    pool = loaded.pool.take(rows)
    prediction = head.predict(head.activations([question.text for question in asked], MODEL))
    replay = head.policy.rule(head.inputs(prediction)).replay(Orders.of(pool, 32, seed=0))  # type: ignore[union-attr]
    right = [answer["answer"] == question.answer for answer, question in zip(told["answers"], asked, strict=True)]
    measured = {
        "correct": torch.tensor(right, dtype=torch.float64),
        "samples": torch.tensor([answer["samples"] for answer in told["answers"]], dtype=torch.float64),
        "rounds": torch.tensor([len(answer["rounds"]) for answer in told["answers"]], dtype=torch.float64),
    }
    for name, value_Q in measured.items():
        difference_Q = value_Q - getattr(replay, name)
        assert abs(float(difference_Q.mean())) < 4 * float(difference_Q.std()) / NUM_ASKED**0.5, name
    assert max(len(answer["rounds"]) for answer in told["answers"]) > 1


def test_every_sample_is_counted_once(told: dict[str, Any]) -> None:
    for answer in told["answers"]:
        assert sum(answer["rounds"]) == answer["samples"] <= max(GRID)
        assert answer["samples"] >= sum(answer["votes"].values())
        assert answer["tokens"] > answer["samples"]
        assert answer["samples_at_once"] == 16
        assert 0 < (answer["confidence"] or 0.5) < 1


def test_a_stream_that_is_left_leaves_nothing_in_the_engine(told: dict[str, Any]) -> None:
    assert told["running"] == 0
    assert len(told["again"]) == 5
    assert told["nothing"] == []
    assert told["second stream"].startswith("Expected one stream of answers at a time")


def test_a_file_of_questions(told: dict[str, Any], asked: list[Any]) -> None:
    left_out, summary, _ = told["asked"]
    assert re.fullmatch(r"Left out: 'long', whose prompt of 4\d\d tokens is too long", left_out)
    assert summary.startswith("6 answers, ")
    assert re.match(r"Expected questions whose prompts have at most \d+ tokens, got 1 of 7 that", told["left out"])
    assert told["asked again"] == "6 of 7 questions are answered in answers.jsonl already"
    assert sorted(line["id"] for line in told["lines"]) == sorted(question.id for question in asked[:6])


def test_mistakes_draw_nothing(told: dict[str, Any]) -> None:
    texts, empty, pictures, long = told["errors"]
    assert texts.startswith("Expected a list of questions, got one text")
    assert "got an empty one (number 1)" in empty
    assert "a list of messages with images (number 0)" in pictures
    assert "Expected questions whose prompts have at most" in long
    assert told["closed"].startswith("Expected an open VotingLLM")


def test_the_lines_of_the_readme(told: dict[str, Any]) -> None:
    first, second = told["readme"].splitlines()
    assert first.startswith("7 ")
    assert re.search(r"^\S+ (0\.\d+|None) \{.*\} \(\d+(, \d+)*,?\)$", second)


def test_no_process_is_left_behind(told: dict[str, Any]) -> None:
    assert told["survivors"] == []
