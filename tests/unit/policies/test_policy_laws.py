"""Laws of replay on pools of all kinds: accuracy is brute force, every started sample is paid, lengths decide nothing.

The references are plain Python loops over single samples (`plain_rules`). They share no code with the tables,
cumulative sums and gathers of the replays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from inspect import isfunction
from itertools import combinations

import pytest
import torch
from helpers.graded_pools import any_pools, batch_with_easy_run, graded_pool, random_pool
from helpers.plain_rules import (
    Paid,
    Row,
    ahead,
    engine,
    halves_of,
    in_rounds,
    leaders,
    one_by_one,
    payoff,
    plain_dsc,
    plain_esc,
    plain_stops,
    rows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.comparison import fits
from t2.comparison.contenders import (
    Contender,
    dsc_by_other_half,
    fixed_frontier,
    nothing_known,
    of_actsc,
    of_control,
    of_dsc,
    of_head,
    references,
)
from t2.comparison.identity import AT_ONCE, ORACLES, Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.comparison.sweeps import FULL
from t2.curves.labels import budget_labels, cut_grid
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import AnswerAtoms, PriorFit, answer_atoms
from t2.heads.base import Prediction
from t2.policies import ASC, DSC, ESC, Costs, Doubling, FixedN, HeadThenStop, Orders, Replay
from t2.policies.base import replay_one_round
from t2.policies.dsc import half_orders, replay_other_half
from t2.policies.oracle import BayesOracle, OwnOracle
from t2.policies.then_stop import Prices, Priors, no_head, softened, stop_model
from t2.voting import ABSENT, ABSTAINED

NUM_ORDERS = 2
LAW = settings(deadline=None, max_examples=40)
FEW = settings(deadline=None, max_examples=25)
seeds, caps = st.integers(0, 2**31), st.integers(1, 9)
thresholds = st.one_of(st.sampled_from(FULL.thresholds), st.floats(0.51, 0.995))


def same(found: torch.Tensor, expected: Sequence[float | Fraction]) -> None:
    torch.testing.assert_close(
        found, torch.tensor([float(e) for e in expected], dtype=torch.float64), rtol=0, atol=1e-9
    )


def right_of(pool: GradedPool, q: int) -> set[int | None]:
    """The correct answers of a question, as far as any sample gave one."""
    return set(pool.vote_QM[q][pool.right_QM[q]].tolist())


# One round: A(N)


def over_subsets(pool: GradedPool, q: int, n: int) -> tuple[float, Fraction]:
    """Mean payoff and mean tokens over all n of a question's samples."""
    right, tokens = right_of(pool, q), pool.tokens_QM[q].tolist()
    votes = [None if v == ABSTAINED else v for v in pool.vote_QM[q].tolist() if v != ABSENT]
    subsets = list(combinations(range(len(votes)), n))
    paid = sum(payoff([votes[s] for s in subset], [c in right for c in range(4)]) for subset in subsets)
    return paid / len(subsets), Fraction(sum(tokens[s] for subset in subsets for s in subset), len(subsets))


@FEW
@given(any_pools(questions=4, samples=6), st.sets(st.integers(2, 6), min_size=1), seeds)
def test_one_round_is_the_mean_over_all_subsets(pool: GradedPool, budgets: set[int], seed: int) -> None:
    """FixedN at every budget of the grid, as a contender and by itself, and any other choice of budgets."""
    size_Q, sum_Q = pool.present_QM.sum(1).tolist(), pool.tokens_QM.sum(1).tolist()
    grid = cut_grid((1, *sorted(budgets)), min(size_Q))
    on = Slice.of(pool, budget_labels(pool, grid, 0.02, first="sampled"), seed=0, num_orders=1)
    truth = {n: [over_subsets(pool, q, n) for q in range(len(pool))] for n in grid}
    fixed = fixed_frontier(on)
    assert fixed.settings == grid
    nothing, costs = nothing_known(len(pool)).prediction, Costs(grid, torch.ones(len(pool)))
    for n, replay in zip(grid, fixed.replays, strict=True):
        itself = replay_one_round(FixedN(n).choose(nothing, costs), on.labels, pool)
        for each in (replay, itself):
            check_one_round(each, pool, [n] * len(pool), truth)
            same(each.generated_tokens, [Fraction(n * t, m) for t, m in zip(sum_Q, size_Q, strict=True)])
    index_Q = torch.randint(0, len(grid), (len(pool),), generator=torch.Generator().manual_seed(seed))
    replay = replay_one_round(index_Q, on.labels, pool)
    check_one_round(replay, pool, [grid[k] for k in index_Q.tolist()], truth)


