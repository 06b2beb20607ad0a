"""HeadThenStop: backward induction in plain Python, priors of groups and of everybody, atoms by hand."""

from __future__ import annotations

import pytest
import torch
from helpers.graded_pools import graded_pool, random_pool
from helpers.plain_rules import plain_stops

from t2.errors import T2Error
from t2.heads.answer_atoms import AnswerAtoms, answer_atoms
from t2.policies import HeadThenStop, Orders
from t2.policies.planning import plan
from t2.policies.then_stop import Prices, Priors, no_head, softened, stop_model
from t2.voting import ABSTAINED


def atoms_of(num: int = 6, seed: int = 0) -> AnswerAtoms:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(num, 3, generator=generator, dtype=torch.float64) + 0.02
    share = torch.cat([share[:, :2].sort(1, descending=True).values, share[:, 2:]], 1)
    return AnswerAtoms(share / share.sum(1, keepdim=True), torch.randint(0, 3, (num,), generator=generator))


@pytest.mark.parametrize("cost", [0.0, 0.003, 0.02, 0.1])
def test_free_rounds_stop_as_plain_backward_induction_does(cost: float) -> None:
    atoms, cap = atoms_of(), 7
    prior_PJ = torch.rand(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = stop_model(atoms, prior_PJ, cap)
    found = plan(model, torch.full((2,), cost, dtype=torch.float64)).stop_PS
    torch.testing.assert_close(model.lead_PS + model.run_PS + model.rest_PS, torch.ones(2, len(model.states)).double())
    for p in range(2):
        for (n, v1, v2), stops in plain_stops(atoms, prior_PJ[p].tolist(), cap, cost).items():
            assert bool(found[p, model.states.index_NVV[n, v1, v2]]) == stops, (p, n, v1, v2)


def test_a_prior_is_worth_knowing() -> None:
    """A question that voting solves and a hopeless one with the same votes: only a prior can tell them apart."""
    same = [0.5, 0.15, 0.35]
    atoms = AnswerAtoms(torch.tensor([same, same], dtype=torch.float64), torch.tensor([1, 0]))
    tokens, orders = torch.full((2,), 50.0), Orders.of(graded_pool([[0, 1, 0, 2, 0, 1, 0, 0]] * 2), 4, 0)
    own = Priors(stop_model(atoms, torch.eye(2), 8), tokens)
    knowing = HeadThenStop(own, Prices(20.0), torch.tensor([0, 1])).replay(orders)
    without = HeadThenStop(Priors(no_head(atoms, 8), tokens[:1]), Prices(20.0)).replay(orders)
    assert knowing.samples[1] == 1
    assert knowing.samples[0] >= without.samples[0] > 1
    assert without.samples[1] > 1


def test_softened_priors_lie_between_the_group_and_everybody() -> None:
    atoms, cap = atoms_of(), 6
    member_PJ = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
    by_hand = torch.tensor([[4, 4, 1, 1, 1, 1], [1, 1, 3, 3, 3, 1], [2, 2, 2, 2, 2, 2]]).double() / 12
    torch.testing.assert_close(softened(member_PJ, 0.5), by_hand)
    sharp, everybody = stop_model(atoms, softened(member_PJ, 0.0), cap), no_head(atoms, cap)
    torch.testing.assert_close(sharp.right_PS[:2], stop_model(atoms, member_PJ[:2], cap).right_PS)
    torch.testing.assert_close(sharp.right_PS[2:], everybody.right_PS)
    torch.testing.assert_close(
        stop_model(atoms, softened(member_PJ, 1.0), cap).right_PS, everybody.right_PS.expand(3, -1)
    )


def test_a_sure_group_does_not_end_all_sampling() -> None:
    """A bin that held only hopeless training questions stopped at one sample even where samples cost nothing."""
    share = torch.tensor([[0.3, 0.2, 0.5], [0.5, 0.2, 0.3]], dtype=torch.float64)
    atoms, member_PJ = AnswerAtoms(share, torch.tensor([0, 1])), torch.tensor([[1.0, 0.0]])
    orders, tokens = Orders.of(graded_pool([[0, 1, 0, 2, 0, 1, 0, 0]]), 8, 0), torch.tensor([50.0])
    samples = [
        float(HeadThenStop(Priors(stop_model(atoms, prior_PJ, 8), tokens), Prices(0.0)).replay(orders).samples.mean())
        for prior_PJ in (softened(member_PJ, 0.0), softened(member_PJ))
    ]
    assert samples[0] == 1
    assert samples[1] > 1


def test_price_moves_samples_one_way() -> None:
    pool = random_pool(samples=16)
    model, orders = no_head(answer_atoms(pool), 12), Orders.of(pool, 8, 0)
    samples = [float(HeadThenStop(Priors(model, torch.tensor([50.0])), Prices(price)).replay(orders).samples.mean()) for price in (0, 1, 5, 50, 1e4)]  # fmt: skip  # noqa: E501
    assert samples == sorted(samples, reverse=True)
    assert samples[-1] == 1


def test_answer_atoms_by_hand() -> None:
    pool = graded_pool([[0, 0, 0, 1, 1, ABSTAINED, 2, 0], [1, 1, 1, 0, 0, 2, 2, 2], [2, 2, 1, ABSTAINED, 3, 3, 3, 1]])
    atoms = answer_atoms(pool)
    by_hand = torch.tensor([[4, 2, 2], [3, 3, 2], [3, 2, 3]]) + 0.5
    torch.testing.assert_close(atoms.share_J3, by_hand.double() / 9.5)
    assert atoms.right_J.tolist() == [1, 0, 0]
    assert answer_atoms(graded_pool([[1, 1, 1, 0, 0, ABSTAINED]])).right_J.tolist() == [2]
    assert answer_atoms(graded_pool([[ABSTAINED] * 4])).right_J.tolist() == [0]


def test_a_free_sample_that_changes_nothing_is_not_drawn() -> None:
    """Shares rounded to float32 summed to more than 1: even a vote that could turn nothing brought a little."""
    atoms = answer_atoms(graded_pool([[0]]))
    by_hand = torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(atoms.share_J3, by_hand, rtol=0, atol=1e-15)
    replay = HeadThenStop(Priors(no_head(atoms, 2), torch.tensor([50.0])), Prices(0.0)).replay(
        Orders.of(graded_pool([[0, 0]]), 1, 0)
    )
    assert replay.samples == 1


@pytest.mark.parametrize("price", [-1.0, float("inf"), float("nan")])
def test_bad_prices(price: float) -> None:
    with pytest.raises(T2Error, match="Expected a finite `price` >= 0"):
        Prices(price)


@pytest.mark.parametrize("round_price", [-1.0, float("nan")])
def test_bad_round_prices(round_price: float) -> None:
    with pytest.raises(T2Error, match="Expected a `round_price` >= 0"):
        Prices(1.0, round_price)
