"""Planned rounds: brute force over histories and over all plans, no rule is worth more, prices move what they price."""

from __future__ import annotations

from itertools import combinations, pairwise, product

import pytest
import torch
from helpers.graded_pools import random_pool
from helpers.plain_plans import ANSWERS, PlainModel, best_value, every_plan, plan_value
from helpers.plain_rules import engine, in_rounds, leaders, plain_esc, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.heads.answer_atoms import AnswerAtoms
from t2.policies import ASC, Doubling, DrawTable, HeadThenStop, Orders
from t2.policies.engine_axes import RoundAxes, held_tokens
from t2.policies.planning import StopModel, expected, plan, right_at_once
from t2.policies.rules import table_rules
from t2.policies.then_stop import Prices, Priors, StateSums, stop_model
from t2.voting import ABSTAINED

costs = st.sampled_from([0.0, 0.0005, 0.003, 0.01, 0.04])
round_costs = st.sampled_from([0.0, 0.002, 0.01, 0.05, 0.3])
seeds = st.integers(0, 10**6)


def atoms_of(num: int, seed: int) -> AnswerAtoms:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(num, 3, generator=generator, dtype=torch.float64) + 0.05
    share = torch.cat([share[:, :2].sort(1, descending=True).values, share[:, 2:]], 1)
    return AnswerAtoms(share / share.sum(1, keepdim=True), torch.randint(0, 3, (num,), generator=generator))


def random_model(cap: int, seed: int, priors: int = 3) -> tuple[StopModel, AnswerAtoms, torch.Tensor]:
    atoms = atoms_of(5, seed)
    prior_PJ = torch.rand(priors, 5, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) + 0.01
    return stop_model(atoms, prior_PJ, cap), atoms, prior_PJ


def value_of(model: StopModel, table: DrawTable, cost: float, round_cost: float) -> torch.Tensor:
    worth = expected(model, table)
    return worth.right - cost * worth.samples - round_cost * worth.rounds


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 6), seeds, costs, round_costs)
def test_a_plan_is_worth_what_the_best_over_whole_histories_is(
    cap: int, seed: int, cost: float, round_cost: float
) -> None:
    """Whatever a plan remembers of the answers and their order: nothing is worth more than looking at the counts."""
    model, atoms, prior_PJ = random_model(cap, seed, priors=2)
    found = value_of(model, plan(model, torch.full((2,), cost), round_cost), cost, round_cost)
    for value, prior in zip(found.tolist(), prior_PJ.tolist(), strict=True):
        assert value == pytest.approx(best_value(PlainModel(atoms, prior), cap, cost, round_cost), abs=1e-8)


@pytest.mark.parametrize(("cost", "round_cost"), [(0.0, 0.0), (0.01, 0.0), (0.01, 0.03), (0.0, 0.05), (0.05, 0.3)])
@pytest.mark.parametrize("seed", range(3))
def test_no_plan_of_all_that_there_are_is_worth_more(seed: int, cost: float, round_cost: float) -> None:
    """Every plan for a cap of 2, one by one, which no backward induction has thought of."""
    model, atoms, prior_PJ = random_model(2, seed, priors=1)
    plain = PlainModel(atoms, prior_PJ[0].tolist())
    values = [plan_value(plain, each, cost, round_cost) for each in every_plan(2)]
    assert len(values) == 9  # two at once; or one, and after each of its three outcomes stop or draw another
    found = float(value_of(model, plan(model, torch.tensor([cost]), round_cost), cost, round_cost))
    assert found == pytest.approx(max(values), abs=1e-8)


@pytest.mark.parametrize("cap", [1, 4, 9])
def test_one_batch_is_right_as_often_as_its_table_is_expected_to_be(cap: int) -> None:
    """And no plan of rounds that cost nothing is worth less."""
    model, _, _ = random_model(cap, seed=3)
    right_PM = right_at_once(model)
    assert right_PM.shape == (3, cap + 1)
    assert not bool(right_PM[:, 0].any())
    root = plan_value_at_root(model, cost=0.01)
    for batch in range(1, cap + 1):
        batch_PS = torch.zeros(3, len(model.states), dtype=torch.int16)
        batch_PS[:, 0] = batch
        assert torch.allclose(expected(model, DrawTable(model.states, batch_PS)).right, right_PM[:, batch])
        assert bool((right_PM[:, batch] - batch * 0.01 <= root + 1e-12).all())


def plan_value_at_root(model: StopModel, cost: float) -> torch.Tensor:
    return value_of(model, plan(model, torch.full((len(model),), cost)), cost, 0.0)


