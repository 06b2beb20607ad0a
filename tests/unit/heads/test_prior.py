"""PriorHead: its likelihood in plain Python, weights recovered and calibrated, curves of real questions, states."""

from __future__ import annotations

import copy
from collections import Counter
from math import exp, log
from pathlib import Path

import pytest
import torch
from helpers.graded_pools import random_pool
from torch import Tensor

from t2.budget_head import BudgetHead
from t2.comparison.fits import question_priors
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.export import load_exactly, save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, HeadShape, PriorHead, Targets
from t2.heads.answer_atoms import AnswerAtoms, answer_atoms, fitted_atoms, posterior, spread_over_questions, tempered
from t2.heads.base import targets_of
from t2.policies.rules import GreedyAnswer
from t2.policies.then_stop import Prices

GRID = (1, 3, 5, 7)
SHAPE = HeadShape(num_layers=2, width=8, grid=GRID, label_grid=(1, 3))


def trainable(num: int = 40) -> tuple[Tensor, Targets]:
    """Features at random, and what a pool at random teaches."""
    pool = random_pool(num=num, samples=14)
    return torch.randn(num, 2, 8, generator=torch.Generator().manual_seed(0)), targets_of(
        budget_labels(pool, GRID, 0.02), pool
    )


def started(**arguments: float) -> tuple[PriorHead, Tensor, Targets]:
    torch.manual_seed(0)
    head = PriorHead(SHAPE, num_atoms=6, components=5, **arguments)  # type: ignore[arg-type]
    pooled, targets = trainable()
    head.start_stage(pooled, targets)
    return head, pooled, targets


def plain_loss(head: PriorHead, weights: list[float], count: list[float], right: int) -> float:
    """-log of the sum over atoms, term by term; the question's two answers may be the atom's in either order."""
    n1, n2, rest = count
    total = 0.0
    for weight, (s1, s2, r), c in zip(weights, head.share_J3.tolist(), head.right_J.tolist(), strict=True):
        same = s1**n1 * s2**n2 * r**rest * (right == c)
        changed = s2**n1 * s1**n2 * r**rest * ({1: 2, 2: 1, 0: 0}[right] == c)
        total += weight * (same + changed) ** (1 / head.tau)
    return -log(total)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_the_loss_is_the_sum_over_atoms(tau: float) -> None:
    head, pooled, targets = started(tau=tau)
    raw = head.eval()(pooled) + 0.4 * torch.randn(40, 7, generator=torch.Generator().manual_seed(1))
    weights = raw[:, :6].double().softmax(1).tolist()
    terms = [
        plain_loss(head, own, count, right)
        for own, count, right in zip(weights, targets.count_B3.tolist(), targets.right_B.tolist(), strict=True)
    ]
    assert float(head.budget_loss(raw, targets)) == pytest.approx(sum(terms) / 40, rel=1e-6)


@pytest.mark.parametrize("members", [1, 3])
def test_the_folded_head_says_the_same(members: int) -> None:
    """Against `forward`, of weights that are not those that training starts from, at activations of every size."""
    head, pooled, _ = started(members=members)
    with torch.no_grad():
        for value in head.members.parameters():
            value.normal_(std=0.4, generator=torch.Generator().manual_seed(value.numel()))
    folded = head.folded()
    for size in (1e-3, 1.0, 1e3):
        own = head.eval()(size * pooled)
        assert torch.allclose(folded(size * pooled), own, atol=1e-4)
        assert own.std(0).min() > 0.1  # prompts differ in every output, so this could have failed


def test_the_folded_head_is_as_exact_where_some_coordinates_are_huge() -> None:
    """As in LLMs: one coordinate of a layer is a thousand times the others and hardly varies. Against float64."""
    pooled, targets = trainable()
    pooled[:, :, 3] = 1000 + 0.01 * pooled[:, :, 3]
    torch.manual_seed(0)
    head = PriorHead(SHAPE, num_atoms=6, components=5)
    head.start_stage(pooled, targets)
    with torch.no_grad():
        for value in head.members.parameters():
            value.normal_(std=0.4, generator=torch.Generator().manual_seed(value.numel()))
    own, folded = head.eval()(pooled), head.folded()(pooled)
    exact = copy.deepcopy(head).double()(pooled.double())
    own_error, folded_error = float((own - exact).abs().max()), float((folded - exact).abs().max())
    assert folded_error < 3 * own_error + 1e-6


