"""Is the confidence of an answer calibrated? Served rules on held-out questions of a pool: bins, errors, Brier scores.

    python scripts/confidence_reliability.py CONFIG [CONFIG ...] [--seed 0] [--orders 16] [--out FILE.md]

A pool needs its predictions.safetensors (`train.py cross_validate`) with a PriorHead. In each of five outer folds the
head's prior of a test question is the one that the folds' cross-validation has stored, and everything else (votes of
the training questions, how their answers turned out, their mean length) is taken from the fold's training questions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from t2.comparison.predicted import PredictedPool, load_predicted
from t2.comparison.predictions import PREDICTIONS_FILE
from t2.comparison.sources import OUTER_FOLDS, Folds, Known, Source
from t2.comparison.sweeps import FULL
from t2.curves.labels import reference_budget
from t2.hardware import one_thread
from t2.heads.training_votes import TrainingVotes
from t2.pages.table import Table
from t2.pages.text import number, span
from t2.policies.asc import ASC
from t2.policies.orders import Orders
from t2.policies.stopping import DrawTable
from t2.policies.then_stop import HeadMixtures, Prices, Priors, priors_of_everyone
from t2.pools.load import pool_folder
from t2.serving.confidence import Answers, Reliability, final_answers, joined_answers, reliability
from t2.stats.bootstrap import clusters_of

HEAD = "PriorHead"
PRICES = {"cheap": 0.8, "middling": 2.2, "dear": 6.5}
"""Points per 1,000 tokens, where a sample has `TOKENS_OF_PRICES`; a dear token stops early."""
ROUND_PRICE, THRESHOLD = 0.25, 0.95
LAMS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of everybody's prior that are tried; chosen on the training questions of each fold."""


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


def sides_of(found: PredictedPool, source: Source, seed: int, num_orders: int, lam: float | None) -> Iterator[Side]:
    """Every outer fold; `lam` in place of the head's own."""
    pool, labels = found.pool, found.labels
    folds, orders = Folds.of(pool.dedup_keys, seed), Orders.of(pool, num_orders, seed)
    for fold in range(OUTER_FOLDS):
        learn, held = folds.train_rows(fold), folds.test_rows(fold)
        train, known = pool.take(learn), source.folds[fold].test
        votes, n_ref = TrainingVotes.of(train, labels.take(learn)), reference_budget(labels.take(learn))
        scale = FULL.priced_for(train).plan_prices[0] / FULL.plan_prices[0]
        head = _head_priors(known, votes, n_ref, lam)
        yield Side(orders.take(held), head, priors_of_everyone(votes, n_ref), scale, n_ref)


def _head_priors(known: Known, votes: TrainingVotes, cap: int, lam: float | None) -> Priors:
    assert known.fit_B is not None
    assert known.prediction.atom_weights_BJ is not None
    (number_of_fit,) = set(known.fit_B.tolist())
    fit = known.fits[number_of_fit]
    spread_JQ = fit.spread(votes.count_Q3, votes.right_Q)
    mixtures = HeadMixtures.of(votes, spread_JQ, fit.lam if lam is None else lam, cap)
    return mixtures.priors(known.prediction.atom_weights_BJ, known.prediction.log_tokens_B.double().exp())


def measured(
    found: PredictedPool, source: Source, seed: int, num_orders: int, lam: float | None = None
) -> dict[str, Reliability]:
    """Every rule on all questions, each in the fold that holds it out."""
    answers: dict[str, list[Answers]] = {}
    for side in sides_of(found, source, seed, num_orders, lam):
        for name, table, priors, prior_Q in side.rules:
            own = final_answers(table, priors.model, side.orders, prior_Q, priors.greedy_right_P)
            answers.setdefault(name, []).append(own)
    folds, clusters_Q = Folds.of(found.pool.dedup_keys, seed), clusters_of(found.pool.dedup_keys)
    rows = [folds.test_rows(fold) for fold in range(OUTER_FOLDS)]
    return {name: reliability(joined_answers(parts, rows), clusters_Q) for name, parts in answers.items()}


def summary_table(found: dict[str, Reliability]) -> Table:
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
        )
        for name, each in found.items()
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
        "With the head, middling tokens:",
        bins_table(own["planned with the head, middling tokens"]).markdown(),
        "The same at other shares of everybody's prior (lam; the head's own is 0.4 unless it was set):",
        by_lam(found, source, seed, num_orders).markdown(),
    ]
    return "\n\n".join(parts)


def by_lam(found: PredictedPool, source: Source, seed: int, num_orders: int) -> Table:
    """The rule of middling tokens at every `lam`."""
    rows = []
    for lam in LAMS:
        each = measured(found, source, seed, num_orders, lam)["planned with the head, middling tokens"]
        cells = (span(each.gap, 1, 100), number(100 * each.calibration_error, 1), span(each.brier, 3))
        rows.append((f"{lam:g}", *cells))
    return Table(("lam", "confidence - right, points", "ECE, points", "Brier"), tuple(rows))


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
