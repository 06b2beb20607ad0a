"""Planned rounds for a thousand questions, each with a prior of its own, against the same recursion in plain Python."""

from __future__ import annotations

import time
from functools import cache

from measure import Figures, in_process, medians, peak_mib

ATOMS, MIXTURES = 1600, 65
COST, ROUND_COST, PLAIN_CAP = 1e-4, 0.01, 16


def rows(repeats: int) -> list[str]:
    """A row for each case, and one against plain Python."""
    lines = []
    for case, cap, priors, target in (
        (many_priors, 64, 1000, "at most 10 s, 2 GiB"),
        (large_cap, 128, 8, "at most 30 s"),
    ):
        r = medians(case, repeats)
        lines.append(
            f"| planned rounds, cap {cap}, {priors:,} priors from {ATOMS:,} questions | {r['seconds']:.1f} s, of which "
            f"the plan {r['plan_seconds']:.1f} s; peak {r['peak_mib'] / 1024:.1f} GiB ({r['before_mib'] / 1024:.1f} "
            f"before) | | {target} |"
        )
    r = in_process(beside_plain)
    lines.append(
        f"| planned rounds, cap {PLAIN_CAP}, 1,000 priors | {r['seconds']:.2f} s | {r['ratio']:.0f} x faster than "
        f"plain Python (largest difference of values {r['difference']:.0e}) | |"
    )
    return lines


def many_priors() -> Figures:
    """A question each, up to 64 samples."""
    return measured(64, 1000)


def large_cap() -> Figures:
    """A bin each, up to 128 samples."""
    return measured(128, 8)


def measured(cap: int, priors: int) -> Figures:
    """Sums over atoms, the priors' models, and the plan."""
    import torch

    from t2.heads.answer_atoms import AnswerAtoms
    from t2.policies.planning import plan
    from t2.policies.states import vote_states
    from t2.policies.then_stop import StateSums

    share, right, mixture, weight = _inputs(priors)
    vote_states(cap)  # made once in a process, whatever is planned
    before = peak_mib()
    started = time.perf_counter()
    model = StateSums.of(AnswerAtoms(share, right), mixture, cap).model(weight)
    modelled = time.perf_counter()
    plan(model, torch.full((priors,), COST), ROUND_COST)
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "plan_seconds": ended - modelled,
        "peak_mib": peak_mib(),
        "before_mib": before,
    }


def beside_plain() -> Figures:
    """One prior in plain Python, scaled to a thousand."""
    import torch

    from t2.heads.answer_atoms import AnswerAtoms
    from t2.policies.planning import expected, plan
    from t2.policies.then_stop import StateSums

    share, right, mixture, weight = _inputs(1000)
    model = StateSums.of(AnswerAtoms(share, right), mixture, PLAIN_CAP).model(weight)
    started = time.perf_counter()
    table = plan(model, torch.full((1000,), COST), ROUND_COST)
    seconds = time.perf_counter() - started
    worth = expected(model, table)
    value = float(worth.right[0] - COST * worth.samples[0] - ROUND_COST * worth.rounds[0])

    states = model.states
    parts = [part[0].tolist() for part in (model.right_PS, model.lead_PS, model.run_PS, model.rest_PS)]
    right_S, lead_S, run_S, rest_S = parts
    after = [each.tolist() for each in (states.lead_S, states.run_S, states.rest_S)]
    drawn = states.drawn_S.tolist()

    @cache
    def later(state: int, samples: int) -> float:
        if not samples:
            return best(state)
        chances = (lead_S[state], run_S[state], rest_S[state])
        return sum(c * later(to[state], samples - 1) for c, to in zip(chances, after, strict=True))

    @cache
    def best(state: int) -> float:
        going = [later(state, m) - m * COST - ROUND_COST for m in range(1, PLAIN_CAP - drawn[state] + 1)]
        return max(going) if not state else max([right_S[state], *going])

    started = time.perf_counter()
    plain = best(0)
    plain_seconds = time.perf_counter() - started
    return {"seconds": seconds, "ratio": 1000 * plain_seconds / seconds, "difference": abs(plain - value)}


def _inputs(priors: int):  # type: ignore[no-untyped-def]  # four tensors, and torch is not imported here
    import torch

    generator = torch.Generator().manual_seed(0)
    share = torch.rand(ATOMS, 3, generator=generator, dtype=torch.float64) + 0.02
    share = torch.cat([share[:, :2].sort(1, descending=True).values, share[:, 2:]], 1)
    share = share / share.sum(1, keepdim=True)
    right = torch.randint(0, 3, (ATOMS,), generator=generator)
    mixture = torch.rand(MIXTURES, ATOMS, generator=generator, dtype=torch.float64)
    return share, right, mixture, torch.rand(priors, MIXTURES, generator=generator, dtype=torch.float64)
