"""Sequential rules against plain Python, one sample and one question at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.graded_pools import graded_pool, random_pool, with_tokens_shuffled
from helpers.plain_rules import halves_of, leaders, own_oracle, plain_dsc, plain_esc, rows_of
from helpers.seeds import SIGMAS, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc

from t2.curves.halves import half_curves
from t2.curves.labels import accuracy_on_grid
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import answer_atoms
from t2.policies import ASC, DSC, ESC, BayesOracle, Doubling, HeadThenStop, Orders, TableRule
from t2.policies.dsc import half_orders, replay_other_half
from t2.policies.states import vote_states
from t2.policies.stopping import Sequential, stop_table
from t2.policies.then_stop import Prices, Priors, no_head
from t2.voting import ABSENT

# Vote states


@pytest.mark.parametrize("cap", [1, 2, 5, 9])
def test_states_are_all_that_votes_can_reach(cap: int) -> None:
    states = vote_states(cap)
    reachable, frontier = {(0, 0, 0)}, {(0, 0, 0)}
    while frontier:
        found = set()
        for n, v1, v2 in frontier:
            if n < cap:
                found |= {(n + 1, v1 + 1, v2), (n + 1, v1, v2), (n + 1, max(v1, v2 + 1), min(v1, v2 + 1))}
        frontier = found - reachable
        reachable |= found
    listed = list(zip(states.drawn_S.tolist(), states.first_S.tolist(), states.second_S.tolist(), strict=True))
    assert len(listed) == len(set(listed))
    assert set(listed) == reachable
    for s, (n, v1, v2) in enumerate(listed):
        if n < cap:
            assert listed[int(states.lead_S[s])] == (n + 1, v1 + 1, v2)
            assert listed[int(states.run_S[s])] == (n + 1, *sorted((v1, v2 + 1), reverse=True))
            assert listed[int(states.rest_S[s])] == (n + 1, v1, v2)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0.02, 0.9))
def test_batches_draw_what_one_at_a_time_draws(seed: int, cap: int, share: float) -> None:
    """Any rule over states, also one that no reason could have made: the same samples, and never one too many."""
    states = vote_states(cap)
    stop_S = torch.rand(len(states), generator=torch.Generator().manual_seed(seed)) < share
    pool = random_pool(num=8, samples=10, seed=seed % 997, ragged=True)
    orders = Orders.of(pool, 1, seed % 991)
    table = stop_table(stop_S[None].clone(), states)
    replay = TableRule(table).replay(orders)
    for q, (votes, tokens) in enumerate(rows_of(orders)):
        used = next(
            n
            for n in range(1, 99)
            if n >= min(cap, len(votes)) or bool(stop_S[states.index_NVV[(n, *leaders(votes[:n])[1:])]])
        )
        assert replay.samples[q] == used
        assert replay.generated_tokens[q] == sum(tokens[:used])
        assert replay.correct[q] == (leaders(votes[:used])[0] == 0)
        drawn, sizes = 0, []
        while drawn < used:  # what a server does
            _, first, second = leaders(votes[:drawn])
            sizes.append(min(table.extra(0, drawn, first, second), len(votes) - drawn))
            drawn += sizes[-1]
        assert drawn == used
        assert (len(sizes), max(sizes)) == (replay.rounds[q], replay.peak[q])


# Windows


@pytest.mark.parametrize("window", [2, 3, 5, 8])
@pytest.mark.parametrize(("cap", "ragged"), [(16, False), (11, True), (3, False), (40, True)])
@pytest.mark.parametrize("answer", ["all", "window"])
def test_esc_is_the_plain_rule(window: int, cap: int, ragged: bool, answer: str) -> None:
    orders = Orders.of(random_pool(ragged=ragged), 1, 4)
    replay = ESC(window, cap, answer).replay(orders)
    for q, (votes, tokens) in enumerate(rows_of(orders)):
        used, agreed = plain_esc(votes, window, cap)
        assert (replay.samples[q], replay.generated_tokens[q]) == (used, sum(tokens[:used]))
        chosen = votes[used - 1] if agreed and answer == "window" else leaders(votes[:used])[0]
        assert replay.correct[q] == (chosen == 0)
        assert (replay.rounds[q], replay.peak[q]) == (-(-used // window), min(window, used))


@pytest.mark.parametrize("share", [0.6, 0.75, 1.0])
@pytest.mark.parametrize("cap", [1, 6, 16])
def test_doubling_is_the_plain_rule(share: float, cap: int) -> None:
    orders = Orders.of(random_pool(), 1, 4)
    replay = Doubling(share, cap).replay(orders)
    for q, (votes, _) in enumerate(rows_of(orders)):
        used, rounds = min(2, cap), 1
        while used < cap and leaders(votes[:used])[1] / used < share - 1e-9:
            used, rounds = min(2 * used, cap), rounds + 1
        assert replay.samples[q] == used
        assert replay.rounds[q] <= rounds  # where no later look can stop, what is left comes in one round


def test_bad_windows_and_shares() -> None:
    with pytest.raises(T2Error, match="ESC window of at least 2 samples, got 1"):
        ESC(1)
    with pytest.raises(T2Error, match="ESC `answer` to be 'all' or 'window', got 'last'"):
        ESC(answer="last")
    for share in (0.5, 1.01, float("nan")):
        with pytest.raises(T2Error, match=r"Doubling share above 0\.5 and at most 1"):
            Doubling(share)


# DSC


@pytest.mark.parametrize("cap", [3, 16])
@pytest.mark.parametrize("easy_share", [0.0, 0.6])
def test_dsc_is_the_plain_rule(cap: int, easy_share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hard = random_pool(num=60).vote_QM.tolist()
    num_easy = int(easy_share * 100)
    pool = graded_pool([[0] * 16] * num_easy + hard)
    pool = replace(pool, greedy_right_Q=torch.rand(len(pool), generator=generator) < 0.5)
    hardness = torch.arange(len(pool)).double()
    orders = Orders.of(pool, 2, 3)
    replay = DSC(hardness, cap=cap).replay(orders)
    per_order = [plain_dsc(rows_of(orders, r), hardness.tolist(), cap) for r in range(2)]
    for q in range(len(pool)):
        assert replay.samples[q] == sum(order[q].drawn + order[q].greedy for order in per_order) / 2
        assert replay.rounds[q] == sum(order[q].rounds for order in per_order) / 2
    greedy = [q for q in range(len(pool)) if all(order[q].greedy for order in per_order)]
    assert bool(greedy) == (easy_share > 0 and cap >= 4)
    for q in greedy:
        assert replay.correct[q] == float(pool.greedy_right_Q[q])
    # The 32 that were judged pay for it; those below them only their greedy answer.
    assert {float(replay.samples[q]) for q in greedy} <= {1.0, 5.0, 3.0}


@pytest.mark.parametrize("cap", [5, 16])
def test_dsc_by_the_other_half_is_the_plain_rule_on_samples_that_gave_no_score(cap: int) -> None:
    """Told with one half's samples for the order and the other half's for the replay, both ways."""
    pool = graded_pool([[0] * 16] * 40 + random_pool(num=30).vote_QM.tolist())
    halves, orders, fold = halves_of(pool, (1, 3, 5)), half_orders(pool, 3, 4), pool.fold_QM().tolist()
    replay = replay_other_half(halves, orders, 0.95, cap)
    samples, votes_QM = torch.zeros(len(pool)), pool.vote_QM.tolist()
    for chooser, scorer in ((0, 1), (1, 0)):
        split = [[[v for v, f in zip(*pair, strict=True) if f == h] for pair in zip(votes_QM, fold, strict=True)] for h in (0, 1)]  # fmt: skip  # noqa: E501
        hardness = [-votes.count(0) / len(votes) for votes in split[chooser]]
        for r in range(3):
            rows = rows_of(orders[scorer], r)
            assert [sorted(votes) for votes, _ in rows] == [sorted(votes) for votes in split[scorer]]
            told = plain_dsc(rows, hardness, min(cap, 8))
            samples += torch.tensor([float(judged.drawn + judged.greedy) for judged in told]) / 6
    torch.testing.assert_close(replay.samples.float(), samples)
    assert replay.samples.max() <= min(cap, 8) + 1  # and perhaps a greedy answer
    assert replay.generated_tokens.min() > 0


# All of them


def rules(pool: GradedPool) -> dict[str, Sequential]:
    model = no_head(answer_atoms(pool), 12)
    return {
        "ASC": ASC(0.9, 12),
        "ESC": ESC(3, 12),
        "Doubling": Doubling(0.8, 12),
        "DSC": DSC(torch.arange(len(pool)).double(), cap=12),
        "NoHeadThenStop": HeadThenStop(Priors(model, torch.tensor([60.0])), Prices(2.0)),
    }


@pytest.mark.parametrize("name", ["ASC", "ESC", "Doubling", "DSC", "NoHeadThenStop"])
def test_true_lengths_change_no_decision(name: str) -> None:
    pool = random_pool()
    other = with_tokens_shuffled(pool)
    rule = rules(pool)[name]
    a, b = rule.replay(Orders.of(pool, 3, 0)), rule.replay(Orders.of(other, 3, 0))
    assert torch.equal(a.samples, b.samples)
    assert torch.equal(a.correct, b.correct)
    assert not torch.equal(a.generated_tokens, b.generated_tokens)


@pytest.mark.parametrize("name", ["ASC", "ESC", "Doubling", "NoHeadThenStop"])
def test_cost_adds_up_sample_by_sample(name: str) -> None:
    pool = random_pool(ragged=True)
    orders = Orders.of(pool, 1, 9)
    replay = rules(pool)[name].replay(orders)
    for q, (_, tokens) in enumerate(rows_of(orders)):
        assert replay.generated_tokens[q] == sum(tokens[: int(replay.samples[q])])
    torch.testing.assert_close(
        replay.total_tokens_reprefilled - replay.total_tokens, (replay.rounds - 1) * replay.prompt_tokens
    )


def test_taking_rows_before_or_after_a_replay_is_one() -> None:
    pool, rows = random_pool(), torch.tensor([7, 3, 20])
    orders = Orders.of(pool, 3, 0)
    for name, rule in rules(pool).items():
        if name != "DSC":  # it decides over the whole batch
            whole, part = rule.replay(orders).take(rows), rule.replay(orders.take(rows))
            assert all(torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(part).values(), strict=True)), name


@pytest.mark.statistical
def test_the_error_of_orders_is_the_spread_of_repeated_replays() -> None:
    pool = random_pool(num=60)
    repeats = [ASC(0.8, 12).replay(Orders.of(pool, 8, shifted(number))) for number in range(120)]
    spread = torch.stack([replay.correct.mean() for replay in repeats]).std()
    stated = sum(replay.order_error for replay in repeats) / len(repeats)
    assert stated == pytest.approx(float(spread), rel=0.065 * SIGMAS)  # 1 / sqrt(2 * 120): the error of a deviation


# Short answers vote first


def test_arrivals_are_the_started_samples_by_length() -> None:
    pool = random_pool(ragged=True)
    arrivals = Orders.of_arrivals(pool, 2, 0, width=6)
    assert arrivals.limit_Q.tolist() == [6] * len(pool)
    for r in range(2):
        for q, (votes, tokens) in enumerate(rows_of(arrivals, r)):
            assert tokens == sorted(tokens)
            own = list(zip(pool.vote_QM[q].tolist(), pool.tokens_QM[q].tolist(), strict=True))
            for pair in zip(votes, tokens, strict=True):
                own.remove(pair)


def test_concurrent_asc_is_the_plain_rule() -> None:
    pool = random_pool(ragged=True)
    arrivals = Orders.of_arrivals(pool, 1, 1, width=14)
    replay = ASC(0.9, 14).replay_concurrent(arrivals)
    for q, (votes, tokens) in enumerate(rows_of(arrivals)):
        for used in range(1, len(votes) + 1):
            _, first, second = leaders(votes[:used])
            if 1 - betainc(first + 1, second + 1, 0.5) >= 0.9:
                break
        assert replay.correct[q] == (leaders(votes[:used])[0] == 0)
        assert replay.samples[q] == len(votes)
        assert replay.generated_tokens[q] == sum(min(t, tokens[used - 1]) for t in tokens)


# References


def test_bayes_oracle_is_posterior_mean_utility_by_hand() -> None:
    pool = random_pool(num=10, samples=16)
    grid, train = (1, 3, 5), random_pool(num=20, samples=16, seed=5)
    atoms, curve_JK = answer_atoms(train), accuracy_on_grid(train, grid)
    replay = BayesOracle(price=3.0).replay(halves_of(pool, grid), pool, atoms, curve_JK)
    fold = pool.fold_QM()
    for q in range(10):
        got = []
        for half in (0, 1):
            votes = [v for v, f in zip(pool.vote_QM[q].tolist(), fold[q].tolist(), strict=True) if f == half]
            tokens = [t for t, f in zip(pool.tokens_QM[q].tolist(), fold[q].tolist(), strict=True) if f == half]
            _, v1, v2 = leaders(votes)
            weight = [
                s1**v1 * s2**v2 * r ** (8 - v1 - v2) + s2**v1 * s1**v2 * r ** (8 - v1 - v2)
                for s1, s2, r in atoms.share_J3.tolist()
            ]
            curve = [sum(w * c[k] for w, c in zip(weight, curve_JK.tolist(), strict=True)) / sum(weight) for k in range(3)]  # fmt: skip  # noqa: E501
            mean = sum(tokens) / 8
            best = max(range(3), key=lambda k: 100 * curve[k] - 3.0 * grid[k] * mean / 1000)
            truth = accuracy_on_grid(pool.take([q]), grid, fold[[q]] == 1 - half)[0]
            got.append(float(truth[best]))
        assert float(replay.correct[q]) == pytest.approx(sum(got) / 2, abs=1e-9)


def test_oracles_need_two_samples() -> None:
    """A half without samples has no curve: it raised a ValueError from the depths. Without halves, no oracle."""
    assert half_curves(graded_pool([[0], [1]]), (1,)) is None
    assert own_oracle(1.0, graded_pool([[0, 0], [1, 0]]), (1,)).samples.tolist() == [1, 1]


def test_ragged_pools_cap_themselves() -> None:
    pool = graded_pool([[0] * 3 + [ABSENT] * 5, [1, 0, 1, 0, 1, 0, 1, 0]])
    replay = ESC(8, 8).replay(Orders.of(pool, 1, 0))
    assert replay.samples.tolist() == [3, 8]