def check_one_round(
    replay: Replay, pool: GradedPool, budgets: list[int], truth: dict[int, list[tuple[float, Fraction]]]
) -> None:
    same(replay.correct, [truth[n][q][0] for q, n in enumerate(budgets)])
    same(replay.generated_tokens, [truth[n][q][1] for q, n in enumerate(budgets)])
    same(replay.samples, budgets)
    same(replay.peak, budgets)
    same(replay.rounds, [1] * len(pool))
    same(replay.total_tokens - replay.generated_tokens, pool.prompt_tokens_Q.tolist())


# Cost adds up, sample by sample


def check(replay: Replay, pool: GradedPool, per_order: list[list[Paid]], right: list[list[bool]] | None = None) -> None:
    """A replay is the mean over orders of what plain loops got and paid; the prompt is charged as `Replay` says.

    Args:
        replay: the batched one.
        pool: what it ran on.
        per_order: of each order, each question.
        right: where the answer is not the leader's.
    """
    leads = [[paid.leader in right_of(pool, q) for q, paid in enumerate(order)] for order in per_order]

    def mean(values: Sequence[Sequence[float]]) -> list[float]:
        return [sum(column) / len(column) for column in zip(*values, strict=True)]

    rounds = mean([[paid.rounds for paid in order] for order in per_order])
    spent = mean([[paid.tokens for paid in order] for order in per_order])
    prompt = pool.prompt_tokens_Q.tolist()
    same(replay.samples, mean([[paid.samples for paid in order] for order in per_order]))
    same(replay.generated_tokens, spent)
    same(replay.rounds, rounds)
    same(replay.peak, mean([[paid.peak for paid in order] for order in per_order]))
    same(replay.critical_path, mean([[paid.path for paid in order] for order in per_order]))
    held = mean([[paid.held for paid in order] for order in per_order])
    same(replay.peak_kv, [h + p for h, p in zip(held, prompt, strict=True)])
    same(replay.correct, mean(leads if right is None else right))
    same(replay.prompt_tokens, prompt)
    same(replay.total_tokens, [t + p for t, p in zip(spent, prompt, strict=True)])
    same(replay.total_tokens_reprefilled, [t + r * p for t, r, p in zip(spent, rounds, prompt, strict=True)])


def orders_of(pool: GradedPool, seed: int) -> tuple[Orders, list[list[Row]]]:
    """Orders, and the same in rows, which hold the question's own samples."""
    orders = Orders.of(pool, NUM_ORDERS, seed)
    per_order = [rows_of(orders, r) for r in range(NUM_ORDERS)]
    for rows in per_order:
        for q, (votes, tokens) in enumerate(rows):
            own = zip(pool.vote_QM[q].tolist(), pool.tokens_QM[q].tolist(), strict=True)
            assert sorted(zip(votes, tokens, strict=True)) == sorted(pair for pair in own if pair[0] != ABSENT)
    return orders, per_order


@LAW
@given(any_pools(), seeds, caps, thresholds)
def test_asc_pays_for_every_sample(pool: GradedPool, seed: int, cap: int, threshold: float) -> None:
    orders, per_order = orders_of(pool, seed)

    def stops(_: int, first: int, second: int) -> bool:
        return ahead(first, second) >= threshold

    check(
        ASC(threshold, cap).replay(orders), pool, [[one_by_one(row, cap, stops) for row in rows] for rows in per_order]
    )


