"""Whether a head reads and decides the same inside the engine as it did when it was trained. Pure.

Training reads prompts by transformers, serving by vLLM: other kernels, and often another precision. Features may differ
in their last digits; what must not differ is the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from t2.answering.planner import Planner
from t2.budget_head import BudgetHead
from t2.engine.reading import EngineReading
from t2.errors import T2Error
from t2.pages.table import Table

AGREEMENT = 0.99
"""Share of prompts that must get the same number of samples at first."""


@dataclass(frozen=True)
class LayerParity:
    """Cosines between a layer's features from transformers and from the engine, over prompts."""

    layer: int
    smallest: float
    mean: float
    smallest_standardised: float
    """after the head's standardisation, which takes away what all prompts have in common"""
    mean_standardised: float


@dataclass(frozen=True)
class Parity:
    """What a comparison has given, over Q prompts."""

    layers: tuple[LayerParity, ...]
    plain_n_Q: tuple[int, ...]
    """samples of the first round, by features from transformers"""
    engine_n_Q: tuple[int, ...]
    """the same inside the engine"""
    grid: tuple[int, ...]
    """budgets of the head, in samples"""
    raw_difference: float
    """largest, of a raw output between the two"""
    decoding_difference: float
    """largest, between the head's raw outputs on the engine's features and what a probe has read"""
    batch_difference: float
    """largest, between a prompt in a batch and the same prompt alone"""

    @property
    def agreement(self) -> float:
        """Share of prompts with the same number of samples."""
        same = [a == b for a, b in zip(self.plain_n_Q, self.engine_n_Q, strict=True)]
        return sum(same) / len(same)

    @property
    def differing(self) -> tuple[tuple[int, int], ...]:
        """Numbers of samples of the prompts where they differ: transformers, engine."""
        return tuple((a, b) for a, b in zip(self.plain_n_Q, self.engine_n_Q, strict=True) if a != b)

    @property
    def further_apart(self) -> int:
        """Of the prompts that differ, those that are more than a step of the grid apart."""
        return sum(_steps(self.grid, *pair) > 1 for pair in self.differing)

    def check(self) -> None:
        """Refuse to serve a head that would decide otherwise than it was trained to.

        Raises:
            T2Error: too many prompts get another number of samples.
        """
        if self.agreement < AGREEMENT:
            worst = min(self.layers, key=lambda each: each.mean_standardised)
            raise T2Error(
                f"Expected the same number of samples inside the engine for at least {AGREEMENT:.0%} of the prompts, "
                f"got {self.agreement:.1%} ({len(self.differing)} of {len(self.plain_n_Q)} differ, "
                f"{self.further_apart} by more than a step). Make sure that both run the same weights, in the "
                "precision that the features were read in (`--dtype`). In 16 bits rounding alone can do this, mostly "
                f"in early layers (least alike here: layer {worst.layer}, cosine {worst.mean_standardised:.3f} after "
                "standardising): a head without such layers often knows as much (`--model.layers`). If all that "
                "differ are a sample or two apart, this one may be served, too; in float32 on both sides all "
                "agree."
            )


def compare(head: BudgetHead, plain_QLD: Tensor, engine: EngineReading) -> Parity:
    """Compare features from transformers with those in the engine, and what is decided by either.

    Args:
        head: that reads them.
        plain_QLD: `BudgetHead.activations` of the prompts.
        engine: of the same prompts.
    """
    planner = Planner(head)
    with torch.no_grad():
        raw_QO, seen_QO = head.head(plain_QLD), head.head(engine.pooled_QLD)
        own_QLD, others_QLD = head.head.standardise(plain_QLD), head.head.standardise(engine.pooled_QLD)
    cosine_QL = cosine_similarity(plain_QLD, engine.pooled_QLD, dim=-1)
    standardised_QL = cosine_similarity(own_QLD, others_QLD, dim=-1)
    layers = tuple(
        LayerParity(layer, *map(float, (plain_Q.min(), plain_Q.mean(), own_Q.min(), own_Q.mean())))
        for layer, plain_Q, own_Q in zip(head.layers, cosine_QL.T, standardised_QL.T, strict=True)
    )
    return Parity(
        layers,
        tuple(planner.plan(raw_O).first for raw_O in raw_QO),
        tuple(planner.plan(raw_O).first for raw_O in engine.raw_QO),
        head.grid,
        float((raw_QO - engine.raw_QO).abs().max()),
        float((seen_QO - engine.alone_QO).abs().max()),
        engine.batch_difference,
    )


def parity_table(parity: Parity, title: str) -> Table:
    """For the terminal."""
    columns = ("layer", "cosine, smallest", "mean", "standardised, smallest", "mean")
    rows = tuple(
        (str(each.layer), *(f"{value:.5f}" for value in list(vars(each).values())[1:])) for each in parity.layers
    )
    num, differing = len(parity.plain_n_Q), len(parity.differing)
    steps = "" if not differing else f", {differing - parity.further_apart} of them by a step of the grid"
    note = (
        f"{num - differing} of {num} prompts get the same number of samples ({parity.agreement:.1%}); {differing} "
        f"differ{steps}. Raw outputs differ by at most {parity.raw_difference:.2g} between transformers and the "
        f"engine, by {parity.decoding_difference:.2g} between what the head says and what a probe reads of it, and by "
        f"{parity.batch_difference:.2g} between a prompt in a batch and alone."
    )
    return Table(columns, rows, title, note)


def _steps(grid: tuple[int, ...], a: int, b: int) -> int:
    """Between two numbers of samples: of the grid where both are in it, else of one sample."""
    return abs(grid.index(a) - grid.index(b)) if {a, b} <= set(grid) else abs(a - b)
