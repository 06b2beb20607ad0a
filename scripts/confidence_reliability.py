"""Is the confidence of an answer calibrated? Served rules on held-out questions of a pool: bins, errors, Brier scores.

    python scripts/confidence_reliability.py CONFIG [CONFIG ...] [--seed 0] [--orders 16] [--out FILE.md]

A pool needs its predictions.safetensors (`train.py cross_validate`) with a PriorHead. In each of five outer folds the
head's prior of a test question is the one that the folds' cross-validation has stored, and everything else (votes of
the training questions, how their answers turned out, their mean length) is taken from the fold's training questions.
The line on the log odds that an export has (`t2.stats.log_odds`) is fitted to the answers of the other folds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from t2.answering.confidence import (
    Answers,
    Reliability,
    final_answers,
    joined_answers,
    reliability,
    tempered_right,
)
from t2.comparison.predicted import PredictedPool, load_predicted
from t2.comparison.predictions import PREDICTIONS_FILE
from t2.comparison.sources import OUTER_FOLDS, Folds, Source
from t2.comparison.sweeps import FULL
from t2.curves.labels import reference_budget
from t2.hardware import one_thread
from t2.heads.training_votes import TrainingVotes
from t2.pages.table import Table
from t2.pages.text import number, span
from t2.policies.asc import ASC
from t2.policies.orders import Orders
from t2.policies.stopping import DrawTable
from t2.policies.then_stop import (
    HeadMixtures,
    Prices,
    Priors,
    mixtures_with_everyone,
    priors_of_everyone,
    weights_with_everyone,
)
from t2.pools.load import pool_folder
from t2.stats.bootstrap import clusters_of
from t2.stats.log_odds import fitted_line

HEAD = "PriorHead"
PRICES = {"cheap": 0.8, "middling": 2.2, "dear": 6.5}
"""Points per 1,000 tokens, where a sample has `TOKENS_OF_PRICES`; a dear token stops early."""
ROUND_PRICE, THRESHOLD = 0.25, 0.95
MAIN_RULE = "planned with the head, middling tokens"
KNOBS = tuple((lam, power) for lam in (0.0, 0.2, 0.4, 0.7, 1.0) for power in (0.7, 0.85, 1.0, 1.2, 1.5))
"""Shares of everybody's prior, and what a vote counts as, that are tried."""


@dataclass(frozen=True)
class Side:
    """A fold: priors of its test questions, made from its training questions alone."""

    orders: Orders
    """of the test questions"""
    head: Priors
    """a prior for each"""
    everyone: Priors
    """one for all"""
    scale: float
    """of prices: those of answers as long as the training questions'"""
    n_ref: int
    votes: TrainingVotes
    """of the training questions"""
    spread_JQ: Tensor
    weight_BJ: Tensor
    """of the head, for each test question"""

    def right(self, lam: float, power: float) -> Tensor:
        """P(right | votes) of each test question in each state."""
        mixture_JQ = mixtures_with_everyone(self.spread_JQ)
        weight_BJ = weights_with_everyone(self.weight_BJ, lam)
        return tempered_right(self.votes.atoms, mixture_JQ, weight_BJ, self.head.model.states, power)

    @property
    def rules(self) -> Iterator[tuple[str, DrawTable, Priors, Tensor]]:
        """Name, table, posterior, and each question's prior in it."""
        own_Q = torch.arange(len(self.orders.limit_Q))
        all_Q = torch.zeros_like(own_Q)
        for name, price in PRICES.items():
            prices = [Prices(price * self.scale, ROUND_PRICE)]
            yield f"planned with the head, {name} tokens", self.head.tables(prices)[0], self.head, own_Q
            yield f"planned without a head, {name} tokens", self.everyone.tables(prices)[0], self.everyone, all_Q
        asc = ASC(THRESHOLD, self.n_ref).table
        yield f"ASC({THRESHOLD})", asc, self.everyone, all_Q
        batch_PS = torch.where(asc.states.drawn_S == 0, self.n_ref, 0)[None].to(torch.int16)
        everything = DrawTable(asc.states, batch_PS)
        yield "FixedN(N_ref), no prior of its own", everything, self.everyone, all_Q
        yield "FixedN(N_ref), prior of the head", everything, self.head, own_Q


