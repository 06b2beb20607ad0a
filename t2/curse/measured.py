"""`CurseReport`: what was measured, and the answer in a sentence or two. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from t2.curse.overscaling import Overscaling
from t2.curse.triggers import TypeRow
from t2.stats.bootstrap import Interval
from t2.stats.reliability import spearman_brown


@dataclass(frozen=True)
class CurseReport:
    """Everything `t2 curse` says about a pool. Intervals are 95% percentile bootstraps over questions."""

    num_questions: int
    num_units: int
    """what the bootstrap draws: dedup keys, which is questions if none share one"""
    samples: int
    """of the smallest pool"""
    most_samples: int
    """of the largest pool"""
    grid: tuple[int, ...]
    """budgets in samples, up to the smallest pool"""
    label_grid: tuple[int, ...]
    """the part up to M/2, on which N*, N_D, M_D and types are defined"""
    num_resamples: int
    type_tolerance: float
    curve: tuple[Interval, ...]
    """accuracy of the dataset at each budget of `grid`"""
    greedy: Interval | None
    """accuracy of the temperature 0 answers"""
    greedy_questions: int
    """questions that have one"""
    main: Overscaling
    n_ref: int
    """N_D on the whole grid, samples"""
    rise: float
    """A(N_D) - A(1) of the dataset"""
    n_star_shares: tuple[Interval, ...]
    """share of questions whose N* is each budget of `label_grid`"""
    n_d_shares: tuple[float, ...]
    """share of resamples whose N_D is each budget of `label_grid`"""
    sweep: tuple[Overscaling, ...]
    types: tuple[TypeRow, ...]
    type_agreement: Interval | None
    """share of questions whose halves have the same type"""
    type_kappa: Interval | None
    """Cohen's kappa between the halves; None without halves, or if one type is all there is"""
    reliability: dict[str, Interval]
    """Spearman correlation between the halves of each target, see `t2.stats.reliability`"""
    notes: tuple[str, ...]
    """what could not be computed and what to beware of, a sentence each"""

    @property
    def reliability_whole(self) -> dict[str, Interval]:
        """The same, stepped up to the whole pool (Spearman-Brown)."""
        return {name: spearman_brown(half) for name, half in self.reliability.items()}

    @property
    def verdict(self) -> str:
        m_d, n_d = self.main.m_d, self.main.n_d
        facts = f"N_D = {n_d}, mean N* = {self.main.mean_n_star.value:.2f}, M_D = {m_d.value:.2f} "
        facts += f"[{m_d.low:.2f}, {m_d.high:.2f}]"
        if all(point.value == 0 for point in self.curve):
            return "Nothing to measure: no sample of any question is correct, so no number of samples helps."
        if len(self.label_grid) == 1:
            return (
                f"Not measured: with {self.samples} samples a question no budget but 1 is allowed. Draw more samples, "
                "or leave out the questions that have few."
            )
        if self.num_units == 1:
            return f"Not decided: one question, or questions of one dedup key, say nothing about a data set ({facts})."
        if n_d == 1:
            return f"Nothing to overscale: one sample is enough for the data set ({facts})."
        if m_d.high < 1:
            return (
                f"Overscaled: one budget for all needs {n_d} samples a question, an oracle that knew every question's "
                f"own need {m_d.value:.0%} of that ({facts})."
            )
        if m_d.low > 1:
            return f"Not overscaled: the questions need more than the one budget that suits the data set ({facts})."
        return f"Not decided: the interval of the overscaling index contains 1 ({facts})."

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON values, with the verdict and the stepped-up reliability."""
        whole = {name: asdict(value) for name, value in self.reliability_whole.items()}
        return {"verdict": self.verdict, **asdict(self), "reliability_whole": whole}