@LAW
@given(any_pools(), seeds, caps, thresholds)
def test_asc_with_short_answers_first_pays_for_all_that_it_starts(
    pool: GradedPool, seed: int, cap: int, threshold: float
) -> None:
    """Token by token: all that was started goes on until the vote that ends it has come in.

    What is started are the first samples of an order, whatever their length; only then are they counted by length.
    """
    arrivals, (_, all_rows) = Orders.of_arrivals(pool, NUM_ORDERS, seed, cap), orders_of(pool, seed)
    per_order = []
    for r in range(NUM_ORDERS):
        order = []
        for (votes, tokens), (all_votes, all_tokens) in zip(rows_of(arrivals, r), all_rows[r], strict=True):
            assert tokens == sorted(tokens)
            started = list(zip(all_votes, all_tokens, strict=True))[:cap]
            assert sorted(zip(votes, tokens, strict=True)) == sorted(started)
            counted = next(n for n in range(1, 99) if n == len(votes) or ahead(*leaders(votes[:n])[1:]) >= threshold)
            spent = sum(sum(t > clock for t in tokens) for clock in range(tokens[counted - 1]))
            until = tokens[counted - 1]
            ran = engine([[min(length, until) for length in tokens]])
            order.append(Paid(leaders(votes[:counted])[0], len(votes), spent, 1, len(votes), *ran))
        per_order.append(order)
    assert arrivals.limit_Q.tolist() == [min(cap, m) for m in pool.present_QM.sum(1).tolist()]
    check(ASC(threshold, cap).replay_concurrent(arrivals), pool, per_order)


@LAW
@given(any_pools(samples=9), seeds, caps, st.integers(2, 5), st.sampled_from(["all", "window"]))
def test_esc_pays_for_every_sample(pool: GradedPool, seed: int, cap: int, window: int, answer: str) -> None:
    orders, per_order = orders_of(pool, seed)

    def paid(row: Row) -> Paid:
        votes, tokens = row
        used, agreed = plain_esc(votes, window, cap)
        leader = votes[used - 1] if agreed and answer == "window" else leaders(votes[:used])[0]
        sizes = [len(votes[:used][start : start + window]) for start in range(0, used, window)]
        return Paid(
            leader, used, sum(tokens[s] for s in range(used)), len(sizes), max(sizes), *engine(in_rounds(tokens, sizes))
        )

    check(ESC(window, cap, answer).replay(orders), pool, [[paid(row) for row in rows] for rows in per_order])


@LAW
@given(
    any_pools(samples=9),
    seeds,
    caps,
    st.one_of(st.sampled_from(FULL.shares), st.integers(51, 100).map(lambda n: n / 100)),
)
def test_doubling_pays_for_every_sample(pool: GradedPool, seed: int, cap: int, share: float) -> None:
    orders, per_order = orders_of(pool, seed)

    def stops(drawn: int, first: int, _: int) -> bool:
        return drawn in (2, 4, 8) and Fraction(first, drawn) >= Fraction(str(share))

    check(
        Doubling(share, cap).replay(orders), pool, [[one_by_one(row, cap, stops) for row in rows] for rows in per_order]
    )