def load(pool: str, seed: int) -> tuple[PredictedPool, Source]:
    """A pool, or the config that fills it, with what its `PriorHead` says of each question, out of fold."""
    found = load_predicted(pool, pool_folder(pool) / PREDICTIONS_FILE, None)
    (source,) = [each for each in found.stored.by_seed[seed] if each.name == HEAD]
    return found, source


def sides_of(found: PredictedPool, source: Source, seed: int, num_orders: int) -> Iterator[Side]:
    """Every outer fold."""
    pool, labels = found.pool, found.labels
    folds, orders = Folds.of(pool.dedup_keys, seed), Orders.of(pool, num_orders, seed)
    for fold in range(OUTER_FOLDS):
        learn, held = folds.train_rows(fold), folds.test_rows(fold)
        train, known = pool.take(learn), source.folds[fold].test
        votes, n_ref = TrainingVotes.of(train, labels.take(learn)), reference_budget(labels.take(learn))
        scale = FULL.priced_for(train).plan_prices[0] / FULL.plan_prices[0]
        weight_BJ = known.prediction.atom_weights_BJ
        assert known.fit_B is not None
        assert weight_BJ is not None
        fit = known.fits[int(known.fit_B[0])]  # all test questions of a fold were held out by one fit
        spread_JQ = fit.spread(votes.count_Q3, votes.right_Q)
        mixtures = HeadMixtures.of(votes, spread_JQ, fit.lam, n_ref)
        head = mixtures.priors(weight_BJ, known.prediction.log_tokens_B.double().exp())
        everyone, own_orders = priors_of_everyone(votes, n_ref), orders.take(held)
        yield Side(own_orders, head, everyone, scale, n_ref, votes, spread_JQ, weight_BJ)


def measured(found: PredictedPool, source: Source, seed: int, num_orders: int) -> dict[str, tuple[Reliability, ...]]:
    """Every rule on all questions, each in the fold that holds it out: as served, and without the line."""
    answers: dict[str, list[Answers]] = {}
    for side in sides_of(found, source, seed, num_orders):
        for name, table, priors, prior_Q in side.rules:
            own = final_answers(table, priors.model, side.orders, prior_Q, priors.greedy_right_P)
            answers.setdefault(name, []).append(own)
    folds, clusters_Q = Folds.of(found.pool.dedup_keys, seed), clusters_of(found.pool.dedup_keys)
    rows = [folds.test_rows(fold) for fold in range(OUTER_FOLDS)]

    def of(parts: list[Answers]) -> Reliability:
        return reliability(joined_answers(parts, rows), clusters_Q)

    return {name: (of(on_line(parts)), of(parts)) for name, parts in answers.items()}


def on_line(parts: Sequence[Answers]) -> list[Answers]:
    """The answers of each fold with the line of the others."""
    return [_on_line(part, _without(parts, fold)) for fold, part in enumerate(parts)]


def summary_table(found: dict[str, tuple[Reliability, ...]]) -> Table:
    """A row a rule."""
    columns = (
        "rule",
        "samples",
        "right, %",
        "confidence - right, points",
        "ECE, points",
        "Brier",
        "of a constant",
        "AUROC",
        "the posterior alone: confidence - right",
        "ECE",
    )
    rows = tuple(
        (
            name,
            number(each.samples, 1),
            span(each.right, 1, 100),
            span(each.gap, 1, 100),
            number(100 * each.calibration_error, 1),
            span(each.brier, 3),
            number(each.base_brier, 3),
            number(each.auroc),
            span(alone.gap, 1, 100),
            number(100 * alone.calibration_error, 1),
        )
        for name, (each, alone) in found.items()
    )
    return Table(columns, rows)


def bins_table(found: Reliability) -> Table:
    """A row a bin."""
    rows = tuple(
        (
            f"{each.low:.1f} to {each.high:.1f}",
            number(100 * each.share, 1),
            number(100 * each.confidence, 1),
            span(each.right, 1, 100),
        )
        for each in found.bins
    )
    return Table(("confidence", "answers, %", "mean confidence, %", "right, %"), rows)


