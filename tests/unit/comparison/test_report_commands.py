"""`t2 import`, `t2 curse` and `t2 report` as a user types them, on a pool written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.wandb_runs import artifacts, contents

from t2.cli import main
from t2.comparison.command import _new_rows
from t2.comparison.predictions import PREDICTIONS_FILE, PredictionsOf, keys_digest, labels_digest, save_predictions
from t2.comparison.sources import Folds, Known, Source, cross_fitted
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.pools.load import load_pool


def hand_written(path: Path, num_questions: int = 12) -> None:
    lines = []
    for q in range(num_questions):
        samples = [{"answer": "7" if s <= q % 6 else f"{s}<b>", "tokens": 10 + s} for s in range(6)]
        lines.append(json.dumps({"id": f"q{q}", "question": f"What is {q}?", "answer": "7", "samples": samples}))
    path.write_text("\n".join(lines), encoding="utf-8")


def test_import_then_curse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_written(tmp_path / "mine.jsonl")
    main(["import", str(tmp_path / "mine.jsonl"), "--pool", str(tmp_path / "pool")])
    assert "imported: 12 questions, 72 samples" in capsys.readouterr().out
    main(["curse", str(tmp_path / "pool"), "--out", str(tmp_path / "curse")])
    found = json.loads((tmp_path / "curse" / "curse.json").read_text(encoding="utf-8"))
    assert found
    page = (tmp_path / "curse" / "index.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "<b>" not in page.replace("<body", "")


def test_report_without_predictions_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_written(tmp_path / "mine.jsonl")
    main(["import", str(tmp_path / "mine.jsonl"), "--pool", str(tmp_path / "pool")])
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path / "pool"), "--out", str(tmp_path / "report")])
    assert stopped.value.code == 2
    assert "python train.py cross_validate --config FILE" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_report_refuses_predictions_of_other_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_written(tmp_path / "mine.jsonl")
    main(["import", str(tmp_path / "mine.jsonl"), "--pool", str(tmp_path / "pool")])
    of = PredictionsOf(tuple(f"q{q}" for q in range(12)), (1, 3), 0.02, 6, "numeric-9", {}, {})
    save_predictions(tmp_path / "pool" / PREDICTIONS_FILE, of, {0: []})
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path / "pool"), "--out", str(tmp_path / "report")])
    assert stopped.value.code == 2
    assert "got 'numeric-9'" in capsys.readouterr().err


def a_head_that_knows(pool: str, samples: int = 6, digests: bool = False) -> None:
    """Store predictions of a head that knows how often each question of `hand_written` is answered correctly.

    Args:
        pool: folder.
        samples: of each question that it learned from, the first ones.
        digests: write those that older files do not have.
    """
    loaded = load_pool(pool, max_samples=samples)

    def fit_predict(learn: torch.Tensor, held: torch.Tensor) -> Known:
        score_B = held.double() % 6
        return Known(score_B, Prediction(torch.ones(len(held)), (score_B[:, None] / 6).float().expand(-1, 2)))

    sources = [
        Source(
            name, "text" if name == "Text" else "head", cross_fitted(fit_predict, Folds.of(loaded.pool.dedup_keys, 0))
        )
        for name in ("Head", "Text", "Second head")
    ]
    of = PredictionsOf(loaded.pool.question_ids, (1, 3), 0.02, samples, loaded.grader, {}, {})
    if digests:
        labels = labels_digest(loaded.pool, budget_labels(loaded.pool, of.grid, of.eps))
        of = replace(of, keys_digest=keys_digest(loaded.pool.dedup_keys), labels_digest=labels)
    save_predictions(Path(pool) / PREDICTIONS_FILE, of, {0: sources})


@pytest.fixture
def compared(tmp_path: Path) -> str:
    hand_written(tmp_path / "mine.jsonl", 40)
    pool = str(tmp_path / "pool")
    main(["import", str(tmp_path / "mine.jsonl"), "--pool", pool])
    a_head_that_knows(pool)
    return pool


@pytest.mark.usefixtures("few_settings")
@pytest.mark.parametrize("digests", [True, False])
def test_report_uses_the_samples_that_the_predictions_were_made_from(
    compared: str, tmp_path: Path, digests: bool
) -> None:
    """All samples of the pool were used, whatever its heads had learned from, and the header gave another number."""
    a_head_that_knows(compared, samples=3, digests=digests)
    main(["report", compared, "--out", str(tmp_path / "report")])
    assert "40 questions x 3 samples" in (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "Only the first 3 of up to 6 samples" in (tmp_path / "report" / "index.html").read_text("utf-8")
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    tokens = {row["name"]: row["tokens"]["value"] for row in found["rows"]}
    assert tokens["FixedN(N_ref)"] == pytest.approx(10 + 11 + 12)  # sample s has 10 + s of them


@pytest.mark.usefixtures("few_settings")
def test_report_refuses_predictions_of_other_samples(
    compared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest of the labels was stored and never compared: other samples of the same questions were reported."""
    a_head_that_knows(compared, digests=True)
    main(["report", compared, "--out", str(tmp_path / "report")])
    other = (tmp_path / "mine.jsonl").read_text(encoding="utf-8").replace('"7", "tokens"', '"70", "tokens"', 1)
    (tmp_path / "other.jsonl").write_text(other, encoding="utf-8")
    main(["import", str(tmp_path / "other.jsonl"), "--pool", str(tmp_path / "other")])
    capsys.readouterr()
    predictions = str(Path(compared) / PREDICTIONS_FILE)
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(tmp_path / "other"), "--predictions", predictions, "--out", str(tmp_path / "refused")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert f"Expected the samples and grades that {predictions} was made from" in error
    assert "python train.py cross_validate --config FILE" in error
    assert not (tmp_path / "refused").exists()