def test_two_atoms_recover_the_share_of_each() -> None:
    """Answers that only one atom can give: the likelihood is largest where weights are shares, in closed form."""
    head, _, targets = started()
    head.share_J3.copy_(torch.tensor([[0.7, 0.2, 0.1]] * 6))
    head.right_J.copy_(torch.tensor([1, 1, 1, 0, 0, 0]))
    targets = targets._replace(right_B=(torch.arange(40) % 5 == 0).long())  # a fifth are right
    logits = torch.zeros(7, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], lr=1.0, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = head.budget_loss(logits.expand(40, -1), targets)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]  # a Tensor is what it wants
    weights = logits[:6].detach().double().softmax(0)
    assert float(weights[:3].sum()) == pytest.approx(0.2, abs=1e-3)


def simulated(num: int, seed: int) -> tuple[Tensor, Tensor, Targets, AnswerAtoms]:
    """Questions drawn from three known atoms, which two features tell apart as far as that is possible."""
    generator = torch.Generator().manual_seed(seed)
    atoms = AnswerAtoms(
        torch.tensor([[0.85, 0.1, 0.05], [0.5, 0.3, 0.2], [0.3, 0.25, 0.45]], dtype=torch.float64),
        torch.tensor([1, 1, 0]),
    )
    x = torch.randn(num, 1, 4, generator=generator)
    logits = torch.stack([1.5 * x[:, 0, 0], 0.5 + x[:, 0, 1], -1.5 * x[:, 0, 0]], 1)
    atom_B = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    votes = torch.multinomial(atoms.share_J3[atom_B].float(), 12, replacement=True, generator=generator)
    counts = torch.stack([(votes == answer).sum(1) for answer in range(3)], 1).double()
    right = atoms.right_J[atom_B]
    # The more frequent of the two answers comes first.
    turned = counts[:, 1] > counts[:, 0]
    counts[turned] = counts[turned][:, [1, 0, 2]]
    right = torch.where(turned & (right == 1), 2, right)
    targets = Targets(
        acc_BK=torch.rand(num, 4, generator=generator),
        n_star_B=torch.zeros(num, dtype=torch.long),
        never_B=torch.zeros(num, dtype=torch.bool),
        log_tokens_B=torch.full((num,), 3.0),
        fold_B=torch.arange(num) % 2,
        count_B3=counts,
        right_B=right,
        greedy_right_B=torch.full((num,), torch.nan),
    )
    return x, atom_B, targets, atoms


@pytest.mark.slow
def test_weights_are_calibrated_on_questions_from_known_atoms() -> None:
    """Of the questions given an atom with a chance of 0.7, about 0.7 are of that atom: 5,000 questions, tau = 1."""
    shape = HeadShape(num_layers=1, width=4, grid=GRID, label_grid=(1, 3))
    x, _, targets, atoms = simulated(4000, seed=1)
    torch.manual_seed(0)
    head = PriorHead(shape, num_atoms=3, components=4, hidden=16, members=1, dropout=0.0, tau=1.0)
    head.start_stage(x, targets)
    # The question is whether weights are right, not whether atoms are found: these are given.
    head.share_J3.copy_(atoms.share_J3)
    head.right_J.copy_(atoms.right_J)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    head.train()
    for _ in range(6):
        for rows in torch.randperm(4000, generator=generator).split(100):
            optimizer.zero_grad()
            head.loss(head(x[rows]), targets.take(rows)).backward()
            optimizer.step()
    x, atom_B, _, _ = simulated(5000, seed=2)
    with torch.no_grad():
        weights = head.eval().predict(head(x)).atom_weights_BJ
    assert weights is not None
    for atom in range(3):
        order = weights[:, atom].argsort().split(500)
        for rows in order:
            said, came = float(weights[rows, atom].mean()), float((atom_B[rows] == atom).double().mean())
            # Five deviations of a share of 500 questions, and a tenth of a decile's width for what was learned.
            assert abs(said - came) < 5 * (0.25 / 500) ** 0.5
    # And they say much: constant weights would be calibrated too.
    assert float(weights.std(0).max()) > 0.2