@FEW
@given(any_pools(), any_pools(questions=8), seeds, st.integers(1, 6), st.floats(0, 60), st.integers(0, 3))
def test_then_stop_pays_for_every_sample(
    pool: GradedPool, train: GradedPool, seed: int, cap: int, price: float, groups: int
) -> None:
    """`HeadThenStop` with a prior for each group of training questions; without groups it is `NoHeadThenStop`."""
    orders, per_order = orders_of(pool, seed)
    generator = torch.Generator().manual_seed(seed)
    atoms = answer_atoms(train)
    if groups:
        member_PJ = torch.randint(0, 2, (groups, len(train)), generator=generator).double()
        prior_PJ, prior_Q = softened(member_PJ), torch.randint(0, groups, (len(pool),), generator=generator)
        tokens_P = torch.randint(1, 200, (groups,), generator=generator).double()
        rule = HeadThenStop(Priors(stop_model(atoms, prior_PJ, cap), tokens_P), Prices(price), prior_Q)
    else:
        prior_PJ, prior_Q = torch.full((1, len(train)), 1 / len(train)), torch.zeros(len(pool), dtype=torch.long)
        tokens_P = torch.tensor([70.0], dtype=torch.float64)
        rule = HeadThenStop(Priors(no_head(atoms, cap), tokens_P), Prices(price))
    tables = [
        plain_stops(atoms, prior, cap, price / 100 * tokens / 1000)
        for prior, tokens in zip(prior_PJ.tolist(), tokens_P.tolist(), strict=True)
    ]

    for stop_S, told_stops in zip(rule.table.stop_PS, tables, strict=True):
        for state, stops in told_stops.items():  # those too that no order comes to; the first sample is always drawn
            assert bool(stop_S[rule.table.states.index_NVV[state]]) == (stops and state[0] > 0), state

    def paid(row: Row, prior: int) -> Paid:
        return one_by_one(row, cap, lambda *state: state[0] == cap or tables[prior][state])

    priors = prior_Q.tolist()
    told = [[paid(row, prior) for row, prior in zip(rows, priors, strict=True)] for rows in per_order]
    check(rule.replay(orders), pool, told)


def dsc_paid(
    pool: GradedPool, rows: list[Row], hardness: list[float], cap: int, threshold: float
) -> tuple[list[Paid], list[bool]]:
    """What DSC pays in one order, the greedy answer on top, and whether it is right."""
    paid, right = [], []
    for q, judged in enumerate(plain_dsc(rows, hardness, cap, threshold)):
        votes, tokens = rows[q]
        leader = leaders(votes[: judged.drawn])[0]
        spent = sum(tokens[s] for s in range(judged.drawn)) + judged.greedy * int(pool.greedy_tokens_Q[q])
        ran = in_rounds(tokens, judged.sizes) + ([[int(pool.greedy_tokens_Q[q])]] if judged.greedy else [])
        sizes = [len(lengths) for lengths in ran]
        paid.append(Paid(leader, judged.drawn + judged.greedy, spent, len(sizes), max(sizes), *engine(ran)))
        right.append(bool(pool.greedy_right_Q[q]) if judged.greedy else leader in right_of(pool, q))
    return paid, right


@FEW
@given(st.integers(29, 36), st.integers(0, 50), seeds, st.integers(1, 17), thresholds)
def test_dsc_pays_for_judging_windows_and_greedy_answers(
    easy: int, hard: int, seed: int, cap: int, threshold: float
) -> None:
    """32 easy questions in a row end the judging: on both sides of that number."""
    pool, hardness_Q = batch_with_easy_run(easy, hard, seed, samples=16)
    orders, per_order = orders_of(pool, seed)
    told = [dsc_paid(pool, rows, hardness_Q.tolist(), cap, threshold) for rows in per_order]
    replay = DSC(hardness_Q, threshold, cap).replay(orders)
    check(replay, pool, [paid for paid, _ in told], [right for _, right in told])


@FEW
@given(any_pools(samples=9), seeds, caps, thresholds)
def test_dsc_on_few_questions_pays_for_every_sample(pool: GradedPool, seed: int, cap: int, threshold: float) -> None:
    orders, per_order = orders_of(pool, seed)
    hardness_Q = torch.randint(0, 3, (len(pool),), generator=torch.Generator().manual_seed(seed)).double()
    told = [dsc_paid(pool, rows, hardness_Q.tolist(), cap, threshold)[0] for rows in per_order]
    check(DSC(hardness_Q, threshold, cap).replay(orders), pool, told)