def test_expected_is_what_happens_over_all_answers() -> None:
    """Of any table: samples, rounds and correctness summed over every sequence of answers."""
    cap = 4
    model, atoms, prior_PJ = random_model(cap, 3, priors=1)
    plain = PlainModel(atoms, prior_PJ[0].tolist())
    batch_PS = torch.randint(0, 3, (1, len(model.states)), generator=torch.Generator().manual_seed(0))
    batch_PS = torch.minimum(batch_PS, cap - model.states.drawn_S).to(torch.int16)
    batch_PS[:, 0] = 2
    table = DrawTable(model.states, batch_PS)
    right = samples = rounds = 0.0
    for answers in product(ANSWERS, repeat=cap):
        drawn, waits = 0, 0
        while extra := table.extra(0, drawn, *_counts("".join(answers[:drawn]))):
            drawn, waits = drawn + extra, waits + 1
        chance = plain.chance("", "".join(answers))
        right += chance * plain.right("".join(answers[:drawn]))
        samples, rounds = samples + chance * drawn, rounds + chance * waits
    worth = expected(model, table)
    assert (float(worth.right), float(worth.samples), float(worth.rounds)) == pytest.approx((right, samples, rounds))


def _counts(history: str) -> tuple[int, int]:
    first, second = sorted((history.count("X"), history.count("Y")), reverse=True)
    return first, second


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), seeds, costs, round_costs)
def test_no_rule_is_worth_more_than_the_plan(cap: int, seed: int, cost: float, round_cost: float) -> None:
    """ASC, Doubling and every fixed number, under the very posterior that the plan is made for."""
    model, _, _ = random_model(cap, seed)
    best = value_of(model, plan(model, torch.full((3,), cost), round_cost), cost, round_cost)
    rivals = [ASC(threshold, cap).table for threshold in (0.7, 0.9, 0.97)]
    rivals += [Doubling(share, cap).table for share in (0.6, 0.8)]
    for n in range(1, cap + 1):
        batch_PS = torch.zeros(1, len(model.states), dtype=torch.int16)
        batch_PS[:, 0] = n
        rivals.append(DrawTable(model.states, batch_PS))
    for table in rivals:
        everyone = DrawTable(model.states, table.batch_PS.expand(3, -1))
        assert bool((value_of(model, everyone, cost, round_cost) <= best + 1e-8).all())


@settings(deadline=None, max_examples=10)
@given(seeds, costs, round_costs, st.integers(2, 3))
def test_esc_is_worth_no_more_than_the_plan(seed: int, cost: float, round_cost: float, window: int) -> None:
    """Windows remember more than counts; anything but the two answers agrees with nothing."""
    cap = 5
    model, atoms, prior_PJ = random_model(cap, seed, priors=1)
    plain, total = PlainModel(atoms, prior_PJ[0].tolist()), 0.0
    for answers in product(ANSWERS, repeat=cap):
        votes = [{"X": 0, "Y": 1, "R": ABSTAINED}[answer] for answer in answers]
        used, _ = plain_esc(votes, window, cap)
        rounds = -(-used // window)
        worth = plain.right("".join(answers[:used])) - used * cost - rounds * round_cost
        total += plain.chance("", "".join(answers)) * worth
    best = float(value_of(model, plan(model, torch.tensor([cost]), round_cost), cost, round_cost))
    assert total <= best + 1e-8


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 14), seeds)
def test_prices_move_what_they_price(cap: int, seed: int) -> None:
    """A dearer round never means more expected rounds, a dearer sample never more expected samples."""
    model, _, _ = random_model(cap, seed)
    cheap = torch.full((3,), 0.004)
    rounds = [expected(model, plan(model, cheap, c)).rounds for c in (0.0, 0.003, 0.01, 0.05, 0.3, float("inf"))]
    samples = [expected(model, plan(model, torch.full((3,), c), 0.01)).samples for c in (0.0, 0.002, 0.01, 0.05, 0.3)]
    for fewer in (rounds, samples):
        for before, after in pairwise(fewer):
            assert bool((after <= before + 1e-9).all())
    torch.testing.assert_close(rounds[-1], torch.ones(3, dtype=torch.float64))


def test_blocks_of_priors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = random_model(9, 5, priors=7)
    cost_P = torch.linspace(0.001, 0.02, 7, dtype=torch.float64)
    whole = plan(model, cost_P, 0.01)
    monkeypatch.setattr("t2.policies.planning._ELEMENTS_AT_ONCE", 1)
    assert torch.equal(plan(model, cost_P, 0.01).batch_PS, whole.batch_PS)