@pytest.mark.parametrize(("questions", "width"), [(40, 60), (60, 16)])
def test_components_are_those_of_a_singular_value_decomposition(questions: int, width: int) -> None:
    """Whether there are more coordinates than questions or fewer."""
    generator = torch.Generator().manual_seed(4)
    pooled = torch.randn(questions, 2, width // 2, generator=generator) * torch.linspace(0.2, 3, width // 2)
    pool = random_pool(num=questions, samples=14)
    head = PriorHead(HeadShape(2, width // 2, GRID, (1, 3)), num_atoms=6, components=5)
    head.start_stage(pooled, targets_of(budget_labels(pool, GRID, 0.02), pool))
    x = head.standardise(pooled).flatten(1).double()
    _, singular, directions = torch.linalg.svd(x, full_matrices=False)
    expected = directions[:5].T * 8.0 / (singular[0] / questions**0.5)
    signs = (expected * head.basis_FC.double()).sum(0).sign()
    torch.testing.assert_close(head.basis_FC.double(), expected * signs, atol=1e-4, rtol=1e-4)


def test_curves_are_those_of_the_training_questions_under_the_weights() -> None:
    head, pooled, targets = started()
    prediction = head.eval().predict(head(pooled))
    assert prediction.accuracy_BK is not None
    assert prediction.atom_weights_BJ is not None
    served = torch.cat([targets.greedy_right_B[:, None], targets.acc_BK[:, 1:]], 1)  # one answer is the greedy one
    fits = tempered(head.atoms, targets.count_B3, targets.right_B, head.tau)
    of_question = posterior(head.prior_J.log(), fits)
    by_hand = torch.zeros(40, 4, dtype=torch.float64)
    for b in range(40):
        for j, weight in enumerate(prediction.atom_weights_BJ[b].tolist()):
            share = of_question[:, j] / of_question[:, j].sum()
            by_hand[b] += weight * (share[:, None] * served).sum(0)
    torch.testing.assert_close(prediction.accuracy_BK.double(), by_hand, atol=1e-5, rtol=0)


def test_a_fresh_head_says_the_same_of_every_question() -> None:
    """The atoms' own shares: training starts from what is known without any feature."""
    head, pooled, _ = started()
    weights = head.eval().predict(head(pooled)).atom_weights_BJ
    assert weights is not None
    torch.testing.assert_close(weights, head.prior_J.float().expand(40, -1), atol=1e-6, rtol=0)


def test_a_second_stage_keeps_what_was_learned() -> None:
    """More questions choose atoms and components anew; what the head says of a question hardly changes."""
    head, pooled, targets = started()
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    half = torch.arange(30)
    head.start_stage(pooled[half], targets.take(half))
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(head.train()(pooled[half]), targets.take(half)).backward()
        optimizer.step()

    def curve() -> Tensor:
        with torch.no_grad():
            found = head.eval().predict(head(pooled)).accuracy_BK
        assert found is not None
        return found

    before = curve()
    head.start_stage(pooled, targets)
    after, spread = curve(), before.std(0).mean()
    assert float((after - before).abs().mean()) < float(spread)
    assert float(torch.corrcoef(torch.stack([before[:, -1], after[:, -1]]))[0, 1]) > 0.7


def test_a_state_brings_its_questions() -> None:
    """A head that is loaded has as many training questions as the one that was saved, and says the same."""
    head, pooled, _ = started()
    other = PriorHead(SHAPE, **{**head.arguments})
    load_exactly(other, head.state_dict(), "a test")
    again = PriorHead(SHAPE, **{**head.arguments})
    again.load_state_dict(head.state_dict())
    said = head.eval().predict(head(pooled)).accuracy_BK
    for each in (other, again):
        assert torch.equal(each.eval().predict(each(pooled)).accuracy_BK, said)  # type: ignore[arg-type]
        assert len(each.tokens_Q) == 40


def test_questions_that_fit_no_atom_teach_nothing() -> None:
    """Where all training questions have one answer there is one kind of atom: another kind has likelihood 0."""
    head, pooled, targets = started()
    alike = targets._replace(count_B3=torch.tensor([[14.0, 0, 0]] * 40).double(), right_B=torch.ones(40).long())
    head.start_stage(pooled, alike)
    raw = head.eval()(pooled)
    assert bool(raw.isfinite().all())
    wrong = alike._replace(right_B=torch.zeros(40, dtype=torch.long))
    assert float(head.budget_loss(raw, wrong)) == 0
    prediction = head.predict(raw)
    assert prediction.accuracy_BK is not None
    assert bool(prediction.accuracy_BK.isfinite().all())


def test_fitted_atoms_climb_the_likelihood() -> None:
    """A few steps of EM: atoms explain the votes better than the medoids that they start from."""
    pool = random_pool(num=80, samples=14)
    count, right = pool.top_counts()
    atoms, prior = fitted_atoms(count, right, 5, tau=1.0)
    own = answer_atoms(pool)
    assert float(prior.sum()) == pytest.approx(1)
    from t2.heads.medoids import medoids

    points = torch.cat([own.share_J3.sqrt(), torch.nn.functional.one_hot(own.right_J, 3).double()], 1)
    start = own.take(medoids(points, 5))

    def fit(each: AnswerAtoms, weights: Tensor) -> float:
        terms = weights.log() + tempered(each, count, right, 1.0)
        return float(terms.logsumexp(1).clamp(min=-1e3).mean())

    assert fit(atoms, prior) > fit(start, torch.full((len(start),), 1 / len(start)).double()) + 0.05


def test_spread_is_a_share_of_questions() -> None:
    posterior_QJ = torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 0.0]])
    spread = spread_over_questions(posterior_QJ)
    assert spread[0].tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert spread[1].tolist() == pytest.approx([1 / 3] * 3)  # an atom that nobody is like is all of them


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"num_atoms": 1}, "`num_atoms` from 2"), ({"tau": 0.5}, "`tau` of at least 1"), ({"lam": 1.5}, "`lam` in")],
)
def test_bad_arguments(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(T2Error, match=words):
        PriorHead(SHAPE, **arguments)  # type: ignore[arg-type]


def test_lower_temperature_weighs_votes_less() -> None:
    """Of a question and an atom that fits well, tau = 4 leaves a quarter of the evidence."""
    atoms = AnswerAtoms(torch.tensor([[0.8, 0.1, 0.1]], dtype=torch.float64), torch.tensor([1]))
    count, right = torch.tensor([[9.0, 1, 2]]), torch.tensor([1])
    sharp, soft = (float(tempered(atoms, count, right, tau)) for tau in (1.0, 4.0))
    assert soft == pytest.approx(sharp / 4)
    assert exp(sharp) == pytest.approx(0.8**9 * 0.1**3)


def test_an_export_plans_as_the_comparison_does(tmp_path: Path) -> None:
    """Any pair of prices, from the folder alone: the very tables that are replayed on the training questions' pool."""
    pool = random_pool(num=40, samples=14)
    labels = budget_labels(pool, GRID, 0.02)
    head, pooled, _ = started()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    loaded = BudgetHead.from_pretrained(save_head(head.eval(), HeadRecord.of(head), tmp_path / "head"))
    known, train = Known.of_head(head, pooled), Slice.of(pool, labels, seed=0, num_orders=2)
    for prices in (Prices(3.0), Prices(3.0, 1.0), Prices(20.0, float("inf"))):
        rules = loaded.plans(pooled, prices.price, prices.round_price)
        priors, prior_B = question_priors(train, known, cap=7)
        table = priors.tables([prices])[0]
        assert prior_B.tolist() == list(range(40))
        for q, rule in enumerate(rules):
            if table.is_greedy(q):
                assert rule == GreedyAnswer()
                continue
            for votes in ([], ["a"], ["a", "a"], ["a", "b", None], ["a", "b", "b", "c"]):
                drawn = Counter(vote for vote in votes if vote)
                first, second = [*sorted(drawn.values(), reverse=True), 0, 0][:2]
                assert rule.extra(votes) == table.extra(q, len(votes), first, second)
    assert len({rule.extra([]) for rule in loaded.plans(pooled, 3.0, 1.0)}) > 1
    with pytest.raises(T2Error, match="Expected a `round_price` >= 0"):
        loaded.plans(pooled, 3.0, -1.0)
    with pytest.raises(T2Error, match="Expected `max_samples` of at least 1"):
        loaded.plans(pooled, 3.0, max_samples=0)
    curve = CurveHead(SHAPE)
    curves = BudgetHead.from_pretrained(save_head(curve, HeadRecord.of(curve), tmp_path / "curve"))
    with pytest.raises(T2Error, match="Expected a PriorHead to plan rounds with, got CurveHead"):
        curves.plans(pooled, 3.0)