@settings(deadline=None, max_examples=8)
@given(st.integers(30, 34), st.integers(1, 16), seeds, st.integers(1, 9), thresholds)
def test_dsc_by_the_other_half_pays_for_the_half_that_it_draws(
    easy: int, hard: int, seed: int, cap: int, threshold: float
) -> None:
    pool, _ = batch_with_easy_run(easy, hard, seed)
    halves, orders, fold_QM = halves_of(pool, (1, 3)), half_orders(pool, 1, seed), pool.fold_QM()
    told = []
    for chooser, scorer in ((0, 1), (1, 0)):
        own = pool.present_QM & (fold_QM == chooser)
        hardness = [-float(r) / float(n) for r, n in zip((pool.right_QM & own).sum(1), own.sum(1), strict=True)]
        told.append(dsc_paid(pool, rows_of(orders[scorer]), hardness, min(cap, halves.samples), threshold))
    replay = replay_other_half(halves, orders, threshold, cap)
    check(replay, pool, [paid for paid, _ in told], [right for _, right in told])


# Lengths decide nothing


def with_other_lengths(pool: GradedPool, seed: int, group_QM: torch.Tensor | None = None) -> GradedPool:
    """The same answers, with token counts permuted over all samples, or over those of each group alone."""
    generator, tokens_QM = torch.Generator().manual_seed(seed), pool.tokens_QM.clone()
    group_QM = torch.zeros_like(tokens_QM) if group_QM is None else group_QM
    for group in set(group_QM.flatten().tolist()):
        chosen_QM = pool.present_QM & (group_QM == group)
        values = tokens_QM[chosen_QM]
        tokens_QM[chosen_QM] = values[torch.randperm(len(values), generator=generator)]
    return replace(pool, tokens_QM=tokens_QM)


def known_without_lengths(pool: GradedPool, seed: int) -> Known:
    """What a head might say: a score that tells easy from hard; curves, lengths and weights over atoms at random."""
    generator, num = torch.Generator().manual_seed(seed), len(pool)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    level_B = pool.right_QM.sum(1) / pool.present_QM.sum(1) + 0.01 * uniform(num)
    curve_BK = uniform(num, len(GRID)).sort(1).values
    weight_BJ = uniform(num, 3)
    prediction = Prediction(
        3 + 2 * uniform(num), curve_BK, 3 * uniform(num), atom_weights_BJ=weight_BJ / weight_BJ.sum(1, keepdim=True)
    )
    share_J3 = torch.tensor([[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4]], dtype=torch.float64)
    fit = PriorFit(AnswerAtoms(share_J3, torch.tensor([1, 2, 0])), torch.full((3,), 1 / 3), 2.0, 0.3)
    return Known(level_B.double(), prediction, (fit,), torch.zeros(num, dtype=torch.long))


GRID = (1, 3, 5)


def contenders(train: Slice, known: Known) -> list[Contender]:
    """All there are."""
    sweeps = FULL.priced_for(train.pool)
    in_one_grid = (*of_control("control", known, GRID, sweeps), *of_head("head", known, GRID, sweeps))
    alone = (of_dsc("head", sweeps), of_actsc("head", sweeps), dsc_by_other_half(sweeps))
    return [*references(GRID, sweeps), *in_one_grid, *alone]


def sliced(pool: GradedPool) -> Slice:
    return Slice.of(pool, budget_labels(pool, GRID, 0.02), seed=0, num_orders=2).with_half_orders(0)


