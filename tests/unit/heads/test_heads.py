"""Heads: losses against reference implementations, statistics by hand, tiny problems learned, records round trip."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from itertools import combinations
from pkgutil import iter_modules

import pytest
import torch
from coral_pytorch.dataset import corn_label_from_logits
from coral_pytorch.losses import corn_loss as coral_corn_loss
from helpers.graded_pools import graded_pool
from helpers.targets import targets
from torch import Tensor

import t2.heads
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.head_record import HeadRecord
from t2.heads import HEADS, CurveHead, Head, HeadShape, LayerwiseRegression, OrdinalHead, Targets
from t2.heads.base import HEAD_FOLDS, MAX_OUTPUTS, Standardise, rms_normalised, targets_of
from t2.heads.medoids import medoids
from t2.heads.ordinal import corn_loss

SHAPE = HeadShape(num_layers=2, width=16, grid=(1, 3, 5, 7), label_grid=(1, 3))
RISING, FLAT, HOPELESS = [0.4, 0.6, 0.8, 0.9], [0.95, 0.96, 0.97, 0.97], [0.0, 0.0, 0.0, 0.0]
MAKERS: dict[str, Callable[[HeadShape], Head]] = {
    "curve": lambda shape: CurveHead(shape, num_atoms=4, dropout=0.0),
    "ordinal": lambda shape: OrdinalHead(shape, dropout=0.0),
    "ordinal merged": lambda shape: OrdinalHead(shape, dropout=0.0, merge_never=True),
    "layerwise": lambda shape: LayerwiseRegression(shape, dropout=0.0),
}


@pytest.fixture(params=MAKERS)
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    return MAKERS[request.param](SHAPE)


def problem(num: int = 60) -> tuple[Tensor, Targets]:
    """Features whose first coordinates tell three kinds of questions apart; lengths rise with the kind."""
    generator = torch.Generator().manual_seed(1)
    kind_Q = torch.arange(num) % 3
    pooled = 0.3 * torch.randn(num, 2, 16, generator=generator)
    pooled[torch.arange(num), :, kind_Q] += 2.0
    acc = torch.tensor([FLAT, RISING, HOPELESS])[kind_Q]
    fold = torch.randint(HEAD_FOLDS, (num,), generator=generator)
    return pooled, targets(acc, (kind_Q == 1).long(), kind_Q == 2, 3.0 + 0.5 * kind_Q, fold)


def trained(head: Head, steps: int = 60) -> tuple[Tensor, Tensor]:
    """Fit on `problem` with full batches; the loss before and after."""
    pooled, targets = problem()
    head.start_stage(pooled, targets)
    first = head.loss(head(pooled), targets).detach()
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        head.loss(head(pooled), targets).backward()
        optimizer.step()
    with torch.no_grad():
        head.finish_epoch(pooled, targets)
        return first, head.loss(head(pooled), targets)


@pytest.mark.parametrize("seed", range(5))
def test_corn_loss_is_that_of_coral_pytorch(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(40, 6, generator=generator)
    classes = torch.randint(0, 7, (40,), generator=generator)
    torch.testing.assert_close(corn_loss(logits, classes), coral_corn_loss(logits, classes, 7))
    lowest = torch.zeros(40, dtype=torch.long)
    torch.testing.assert_close(corn_loss(logits, lowest), coral_corn_loss(logits, lowest, 7))


def test_corn_loss_survives_extreme_logits() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]])
    assert corn_loss(logits, torch.tensor([1, 0])) < 1e-6
    assert torch.isfinite(corn_loss(logits, torch.tensor([0, 2])))


def test_ordinal_probabilities_are_cumulative_products() -> None:
    shape = HeadShape(1, 4, (1, 3, 5, 7, 9), (1, 3, 5, 7))
    raw = 3 * torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    prediction = OrdinalHead(shape).predict(raw)
    cdf = prediction.n_star_cdf_BK
    torch.testing.assert_close(1 - cdf, torch.cumprod(torch.sigmoid(raw[:, :4]), 1))
    assert torch.equal((1 - cdf > 0.5).sum(1), corn_label_from_logits(raw[:, :4]))
    mass = torch.cat([cdf[:, :1], cdf.diff(dim=1), 1 - cdf[:, -1:]], 1)
    torch.testing.assert_close(mass.sum(1), torch.ones(50))
    log2 = torch.tensor([1.0, 3.0, 5.0, 7.0, 1.0]).log2()  # "never" gets one sample
    torch.testing.assert_close(prediction.log2_n_B, mass @ log2, rtol=1e-4, atol=1e-5)


def test_outputs_losses_and_shapes(head: Head) -> None:
    pooled, targets = problem()
    head.start_stage(pooled, targets)
    raw = head(pooled)
    assert raw.shape == (60, head.num_outputs)
    assert head.num_outputs <= MAX_OUTPUTS
    assert torch.isfinite(head.loss(raw, targets))
    prediction = head.predict(raw)
    assert prediction.log_tokens_B.shape == prediction.log2_n_B.shape == (60,)
    assert (prediction.accuracy_BK is not None) == head.gives_curve
    for part, width in ((prediction.accuracy_BK, 4), (prediction.n_star_cdf_BK, 2), (prediction.atom_weights_BJ, 4)):
        assert part is None or part.shape == (60, width)
    assert head.score(prediction).shape == (60,)
    some = prediction.take(torch.tensor([3, 5]))
    assert torch.equal(some.log_tokens_B, prediction.log_tokens_B[[3, 5]])
    assert (some.accuracy_BK is None) == (prediction.accuracy_BK is None)


def test_half_precision_features_are_read(head: Head) -> None:
    pooled, _ = problem()
    assert head(pooled.bfloat16()).dtype == torch.float32


def test_a_tiny_problem_is_learned(head: Head) -> None:
    first, last = trained(head)
    pooled, targets = problem()
    assert torch.isfinite(first)
    assert last < 0.7 * first
    prediction = head.eval().predict(head(pooled))
    assert (prediction.log_tokens_B - targets.log_tokens_B).abs().mean() < 0.1
    rising = (targets.n_star_B == 1) & ~targets.never_B
    assert prediction.log2_n_B[rising].mean() > prediction.log2_n_B[~rising].mean() + 0.5


def test_merged_target_trains_never_as_one_sample() -> None:
    shape, raw = SHAPE, torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    classes, never = torch.tensor([0, 1, 1, 0]), torch.tensor([True, True, False, False])
    made_up = targets(torch.zeros(4, 4), classes, never, torch.zeros(4), classes)
    merged, own = OrdinalHead(shape, merge_never=True), OrdinalHead(shape)
    torch.testing.assert_close(merged.budget_loss(raw, made_up), corn_loss(raw[:, :2], torch.tensor([0, 0, 1, 0])))
    torch.testing.assert_close(own.budget_loss(raw, made_up), corn_loss(raw[:, :2], torch.tensor([2, 2, 1, 0])))


def test_loss_is_the_budgets_and_half_the_squared_length_error(head: Head) -> None:
    pooled, targets = problem()
    head.start_stage(pooled, targets)
    raw = head(pooled) + 0.3
    length = 0.5 * ((targets.log_tokens_B.mean() + raw[:, -1] - targets.log_tokens_B) ** 2).mean()
    torch.testing.assert_close(head.loss(raw, targets), head.budget_loss(raw, targets) + length)


def test_standardise_statistics() -> None:
    pooled = 5 + torch.randn(200, 2, 8, generator=torch.Generator().manual_seed(0))
    layer = Standardise(2, 8)
    torch.testing.assert_close(layer(pooled), rms_normalised(pooled))
    torch.testing.assert_close(rms_normalised(pooled).square().mean(2), torch.ones(200, 2), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rms_normalised(1000 * pooled), rms_normalised(pooled), rtol=1e-5, atol=1e-5)
    layer.fit(pooled)
    torch.testing.assert_close(layer(pooled).mean(0), torch.zeros(2, 8), rtol=0, atol=1e-4)
    torch.testing.assert_close(layer(pooled).std(0), torch.ones(2, 8), rtol=0, atol=0.02)
    assert not list(layer.parameters())


def test_training_starts_from_the_constant_prediction(head: Head) -> None:
    pooled, targets = problem()
    head.start_stage(pooled, targets)
    prediction = head.predict(head(pooled))
    torch.testing.assert_close(prediction.log_tokens_B, targets.log_tokens_B.mean().expand(60))
    assert prediction.log2_n_B.unique().numel() == 1


def test_layer_weights_are_inverse_out_of_fold_errors() -> None:
    torch.manual_seed(0)
    head = LayerwiseRegression(SHAPE, dropout=0.0)
    trained(head, steps=30)
    pooled, targets = problem()
    mu = head(pooled)[:, :-1].reshape(60, 1 + HEAD_FOLDS, 2).detach()
    inverse = []
    for layer in range(2):
        errors = []
        for q in range(60):
            n_star = 1 if targets.never_B[q] else SHAPE.label_grid[targets.n_star_B[q]]
            held_out = mu[q, 1 + int(targets.fold_B[q]), layer]
            errors.append(float(held_out - torch.tensor(float(n_star)).log2()) ** 2)
        inverse.append(1 / (sum(errors) / 60))
    expected = torch.tensor(inverse) / sum(inverse)
    torch.testing.assert_close(head.layer_weight_L, expected, rtol=1e-4, atol=1e-6)
    prediction = head.predict(head(pooled))
    torch.testing.assert_close(prediction.log2_n_B, mu[:, 0] @ expected, rtol=1e-4, atol=1e-5)


def test_inner_mlps_never_learn_from_their_own_fold() -> None:
    head = LayerwiseRegression(SHAPE, dropout=0.0)
    pooled, targets = problem()
    raw = head(pooled).detach().requires_grad_()
    head.budget_loss(raw, targets).backward()
    gradient = raw.grad[:, :-1].reshape(60, 1 + HEAD_FOLDS, 2)
    for fold in range(HEAD_FOLDS):
        mine = targets.fold_B == fold
        assert mine.any()
        assert (gradient[mine, 1 + fold] == 0).all()
        hard = ~mine & (targets.n_star_B == 1) & ~targets.never_B
        assert hard.any()
        assert (gradient[hard, 1 + fold] != 0).all()


def test_predicted_curves_are_mixtures_of_atoms() -> None:
    torch.manual_seed(0)
    head = CurveHead(SHAPE, num_atoms=4, dropout=0.0)
    trained(head, steps=40)
    pooled, targets = problem()
    prediction = head.predict(head(5 * pooled))
    weights, atoms = prediction.atom_weights_BJ, head.atom_curve_JK
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(60))
    torch.testing.assert_close(prediction.accuracy_BK, weights @ atoms)
    training_curves = {tuple(row) for row in targets.acc_BK.tolist()}
    assert {tuple(row) for row in atoms.tolist()} == training_curves  # three kinds on four atoms: one repeats


def test_a_new_stage_keeps_what_was_learned() -> None:
    torch.manual_seed(0)
    head = CurveHead(SHAPE, num_atoms=3, dropout=0.0)
    trained(head)
    pooled, targets = problem()
    before = head.predict(head(pooled)).accuracy_BK
    head.start_stage(pooled, targets)
    torch.testing.assert_close(head.predict(head(pooled)).accuracy_BK, before)


def test_curve_heads_n_star_is_read_off_its_curve() -> None:
    head = CurveHead(SHAPE, num_atoms=2, eps=0.02)
    head.atom_curve_JK.copy_(torch.tensor([[0.4, 0.6, 0.8, 0.9], [0.5, 0.51, 0.5, 0.5]]))
    raw = torch.tensor([[30.0, 0.0, 0.0], [0.0, 30.0, 0.0]])
    torch.testing.assert_close(head.predict(raw).log2_n_B, torch.tensor([3.0, 1.0]).log2())


@pytest.mark.parametrize("seed", range(8))
def test_medoids_of_separate_clusters_are_the_best(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres[torch.arange(15) % 3] + torch.randn(15, 2, generator=generator)
    distance = torch.cdist(points.double(), points.double())
    best = min(combinations(range(15), 3), key=lambda rows: float(distance[:, list(rows)].amin(1).sum()))
    assert medoids(points, 3, seed=seed).tolist() == list(best)
    assert medoids(points, 1).tolist() == [int(distance.sum(1).argmin())]
    assert medoids(points, 15).tolist() == list(range(15))


@pytest.mark.parametrize("seed", range(30))
def test_medoids_are_distinct_and_repeatable(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 3, (60, 2), generator=generator) / 3 + 0.1
    chosen = medoids(points, 12, seed=seed)
    assert torch.equal(chosen, medoids(points, 12, seed=seed))
    rows = [tuple(row) for row in points[chosen].tolist()]
    assert len(set(rows)) == len(rows) <= 9  # nine distinct points


def test_record_and_state_round_trip(head: Head) -> None:
    trained(head, steps=5)
    record = HeadRecord.from_json(json.loads(json.dumps(HeadRecord.of(head).as_json())), "here")
    copy = record.untrained_head()
    copy.load_state_dict(head.state_dict())
    assert type(copy) is type(head)
    assert copy.shape == head.shape
    assert copy.arguments == head.arguments
    pooled, _ = problem()
    assert torch.equal(copy.eval()(pooled), head.eval()(pooled))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CurveHead(SHAPE, num_atoms=127), "Expected `num_atoms` from 2 to 126, got 127"),
        (lambda: CurveHead(SHAPE, num_atoms=1), "Expected `num_atoms` from 2 to 126, got 1"),
        (lambda: LayerwiseRegression(HeadShape(43, 8, (1, 3), (1,))), "at most 42 layers for .*, got 43"),
        (lambda: OrdinalHead(HeadShape(1, 8, tuple(range(1, 301)), tuple(range(1, 151)))), "at most 126 .*, got 150"),
    ],
    ids=["CurveHead", "one atom", "LayerwiseRegression", "OrdinalHead"],
)
def test_more_outputs_than_serving_reads(make: Callable[[], Head], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        make()


def test_largest_heads_still_fit() -> None:
    assert CurveHead(SHAPE, num_atoms=126).num_outputs == MAX_OUTPUTS
    assert LayerwiseRegression(HeadShape(42, 8, (1, 3), (1,))).num_outputs == MAX_OUTPUTS


def test_every_head_is_on_the_whitelist() -> None:
    assert set(HEADS) == {"CurveHead", "PriorHead", "OrdinalHead", "LayerwiseRegression"}
    modules = [import_module(f"t2.heads.{module.name}") for module in iter_modules(t2.heads.__path__)]
    there = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    assert {each for each in there if issubclass(each, Head)} - {Head} == set(HEADS.values())


def test_targets_of_labels() -> None:
    pool = replace(graded_pool([[0] * 8, [1] * 8]), dedup_keys=("a", "a"))
    labels = budget_labels(pool, (1, 3, 5, 7), eps=0.02)
    targets = targets_of(labels, pool)
    assert targets.acc_BK.dtype == targets.log_tokens_B.dtype == torch.float32
    assert targets.fold_B[0] == targets.fold_B[1]  # duplicates share the inner fold
    assert targets.never_B.tolist() == [False, True]
    assert targets.take(torch.tensor([1])).never_B.tolist() == [True]
