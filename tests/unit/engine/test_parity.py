"""The comparison of features and decisions, without an engine: readings made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.engine_heads import export_for, questions
from helpers.tiny_models import TINY_ARITH
from torch import Tensor

from t2 import BudgetHead, T2Error
from t2.cli import main
from t2.engine.head_columns import HeadColumns
from t2.engine.parity import LayerParity, Parity, compare, parity_table
from t2.engine.parity_command import questions_at
from t2.engine.reading import EngineReading, take_recorded

NUM = 30


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> BudgetHead:
    return BudgetHead.from_pretrained(export_for(TINY_ARITH, tmp_path_factory.mktemp("parity") / "head", "CurveHead"))


@pytest.fixture(scope="module")
def pooled(head: BudgetHead) -> Tensor:
    return head.activations(questions(NUM), TINY_ARITH)


def reading(head: BudgetHead, pooled_QLD: Tensor) -> EngineReading:
    """What an engine gives that reads so."""
    raw = torch.stack([head.raw(each) for each in pooled_QLD])
    return EngineReading(raw, pooled_QLD, raw)


def parity_of(pairs: list[tuple[int, int]]) -> Parity:
    layers = (LayerParity(4, 0.99, 1.0, 0.8, 0.93), LayerParity(20, 0.99, 1.0, 0.9, 0.9985))
    return Parity(layers, tuple(a for a, _ in pairs), tuple(b for _, b in pairs), (1, 3, 5, 7), 0.0, 0.0, 0.0)


def test_the_same_features_give_the_same(head: BudgetHead, pooled: Tensor) -> None:
    parity = compare(head, pooled, reading(head, pooled))
    parity.check()
    assert parity.agreement == 1
    assert parity.differing == ()
    assert len(set(parity.plain_n_Q)) > 1
    assert parity.batch_difference == 0
    assert parity.raw_difference < 1e-4  # the head runs on all prompts at once here
    assert parity.decoding_difference < 1e-4
    assert [each.layer for each in parity.layers] == list(head.layers)
    assert all(each.smallest == pytest.approx(1) == each.mean_standardised for each in parity.layers)


def test_other_features_show(head: BudgetHead, pooled: Tensor) -> None:
    """Cosines against numpy's, of a layer that reads something else altogether."""
    other = pooled.clone()
    other[:, 1] = pooled.flip(0)[:, 1]
    parity = compare(head, pooled, reading(head, other))
    a, b = pooled[:, 1].double().numpy(), other[:, 1].double().numpy()
    cosines = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)) ** 0.5
    first, second = parity.layers
    assert first.smallest == pytest.approx(1)
    assert second.smallest == pytest.approx(cosines.min(), abs=1e-5)
    assert second.mean == pytest.approx(cosines.mean(), abs=1e-5)
    # What all prompts have in common hides the difference: standardised features show it.
    assert second.mean_standardised < second.mean
    assert parity.raw_difference > 0.1


def test_what_a_probe_misreads_shows(head: BudgetHead, pooled: Tensor) -> None:
    right = reading(head, pooled)
    parity = compare(head, pooled, EngineReading(right.raw_QO, pooled, right.alone_QO + 0.5))
    assert parity.decoding_difference == pytest.approx(0.5, abs=1e-4)
    assert parity.batch_difference == pytest.approx(0.5, abs=1e-4)


def test_one_in_a_hundred_may_differ() -> None:
    parity_of([(3, 3)] * 99 + [(3, 5)]).check()
    with pytest.raises(
        T2Error, match=r"at least 99% of the prompts, got 97\.0% \(3 of 100 differ, 2 by more than a step"
    ) as caught:
        parity_of([(3, 3)] * 97 + [(3, 5), (1, 5), (7, 1)]).check()
    assert "least alike here: layer 4, cosine 0.930 after standardising" in str(caught.value)


def test_steps_are_of_the_grid_or_of_samples() -> None:
    assert parity_of([(3, 5), (7, 5), (1, 3)]).further_apart == 0
    assert parity_of([(3, 7), (4, 5), (4, 6)]).further_apart == 2


def test_the_table_says_it(head: BudgetHead, pooled: Tensor) -> None:
    table = parity_table(compare(head, pooled, reading(head, pooled)), "A head")
    assert table.columns[0] == "layer"
    assert [row[0] for row in table.rows] == ["2", "4"]
    assert f"{NUM} of {NUM} prompts get the same number of samples (100.0%); 0 differ." in table.note


def test_the_last_chunk_of_a_prompt_is_its_end(head: BudgetHead) -> None:
    class Model:
        t2_columns = HeadColumns(head.head, 64)

    Model.t2_columns.record = [torch.zeros(1, 2, 128), torch.ones(1, 2, 128)]
    assert torch.equal(take_recorded(Model), torch.ones(2, 128))
    with pytest.raises(T2Error, match="Expected features of a prompt in the engine, got none"):
        take_recorded(Model)


def test_questions_of_a_file_and_of_a_pool(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(json.dumps({"question": f"{n}+1"}) for n in range(10)))
    assert questions_at(str(file)) == [f"{n}+1" for n in range(10)]
    assert questions_at(str(file), most=4) == ["0+1", "3+1", "6+1", "9+1"]
    with pytest.raises(T2Error, match="Expected at least 1 question to check, got 0"):
        questions_at(str(file), most=0)
    pool = questions_at(str(TINY_ARITH.parent / "pools" / "tiny-arith"), most=50)
    assert 0 < len(pool) <= 50
    assert pool == questions_at("configs/tiny-arith.yaml", most=50)


def test_a_decision_without_activations_has_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from helpers.exports import ASC, save_without

    folder, file = save_without(ASC, tmp_path / "head"), tmp_path / "questions.jsonl"
    file.write_text('{"question": "1+1"}')
    with pytest.raises(SystemExit):
        main(["export", str(folder), "--check", str(file), "--model", str(TINY_ARITH)])
    assert "Expected a head that reads activations, got a decision without" in capsys.readouterr().err
