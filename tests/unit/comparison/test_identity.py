"""Display names: made in one place, read nowhere."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from helpers.compared import LABELS, POOL, SMALL, knowing

from t2.comparison import identity
from t2.comparison.compare import compare
from t2.comparison.identity import GENERATOR, TFIDF, Key, Role, display_name_of
from t2.comparison.key_rows import key_markdown, key_places
from t2.comparison.ladder import KNOWS
from t2.comparison.report import frontier_lines, without_infinities
from t2.comparison.sources import FoldKnown, Known, Source, SourceKind
from t2.comparison.summary import summarise
from t2.heads.base import Prediction
from t2.policies.one_round import Utility
from t2.stats.bootstrap import clusters_of
from t2.training.accuracy_cost import ValidationResult


def with_n_star(known: Known) -> Known:
    """The same and a predicted N*."""
    return replace(known, prediction=replace(known.prediction, log2_n_B=torch.ones(len(known.score_B))))


def sources() -> list[Source]:
    """Two heads, of which one predicts N* too, and controls that have rungs and rows of their own."""
    head = knowing(0.1)
    folds = tuple(FoldKnown(with_n_star(fold.train), with_n_star(fold.test)) for fold in head.folds)
    names: tuple[tuple[str, SourceKind], ...] = (
        (GENERATOR, "generator"),
        (TFIDF, "text"),
        (identity.BEST_LAYER, "activations"),
    )
    controls = [Source(name, kind, knowing(0.3, seed).folds) for seed, (name, kind) in enumerate(names)]
    return [head, replace(head, name="LayerwiseRegression", folds=folds), *controls]


NAMES = ("name", "first", "second", "made_of")
"""Fields of report.json that hold display names; the keys of "named" are some too."""


def everything() -> dict[str, Any]:
    """report.json, names of the key rows and of the picture, and what a validation takes for its policy's sweep."""
    comparison = compare(POOL, LABELS, sources(), 0, SMALL)
    summary = summarise([comparison], clusters_of(POOL.dedup_keys), 0.02, torch.arange(30, len(POOL)))
    report: dict[str, Any] = json.loads(json.dumps(without_infinities(asdict(summary))))
    shown = [line.split(" | ")[0].removeprefix("| ") for line in key_markdown(summary, "").splitlines()]
    frontiers = [line.frontier for line in frontier_lines(comparison)]
    truth = Prediction(LABELS.log_tokens_Q.float(), LABELS.acc_QK)
    own = ValidationResult("Truth", Utility(5.0), POOL, LABELS, truth).own
    assert (own.policy, own.source) == ("Utility", "Truth")
    report["key rows"] = [{"name": place.name} for place in key_places(summary)]
    assert all(any(text.startswith(row["name"]) for text in shown) for row in report["key rows"])
    report["picture"] = [{"name": frontier.name} for frontier in frontiers]
    return report


def translated(value: Any, names: dict[str, str], key: str = "") -> Any:
    """Every display name as another one; what the folds chose is sorted by name, so it is sorted anew."""
    if isinstance(value, dict):
        if key == "named":
            return {names[title]: translated(made_of, names, "made_of") for title, made_of in value.items()}
        return {part: translated(item, names, part) for part, item in value.items()}
    if isinstance(value, list):
        items = [translated(item, names, key) for item in value]
        return sorted(items) if key == "made_of" else items
    return names[value] if key in NAMES and value in names else value


def test_another_display_name_changes_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ladder, claims, key rows, picture and validation looked contenders up by display names and parsed them."""
    names: dict[str, str] = {}

    def opaque(which: Key | Role) -> str:
        plain = display_name_of(which)
        return names.setdefault(plain, f"row {len(names)}")

    plain = everything()
    monkeypatch.setattr(identity, "display_name_of", opaque)
    renamed = everything()
    assert {row["name"] for row in renamed["rows"]} <= set(names.values())
    assert len(renamed["ladder"]) == len(KNOWS)  # all rungs there are
    assert translated(plain, names) == translated(renamed, {name: name for name in names.values()})
    kept = [row["name"] for row in plain["key rows"]]
    assert kept[0] == "Oracle head + Utility"
    assert {"no head, planned rounds", "ASC", "LayerwiseRegression + PredictedN"} <= set(kept)
    pictures = [row["name"] for row in plain["picture"]]
    assert pictures[:3] == ["Oracle head + Utility", "FixedN", "Greedy"]
    assert {"best layer ridge + bins + Utility", "LayerwiseRegression + PredictedN"} <= set(pictures)


@pytest.mark.parametrize(
    ("which", "name"),
    [
        (Key("FixedN"), "FixedN"),
        (Role.REFERENCE, "FixedN(N_ref)"),
        (Key("Utility", "CurveHead"), "CurveHead + Utility"),
        (Key("Utility", "CurveHead", in_bins=True), "CurveHead + bins + Utility"),
        (Key("BlendedUtility", "CurveHead"), "CurveHead + own and bins + Utility"),
        (Key("HeadThenStop", TFIDF), "TF-IDF ridge + HeadThenStop"),
        (Key("DSC", "CurveHead"), "DSC by CurveHead"),
        (Key("DSC"), "DSC by other-fold mean correct"),
        (Role.TEXT_ONE_ROUND, "TF-IDF ridge, one round"),
    ],
)
def test_display_names(which: Key | Role, name: str) -> None:
    assert which.display_name == name


def test_every_role_has_a_name_of_its_own() -> None:
    assert len({role.display_name for role in Role}) == len(Role)