def test_mixtures_of_sums_are_the_sums_of_mixtures() -> None:
    """A prior over atoms, or the same by way of a few mixtures: one model."""
    atoms, generator = atoms_of(12, 0), torch.Generator().manual_seed(1)
    mixture_JA, weight_PJ = (torch.rand(*s, generator=generator, dtype=torch.float64) for s in ((4, 12), (6, 4)))
    by_mixtures = StateSums.of(atoms, mixture_JA, 7).model(weight_PJ)
    directly = stop_model(atoms, weight_PJ @ mixture_JA, 7)
    for name in ("right_PS", "lead_PS", "run_PS", "rest_PS"):
        torch.testing.assert_close(getattr(by_mixtures, name), getattr(directly, name))


def test_a_sure_greedy_answer_is_taken_and_a_poor_one_is_not() -> None:
    """Where the greedy answer is worth more than any plan, a question gets it alone."""
    atoms = AnswerAtoms(torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64), torch.tensor([1]))
    model, cost_P = stop_model(atoms, torch.ones(2, 1), 6), torch.full((2,), 0.01, dtype=torch.float64)
    table = plan(model, cost_P, 0.02, torch.tensor([0.95, 0.5], dtype=torch.float64))
    assert table.greedy_P is not None
    assert table.greedy_P.tolist() == [True, False]
    # Exactly where it pays: what it gets less one sample against the best plan, each with a round.
    worth = float(value_of(model, plan(model, cost_P, 0.02), 0.01, 0.02)[0]) + 0.02 + 0.01
    for chance, taken in ((worth + 1e-6, True), (worth - 1e-6, False)):
        assert plan(model, cost_P, 0.02, torch.full((2,), chance, dtype=torch.float64)).is_greedy(0) == taken


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 9), st.floats(0, 40), st.sampled_from([0.0, 0.5, 3.0, float("inf")]), st.booleans())
def test_replay_draws_what_the_rule_that_a_server_asks_draws(
    seed: int, cap: int, price: float, round_price: float, greedy: bool
) -> None:
    """Batch by batch, with the greedy answer, ragged pools and priors of questions: samples, waits, path and memory."""
    pool = random_pool(num=8, samples=10, seed=seed % 997, ragged=True)
    orders = Orders.of(pool, 1, seed % 991)
    model, _, _ = random_model(cap, seed)
    prior_Q = torch.arange(8) % 3
    chance_P = torch.tensor([0.99, 0.2, 0.6], dtype=torch.float64) if greedy else None
    rule = HeadThenStop(Priors(model, torch.full((3,), 300.0), chance_P), Prices(price, round_price), prior_Q)
    replay = rule.replay(orders)
    for q, (asked, (votes, tokens)) in enumerate(zip(table_rules(rule.table, prior_Q), rows_of(orders), strict=True)):
        if rule.table.is_greedy(int(prior_Q[q])):
            assert asked.extra([]) == replay.samples[q] == replay.rounds[q] == 1
            assert replay.correct[q] == pool.greedy_right_Q[q]
            assert replay.generated_tokens[q] == replay.critical_path[q] == pool.greedy_tokens_Q[q]
            continue
        drawn, sizes = 0, []
        while extra := asked.extra([None if vote == ABSTAINED else vote for vote in votes[:drawn]]):
            size = min(extra, len(votes) - drawn)
            if not size:
                break
            sizes.append(size)
            drawn += size
        path, held = engine(in_rounds(tokens, sizes))
        assert (replay.samples[q], replay.rounds[q], replay.peak[q]) == (drawn, len(sizes), max(sizes))
        assert replay.generated_tokens[q] == sum(tokens[:drawn])
        assert (replay.critical_path[q], replay.peak_kv[q]) == (path, held + pool.prompt_tokens_Q[q])
        assert replay.correct[q] == (leaders(votes[:drawn])[0] == 0)


def test_one_round_axes_are_means_over_all_subsets() -> None:
    """The longest of n samples exactly; the memory over subsets that are runs of the samples."""
    pool = random_pool(num=6, samples=7, ragged=True)
    axes = RoundAxes.of(pool, (1, 2, 4))
    for q in range(len(pool)):
        lengths = pool.tokens_QM[q][pool.present_QM[q]].tolist()
        for place, n in enumerate((1, 2, 4)):
            longest = [max(subset) for subset in combinations(lengths, min(n, len(lengths)))]
            assert float(axes.longest_QK[q, place]) == pytest.approx(sum(longest) / len(longest))
            most = [engine([list(subset)])[1] for subset in combinations(lengths, min(n, len(lengths)))]
            assert min(most) <= float(axes.held_QK[q, place]) <= max(most)
    for lengths in ([3, 3, 3], [1, 5, 9], [4], [0, 2, 0]):
        assert int(held_tokens(torch.tensor(lengths))) == engine([[n for n in lengths if n]])[1]