@pytest.mark.usefixtures("few_settings")
def test_claims_are_made_again_on_new_questions_and_key_rows_are_those_that_lead(compared: str, tmp_path: Path) -> None:
    main(["report", compared, "--out", str(tmp_path / "report"), "--new_after", "30"])
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert (found["claims"]["num_questions"], found["repeated"]["num_questions"]) == (40, 10)
    assert "The same claims on 10 new questions alone" in (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "after the pool's first 30." in (tmp_path / "report" / "report.md").read_text("utf-8")
    key = (tmp_path / "report" / "key.md").read_text(encoding="utf-8")
    table = [line.strip("| ").split(" | ") for line in key.splitlines() if line.startswith("| ")]
    assert table[0] == ["rule", "ratio", "vs FixedN(N_ref), points", "rounds", "critical path", "KV tokens"]
    end = next(place for place, row in enumerate(table) if row[0] == "rule" and place)
    names = [row[0] for row in table[2:end]]
    assert names[:2] == ["FixedN(N_ref)", "Head + Utility"]  # the pool has no greedy answers
    assert {"no head, planned rounds, at most 2 rounds", "ASC", "Doubling"} <= set(names)
    assert not [name for name in names if name.startswith("Second head")]
    assert len(names) <= 12
    assert all(row[0].startswith(("best head, planned", "no head, planned")) for row in table[end + 2 :])


@pytest.mark.usefixtures("few_settings")
def test_a_cap_bounds_every_rule(compared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", compared, "--out", str(tmp_path / "report"), "--cap", "2"])
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert found["n_ref"] == 1
    assert max(row["samples"] for row in found["rows"]) == 1
    assert "Head + own and bins + Utility" in [row["name"] for row in found["rows"]]  # both curves end at the cap
    assert "No rule draws more than 1 sample." in (tmp_path / "report" / "key.md").read_text("utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["report", compared, "--out", str(tmp_path / "refused"), "--cap", "0"])
    assert "Expected a `cap` of at least 1" in capsys.readouterr().err


@pytest.mark.usefixtures("few_settings")
def test_a_report_goes_to_wandb_with_its_pool(
    compared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    main(["report", compared, "--out", str(tmp_path / "report"), "--wandb", "budgets"])
    *files, last = capsys.readouterr().out.splitlines()[-9:]
    (run,) = (tmp_path / "report" / "wandb").glob("offline-run-*")
    assert last == f"W&B: {run}"
    (run_file,) = run.glob("*.wandb")
    found = artifacts(run_file)
    assert {kind: each.use_after_commit for kind, each in found.items()} == {"pool": True, "report": False}
    assert found["report"].name == "report-pool"
    held = contents(found["report"])
    assert {Path(line).name for line in files if line.startswith(str(tmp_path))} <= held.keys()
    assert held["report.json"].read_bytes() == (tmp_path / "report" / "report.json").read_bytes()
    digests = {json.loads(each.metadata)["spec_digest"] for each in found.values()}
    assert len(digests) == 1


def test_new_questions_are_the_last_that_share_no_key_with_older_ones(compared: str) -> None:
    pool = load_pool(compared).pool
    assert _new_rows(Path(compared), pool, 30).tolist() == list(range(30, 40))
    twin = replace(pool, dedup_keys=(*pool.dedup_keys[:35], pool.dedup_keys[3], *pool.dedup_keys[36:]))
    assert _new_rows(Path(compared), twin, 30).tolist() == [30, 31, 32, 33, 34, 36, 37, 38, 39]
    for nonsense in (0, 40, -3):
        with pytest.raises(T2Error, match="between 1 and 39"):
            _new_rows(Path(compared), pool, nonsense)
    free_QM = pool.tokens_QM.clone()
    free_QM[30:] = 0
    with pytest.raises(T2Error, match="Expected generated tokens in the 10 new questions, got 0"):
        _new_rows(Path(compared), replace(pool, tokens_QM=free_QM), 30)
    with pytest.raises(T2Error, match="got 30 questions, none of them new"):
        _new_rows(Path(compared), pool.take(torch.arange(30)), 30)


def test_curse_takes_grid_and_eps_of_the_config(tmp_path: Path) -> None:
    """The default grid and eps counted whatever the config said."""
    hand_written(tmp_path / "mine.jsonl")
    main(["import", str(tmp_path / "mine.jsonl"), "--pool", str(tmp_path / "pool")])
    job = f"{{path: {tmp_path}/pool, model: m, task: {{class_path: PoolTask, init_args: {{path: {tmp_path}/pool}}}}"
    (tmp_path / "c.yaml").write_text(f"data: {{pool: {job}, samples_per_question: 6}}, grid: [1, 2, 3, 6], eps: 0.1}}")
    for options, eps in (([], 0.1), (["--eps", "0.3"], 0.3)):
        main(["curse", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "curse"), *options])
        found = json.loads((tmp_path / "curse" / "curse.json").read_text(encoding="utf-8"))
        assert (found["grid"], found["main"]["setting"]["eps"]) == ([1, 2, 3, 6], eps)
