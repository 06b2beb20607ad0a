"""Pools that say little and texts that mean harm, all the way: compared, summarised, written; no NaN, no markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evil import EVIL
from helpers.graded_pools import graded_pool, random_pool
from helpers.sweeps import small_sweeps

from t2.comparison.compare import compare
from t2.comparison.controls import prompt_length, tfidf_ridge
from t2.comparison.report import write_report
from t2.comparison.sources import Folds, Known, Source, cross_fitted
from t2.comparison.summary import summarise
from t2.curves.labels import budget_labels, cut_grid
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.importing.command import import_file
from t2.pools.load import load_pool
from t2.stats.bootstrap import clusters_of
from t2.voting import ABSTAINED

NUM, GRID = 45, (1, 2, 3, 5)
TAGS = {
    *("!doctype", "html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "p"),
    *("figure", "img", "figcaption", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li"),
}
"""Of the template: whatever else looks like a tag came from a text."""
UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def sources_of(pool: GradedPool, grid: tuple[int, ...], texts: Sequence[str]) -> list[Source]:
    """A head that knows each curve up to noise and N* of none, and a control: of the texts, if there are some."""
    labels, folds = budget_labels(pool, grid, 0.02), Folds.of(pool.dedup_keys, 0)
    noise_QK = 0.1 * torch.randn(labels.acc_QK.shape, generator=torch.Generator().manual_seed(0))
    curve_QK = (labels.acc_QK.float() + noise_QK).clamp(0, 1)

    def fit_predict(learn: torch.Tensor, held: torch.Tensor) -> Known:
        length_B = labels.log_tokens_Q[learn].mean().expand(len(held)).float()
        prediction = Prediction(length_B, curve_QK[held], torch.zeros(len(held)))
        return Known(curve_QK[held].mean(1).double(), prediction)

    name, control = "prompt length", prompt_length(pool.prompt_tokens_Q, labels.log_tokens_Q)
    if texts:
        name, control = "TF-IDF ridge", tfidf_ridge(texts, labels.acc_QK.mean(1), labels.log_tokens_Q)
    return [
        Source("Head", "head", cross_fitted(fit_predict, folds)),
        Source(name, "text", cross_fitted(control, folds)),
    ]


def reported(
    pool: GradedPool, folder: Path, texts: Sequence[str] = (), said: str = "", notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Compare, summarise and write; check what every report must hold, and give report.json."""
    grid = cut_grid(GRID, int(pool.present_QM.sum(1).min()))
    sources = sources_of(pool, grid, texts)
    comparison = compare(pool, budget_labels(pool, grid, 0.02), sources, 0, small_sweeps())
    new_rows = torch.arange(len(pool) - 20, len(pool))
    summary = summarise([comparison], clusters_of(pool.dedup_keys), 0.02, new_rows)
    write_report(summary, comparison, folder, said, said, notes)
    page = (folder / "index.html").read_text(encoding="utf-8")
    words = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)
    for text in (words, (folder / "report.md").read_text(encoding="utf-8")):
        assert not re.search(r"\b(nan|NaN|inf|Infinity|None)\b", text)
    assert not UNSHOWABLE.search(words)
    found: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    return found


def all_but_one_free() -> GradedPool:
    """Ragged; only the last question costs tokens: most folds and many resamples have none."""
    pool = random_pool(NUM, samples=6, ragged=True)
    pool.tokens_QM[:-1] = 0
    return pool


POOLS = {
    "all correct": graded_pool([[0] * 6] * NUM, greedy_right_Q=torch.ones(NUM, dtype=torch.bool)),
    "none correct": graded_pool([[1 + (q + s) % 3 for s in range(6)] for q in range(NUM)]),
    "only abstentions": graded_pool([[ABSTAINED] * 6] * NUM),
    "ragged, all but one free": all_but_one_free(),
    "ragged down to one sample": graded_pool([[(q + s) % 3 - 1 for s in range(1 + q % 6)] for q in range(NUM)]),
}


SURE = {"all correct": 100, "none correct": 0, "only abstentions": 0}
"""Pools whose accuracy in percent is the same however many samples are drawn."""


@pytest.mark.parametrize("name", POOLS)
def test_odd_pools_are_reported_in_numbers(tmp_path: Path, name: str) -> None:
    found = reported(POOLS[name], tmp_path, said=name)
    rows = {row["name"]: row for row in found["rows"]}
    reference = rows["FixedN(N_ref)"]
    assert 0 <= reference["accuracy"]["low"] <= reference["accuracy"]["high"] <= 100
    assert reference["ratio"] == {"value": 1, "low": 1, "high": 1}
    assert ("OwnOracle" in rows) == (name != "ragged down to one sample")
    assert found["claims"]["num_questions"] == NUM
    assert found["repeated"]["num_questions"] == 20
    if name in SURE:  # N_ref is 1 then, and nobody can be better, worse or cheaper
        same = {"value": SURE[name], "low": SURE[name], "high": SURE[name]}
        assert found["n_ref"] == 1
        for row in rows.values():
            assert row["accuracy"] == same or row["name"] == "Greedy"
            assert row["samples"] == 1, row["name"]
            assert row["area"] in (None, {"value": 0, "low": 0, "high": 0}), row["name"]


def test_texts_that_mean_harm_are_shown_as_texts(tmp_path: Path) -> None:
    """Ids, questions, answers, families and the model's name hold markup, control characters and templates."""
    lines = []
    for q in range(NUM):
        evil = f"{EVIL}{q}"
        answers = [evil if s <= q % 6 else f"<img src=x onerror=alert({s})>{EVIL}" for s in range(6)]
        samples = [{"answer": a, "text": a, "tokens": 7 + s, "finish_reason": "stop"} for s, a in enumerate(answers)]
        question = {"id": evil, "question": f"{EVIL} {q} {q % 5}", "answer": evil, "family": EVIL, "size": q % 3}
        lines.append(json.dumps({**question, "samples": samples, "greedy": samples[5], "prompt_tokens": 9}))
    file = tmp_path / "<b>evil.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    import_file(str(file), str(tmp_path / "<i>pool"), model=EVIL.replace("\x00", ""))
    loaded = load_pool(tmp_path / "<i>pool")
    texts = [question.text for question in loaded.questions]
    assert EVIL in texts[0]
    said = f"{loaded.name} {loaded.description} {EVIL}"
    found = reported(loaded.pool, tmp_path / "report", texts, said, [*loaded.notes, said, *loaded.pool.question_ids])
    assert 0 < found["rows"][0]["accuracy"]["value"] < 100
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"<[\s/]*([^\s/>]+)", page)) <= TAGS
    assert page.count("<img") == page.count('<img src="data:image/png;base64,') == 4
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