@settings(deadline=None, max_examples=3)
@given(seeds, st.sampled_from([3, 5]))
def test_lengths_of_tested_samples_change_no_decision(seed: int, cap: int) -> None:
    """Of no contender at no setting: fitted on some questions, replayed on others with their lengths permuted.

    Only oracles may look at lengths (of the half that chooses).
    """

    def tested(pool: GradedPool) -> tuple[Slice, Slice, Known]:
        """The questions, the same with other lengths, and what is known of them."""
        return sliced(pool), sliced(with_other_lengths(pool, seed)), known_without_lengths(pool, seed + 1)

    train = sliced(random_pool(24, samples=10, seed=seed % 1009, ragged=True))
    train_known = known_without_lengths(train.pool, seed)
    few = tested(random_pool(16, samples=10, seed=seed % 1013, ragged=True))
    batch = tested(batch_with_easy_run(62, 2, seed, samples=10)[0])  # nearly any order has 32 easy ones in a row
    for contender in contenders(train, train_known):
        policy = contender.key.policy
        if policy in ORACLES:
            continue
        on, other, known = batch if contender.key == Key("DSC", "head") else few
        run = contender.fit(train, train_known, cap)
        at, at_other = run(on, known), run(other, known)
        for setting in contender.settings[:: max(1, len(contender.settings) // 5)]:
            mine, theirs = at(setting), at_other(setting)
            for part in ("samples", "rounds", "peak", "prompt_tokens", "correct"):
                if not policy.endswith(AT_ONCE) or part == "samples":  # lengths decide who is counted first
                    assert torch.equal(getattr(mine, part), getattr(theirs, part)), (contender.key, setting, part)
            if float(mine.samples.max()) > 1:  # the lengths did count; those of greedy answers stay
                assert not torch.equal(mine.generated_tokens, theirs.generated_tokens), contender.key


def test_every_contender_is_tried() -> None:
    """Every way to fit that there is belongs to one of `contenders`: a new one must join them to be tested above."""
    train = sliced(random_pool(24, samples=10))
    tried = {contender.fit for contender in contenders(train, known_without_lengths(train.pool, 0))}
    ways = {fit for fit in vars(fits).values() if isfunction(fit) and fit.__annotations__.get("return") == "Run"}
    assert ways
    assert ways <= tried


@pytest.mark.parametrize("name", ORACLES)
def test_oracles_know_the_mean_length_of_the_half_that_chooses(name: str) -> None:
    """`BayesOracle` too: it asks what one half's samples cost, though not which are correct.

    Which sample of a half is long changes nothing; other means do.
    """
    pool, train = random_pool(30, samples=10, ragged=True), sliced(random_pool(24, samples=10, seed=1))
    on, known = sliced(pool), nothing_known(30)
    half_QM = pool.fold_QM() + 2 * torch.arange(30)[:, None]
    within, between = (
        sliced(with_other_lengths(pool, 0, group_QM)) for group_QM in (half_QM, torch.zeros_like(half_QM))
    )
    assert not torch.equal(within.pool.tokens_QM, pool.tokens_QM)
    (contender,) = [c for c in references(GRID, FULL.priced_for(train.pool)) if c.key == Key(name)]
    run = contender.fit(train, nothing_known(24), 5)
    moved = False
    for setting in contender.settings:
        mine, same_means, other_means = (run(each, known)(setting) for each in (on, within, between))
        assert torch.equal(mine.samples, same_means.samples)
        moved = moved or not torch.equal(mine.samples, other_means.samples)
    assert moved


def test_an_oracle_never_asks_the_length_of_the_half_that_scores() -> None:
    """One half is never right and chooses 1 sample whatever it costs: then its length must change no choice at all."""
    pool = graded_pool([[0, 1, 0, 0, 1, 0, 0, 1, 0, 0]] * 4, [[20 + 5 * s for s in range(10)]] * 4)
    halves = halves_of(pool, GRID)
    halves = replace(halves, acc_QK=(halves.acc_QK[0], torch.zeros_like(halves.acc_QK[1])))
    atoms, curve_JK = answer_atoms(pool), torch.zeros(4, 3).double()
    for factor in (1e-3, 1e3):
        other = replace(halves, tokens_Q=(halves.tokens_Q[0], factor * halves.tokens_Q[1]))
        for price in (0.0, 1.0, 20.0):
            mine, theirs = (OwnOracle(price).replay(each, pool) for each in (halves, other))
            assert torch.equal(mine.samples, theirs.samples)
            assert not torch.equal(mine.generated_tokens, theirs.generated_tokens)
            assert (BayesOracle(price).replay(other, pool, atoms, curve_JK).samples == 1).all()