def report(pool: str, seed: int, num_orders: int) -> str:
    """The tables of one pool, in Markdown."""
    found, source = load(pool, seed)
    own = measured(found, source, seed, num_orders)
    parts = [
        f"### {found.loaded.name}: {len(found.pool)} questions, {num_orders} orders of their samples, fold seed {seed}",
        summary_table(own).markdown(),
        f"{MAIN_RULE[0].upper()}{MAIN_RULE[1:]}:",
        bins_table(own[MAIN_RULE][0]).markdown(),
        "Could the confidence be better? The rule stays, what is said at its stop changes:",
        mended(found, source, seed, num_orders).markdown(),
    ]
    return "\n\n".join(parts)


def mended(found: PredictedPool, source: Source, seed: int, num_orders: int) -> Table:
    """What would make the confidence of the planned rule better, each chosen or fitted on the answers of other folds.

    The rule stays as it is: only what is said at its stop changes. `lam` is the share of everybody's prior, `power` how
    much a vote counts, and the straight line is fitted to the log odds (Platt 1999).
    """
    folds, clusters_Q = Folds.of(found.pool.dedup_keys, seed), clusters_of(found.pool.dedup_keys)
    rows = [folds.test_rows(fold) for fold in range(OUTER_FOLDS)]
    as_served, others = list[Answers](), {knob: list[Answers]() for knob in KNOBS}
    for side in sides_of(found, source, seed, num_orders):
        answers = next(
            final_answers(table, priors.model, side.orders, prior_Q, priors.greedy_right_P)
            for name, table, priors, prior_Q in side.rules
            if name == MAIN_RULE
        )
        as_served.append(answers)
        for knob, parts in others.items():
            right_QS = side.right(*knob)
            said = right_QS[answers.question, answers.state.clamp(min=0)]
            parts.append(replace(answers, confidence=torch.where(answers.state < 0, answers.confidence, said)))
    best = [min(KNOBS, key=lambda knob: _loss(_without(others[knob], fold))) for fold in range(OUTER_FOLDS)]
    chosen = "; ".join(f"{lam:g} and {power:g}" for lam, power in sorted(set(best)))
    variants = {
        "the posterior alone": as_served,
        f"lam and power of the other folds, {chosen}": [others[knob][fold] for fold, knob in enumerate(best)],
        "as served, a line on the log odds, fitted to the other folds": on_line(as_served),
    }
    table = []
    for name, parts in variants.items():
        each = reliability(joined_answers(parts, rows), clusters_Q)
        cells = (span(each.gap, 1, 100), number(100 * each.calibration_error, 1), span(each.brier, 3))
        table.append((name, *cells))
    return Table(("confidence", "confidence - right, points", "ECE, points", "Brier"), tuple(table))


def _without(parts: Sequence[Answers], fold: int) -> Answers:
    """The answers of all folds but one."""
    kept = [part for place, part in enumerate(parts) if place != fold]
    return joined_answers(kept, [torch.arange(int(part.question.max()) + 1) for part in kept])


def _loss(answers: Answers) -> float:
    """Mean log loss."""
    confidence = answers.confidence.clamp(1e-6, 1 - 1e-6)
    return float(torch.nn.functional.binary_cross_entropy(confidence, answers.right))


def _on_line(answers: Answers, learn: Answers) -> Answers:
    line = fitted_line(learn.confidence, learn.right)
    if line is None:
        return answers
    said = torch.tensor([line.of(each) for each in answers.confidence.tolist()], dtype=torch.float64)
    return replace(answers, confidence=said)


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description="How far the confidence of answers can be believed.")
    parser.add_argument("pools", nargs="+", help="pools with predictions.safetensors: their folders, or configs")
    parser.add_argument("--seed", type=int, default=0, help="fold seed")
    parser.add_argument("--orders", type=int, default=16, help="random orders of each question's samples")
    parser.add_argument("--out", type=Path, help="Markdown file; by default the terminal")
    settings = parser.parse_args()
    with one_thread():
        text = "\n\n".join(report(pool, settings.seed, settings.orders) for pool in settings.pools)
    if settings.out is None:
        print(text)
    else:
        settings.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
