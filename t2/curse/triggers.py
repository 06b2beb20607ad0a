"""What triggers the curse: what each sample type adds to the rise of the dataset curve, and the curse without it. Pure.

Works on rows of means, as `t2.curse.overscaling` does. T sample types.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curse.overscaling import WHOLE, Curves, Means, interval_of, interval_or_none, optima
from t2.curves.halves import Halves
from t2.curves.types import TYPE_NAMES, sample_types
from t2.stats.bootstrap import Interval


@dataclass(frozen=True)
class TypeRow:
    """One sample type, and what it has to do with the curse."""

    name: str
    share: Interval
    """of the questions"""
    mean_n_star: float | None
    """of its questions, samples; None if there are none"""
    contribution: Interval
    """its part of A(N_D) - A(1) of the dataset; the parts sum to it"""
    n_d_without: int | None
    """N_D without its questions, samples; None if no others are left"""
    m_d_without: Interval | None
    """M_D without its questions"""
    half_agreement: float | None
    """of the halves that have this type, the share whose other half has it too; None: no halves, or none of them has"""


def rise(acc_RK: Tensor, grid: tuple[int, ...], n_d: int) -> Tensor:
    """A(N_D) - A(1) of each row, with N_D given."""
    return acc_RK[..., grid.index(n_d)] - acc_RK[..., 0]


def type_columns(whole: Curves, type_Q: Tensor, eps: float) -> dict[str, Tensor]:
    """Type, N*, and the curve and N* within each type; T types."""
    n_star_Q = optima(whole.acc_QK, whole.grid, eps, whole.grid[-1])
    is_type_QT = torch.nn.functional.one_hot(type_Q, len(TYPE_NAMES)).double()
    return {
        "n_star_is": (n_star_Q[:, None] == torch.tensor(whole.grid)).double(),
        "n_star": n_star_Q[:, None],
        "is_type": is_type_QT,
        "accuracy_in_type": (is_type_QT[:, :, None] * whole.acc_QK[:, None, :]).flatten(1),
        "n_star_in_type": is_type_QT * n_star_Q[:, None],
    }


def type_rows(means: Means, grid: tuple[int, ...], n_d: int, dataset_eps: float) -> tuple[TypeRow, ...]:
    """Each type's share, its part of the rise, and the curse without it.

    Everything is read off means over questions, row 0 of all of them and one row for each resample, so no question is
    looked at again. With 1_T for "is of type T", the mean of 1_T * A(N) is type T's part of the mean curve, and

        mean A(N) of all  =  sum over T of mean(1_T A(N))                    hence parts of A(N_D) - A(1) sum to it
        mean A(N) of all but T  =  (mean A(N) - mean(1_T A(N))) / (1 - share of T)

    N_D is found anew on that curve in each row, and so is M_D: without a type the dataset may need another budget.
    """
    acc_RTK = means["accuracy_in_type"].reshape(-1, len(TYPE_NAMES), len(grid))
    agreement_T = _agreement_within(means["joint"]) if "joint" in means else [None] * len(TYPE_NAMES)
    rows = []
    for code, name in enumerate(TYPE_NAMES):
        share_R, n_star_R = means["is_type"][:, code], means["n_star_in_type"][:, code]
        left_R = 1 - share_R
        left_R = torch.where(left_R > 1e-12, left_R, torch.nan)  # no question is left: N_D and M_D are undefined
        acc_left_RK = (means[f"accuracy of {WHOLE}"] - acc_RTK[:, code]) / left_R[:, None]
        n_d_R = optima(acc_left_RK, grid, dataset_eps, grid[-1])
        m_d = interval_or_none((means["n_star"][:, 0] - n_star_R) / left_R / n_d_R)
        share = float(share_R[0])
        rows.append(
            TypeRow(
                name=name,
                share=interval_of(share_R),
                mean_n_star=float(n_star_R[0]) / share if share else None,
                contribution=interval_of(rise(acc_RTK[:, code], grid, n_d)),
                n_d_without=None if m_d is None else int(n_d_R[0]),
                m_d_without=m_d,
                half_agreement=agreement_T[code],
            )
        )
    return tuple(rows)


def joint_types(halves: Halves) -> Tensor:
    """One-hot (type of the first half, type of the second half) of each question, (Q, T * T)."""
    first_Q, second_Q = (sample_types(acc_QK) for acc_QK in halves.acc_QK)
    return torch.nn.functional.one_hot(first_Q * len(TYPE_NAMES) + second_Q, len(TYPE_NAMES) ** 2)


def _square(joint_RP: Tensor) -> Tensor:
    return joint_RP.reshape(-1, len(TYPE_NAMES), len(TYPE_NAMES))


def same_type_share(joint_RP: Tensor) -> Tensor:
    """Share of questions whose halves have the same type, of each row."""
    return _square(joint_RP).diagonal(dim1=1, dim2=2).sum(1)


def kappa(joint_RP: Tensor) -> Tensor:
    """Cohen's kappa between the halves (Cohen 1960), of each row; NaN if one type is all there is."""
    # Shares that sum to 1: what independent halves would agree on by chance is the product of the two margins.
    joint_RTT = _square(joint_RP)
    chance_R = (joint_RTT.sum(1) * joint_RTT.sum(2)).sum(1)
    room_R = 1 - chance_R
    return (same_type_share(joint_RP) - chance_R) / torch.where(room_R > 1e-12, room_R, torch.nan)


def _agreement_within(joint_RP: Tensor) -> list[float | None]:
    """Of each type: of the halves that have it, the share whose other half has it too."""
    joint_TT = _square(joint_RP)[0]
    # Each question counts twice, from either half: its row is the type of one, its column that of the other.
    halves_T = joint_TT.sum(0) + joint_TT.sum(1)
    both_T = 2 * joint_TT.diagonal()
    return [float(b / h) if h > 0 else None for b, h in zip(both_T, halves_T, strict=True)]
