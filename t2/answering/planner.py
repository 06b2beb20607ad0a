"""From what a head says of one question, and what the request asks, to the plan that it is answered by. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from t2.answering.options import AnswerOptions
from t2.answering.plan import Posterior, QuestionPlan
from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.heads.prior import PriorHead
from t2.heads.training_votes import TrainingVotes
from t2.policies.base import OneRound, choices
from t2.policies.one_round import FixedN, Utility
from t2.policies.planning import expected
from t2.policies.record import Policy, in_words, reads_activations
from t2.policies.rules import ByTable, GreedyAnswer, OneBatch, Rule, one_batch_rules, table_rules
from t2.policies.states import vote_states
from t2.policies.stoppers import ONE_ROUND_PRICE, PlanWithHead, PlanWithoutHead, StopInputs, Stopper
from t2.policies.stopping import DrawTable
from t2.policies.then_stop import HeadMixtures, Prices, Priors, priors_of_everyone

AS_EXPORTED = AnswerOptions()
_STATES_AT_ONCE = 1 << 21
"""States times questions of plans that are made together: bounds their memory, 64 MiB for the tables of a model."""
_TABLES = 256
"""Plans without a head that are kept: one for each pair of prices and cap that requests ask for."""


class Planner:
    """An export as requests ask it. Made once; a plan then takes a few milliseconds, of many together one each."""

    def __init__(self, head: BudgetHead, has_activations: bool = True) -> None:
        """Take an export.

        Args:
            head: the export.
            has_activations: somebody reads the prompts. Without, a policy that weighs a head's prediction becomes the
                plan from the training questions' votes at the same prices, the same for every question; where the
                export has no votes, or its policy knows no prices, N_ref samples are drawn.
        """
        self.head, self._has_activations = head, has_activations
        self._table_rule = lru_cache(maxsize=_TABLES)(self._make_table_rule)
        self._everyone = lru_cache(maxsize=_TABLES)(self._priors_of_everyone)
        self._everyones_last = lru_cache(maxsize=_TABLES)(self._make_everyones_last)

    @property
    def needs_activations(self) -> bool:
        """Whether a plan wants the head's raw outputs."""
        return self._has_activations and self.head.reads_activations

    @property
    def policy(self) -> Policy:
        """What plans are made by, where a request asks for nothing else."""
        return self._policy(AS_EXPORTED)

    @property
    def most(self) -> int:
        """Samples of a question at most, where a request asks for nothing else."""
        policy = self.head.policy
        return policy.cap if isinstance(policy, Stopper) else self.head.grid[-1]

    @property
    def largest(self) -> int:
        """What a request may raise `max_samples` to."""
        return self.head.grid[-1]

    @property
    def n_ref(self) -> int:
        """Samples of the FixedN that the export was weighed against; else the largest budget."""
        record = self.head.record
        known = (
            record.decision and record.decision.n_ref,
            record.calibration and record.calibration.n_ref,
            record.metrics and record.metrics.n_ref,
        )
        return next((n for n in known if n), self.head.grid[-1])

    def check(self, options: AnswerOptions) -> None:
        """Refuse what this export cannot be asked, before anything is drawn.

        Raises:
            T2Error: says what it can be asked.
        """
        self._policy(options)

    def plan(self, raw_O: Tensor | None, options: AnswerOptions = AS_EXPORTED) -> QuestionPlan:
        """How a question is answered.

        Args:
            raw_O: the head's raw outputs on its prompt; None where `needs_activations` is False.
            options: what the request asks.

        Raises:
            T2Error: the export cannot be asked for this.
        """
        return self.plans(None if raw_O is None else raw_O[None], options)[0]

    def plans(
        self, raw_BO: Tensor | None, options: AnswerOptions = AS_EXPORTED, with_steps: bool = False
    ) -> list[QuestionPlan]:
        """How each of B questions is answered; None: one plan, which is that of every question.

        Plans that are made together take a fraction of the time: they are many small steps, the same for all.

        Args:
            raw_BO: the head's raw outputs on their prompts; None where `needs_activations` is False.
            options: what the requests ask.
            with_steps: the plans shall say how many `steps` they take, which doubles the time of making them.

        Raises:
            T2Error: as `plan`.
        """
        policy = self._policy(options)
        if (raw_BO is None) == self.needs_activations:
            raise T2Error(
                f"Expected raw outputs of a head exactly where activations are read, got {raw_BO is not None} for "
                f"{in_words(policy)}."
            )
        if raw_BO is None:
            return self._plans(policy, None, options, with_steps)
        together = max(1, _STATES_AT_ONCE // len(vote_states(self._most(options))))
        parts = torch.split(raw_BO, together)
        return [plan for part in parts for plan in self._plans(policy, self.head.of_raw(part), options, with_steps)]

    def is_surely_sampled(self, raw_O: Tensor, options: AnswerOptions = AS_EXPORTED) -> bool:
        """Whether `plan` will not be the greedy answer, told without planning; False: only the plan can tell.

        Raises:
            T2Error: as `plan`.
        """
        head, raw_1O = self.head, raw_O[None]
        if not head.is_greedy_first:
            return True
        policy = self._policy(options)
        if isinstance(policy, OneRound):
            return min(*self._budgets(policy, head.of_raw(raw_1O)), self._most(options)) > 1
        if not isinstance(policy, PlanWithHead):
            return False
        # A client waits for this, so nothing is computed that is not needed: no prediction is made of the raw outputs.
        assert self._mixtures is not None
        assert isinstance(head.head, PriorHead)
        head.check_raw(raw_1O)
        weight_1J, tokens_1 = head.head.weights(raw_1O), head.head.log_tokens(raw_1O).double().exp()
        prices = Prices(policy.price, policy.round_price)
        return bool(self._mixtures.beats_greedy(weight_1J, tokens_1, prices, self._most(options)))

    def _plans(
        self, policy: Policy, prediction: Prediction | None, options: AnswerOptions, with_steps: bool
    ) -> list[QuestionPlan]:
        most = self._most(options)
        priors = self._priors(prediction, most)
        last_table: DrawTable | None = None
        if options.max_rounds is not None and isinstance(policy, PlanWithHead | PlanWithoutHead):
            if options.max_rounds == 1:  # the plan for one round, which may be the greedy answer
                policy = replace(policy, round_price=max(policy.round_price, ONE_ROUND_PRICE))
            else:
                assert priors is not None  # a planned policy has votes to plan from
                is_everyones = isinstance(policy, PlanWithoutHead)
                last_table = self._everyones_last(policy) if is_everyones else priors.last_table(policy.prices)
        plans, rules = [], self._rules(policy, prediction, priors, most)
        steps = _steps(rules, priors, prediction, options.max_rounds) if with_steps else [None] * len(rules)
        for row, rule in enumerate(rules):
            last = None if last_table is None or priors is None else ByTable(last_table, _row(row, priors))
            posterior = self._posterior(priors, row, prediction)
            plans.append(QuestionPlan(rule, most, posterior, last, options.max_rounds, steps[row]))
        return plans

    def fallback(self, options: AnswerOptions, samples: int | None = None) -> QuestionPlan:
        """What a question gets whose activations could not be had: so many samples at once, None: N_ref."""
        samples = self.n_ref if samples is None else samples
        return self.fixed(samples if options.max_samples is None else min(samples, options.max_samples))

    def fixed(self, n: int) -> QuestionPlan:
        """So many samples at once.

        Raises:
            T2Error: more than the head's largest budget, beyond which nothing is known.
        """
        if not 1 <= n <= self.largest:
            raise T2Error(f"Expected a fixed number of samples from 1 to {self.largest}, the largest budget, got {n}.")
        return QuestionPlan(OneBatch(n), n, self._posterior(self._priors(None, n)))

    def _most(self, options: AnswerOptions) -> int:
        return self.most if options.max_samples is None else options.max_samples

    def _policy(self, options: AnswerOptions) -> Policy:
        """The exported policy at the asked prices and cap, and as it is without a prior where nobody has one."""
        policy = self._policy_with_prior(options)
        if self._has_activations or not reads_activations(policy):
            return policy
        most = self._most(options)
        if self._votes is None or not isinstance(policy, PlanWithHead | Utility):
            return FixedN(min(self.n_ref, most))
        round_price = policy.round_price if isinstance(policy, PlanWithHead) else ONE_ROUND_PRICE
        return PlanWithoutHead(most, policy.price, round_price)

    def _policy_with_prior(self, options: AnswerOptions) -> Policy:
        head, policy, most = self.head, self.head.policy, self._most(options)
        if most > self.largest:
            raise T2Error(f"Expected `max_samples` of at most {self.largest}, the head's largest budget, got {most}.")
        if isinstance(policy, Stopper):
            policy = replace(policy, cap=most)
        if options.price is None and options.round_price is None:
            return policy
        if isinstance(policy, PlanWithHead | PlanWithoutHead):
            price = policy.price if options.price is None else float(options.price)
            round_price = policy.round_price if options.round_price is None else float(options.round_price)
            return replace(policy, price=price, round_price=min(round_price, ONE_ROUND_PRICE))
        if isinstance(policy, Utility):
            price = policy.price if options.price is None else float(options.price)
            if options.round_price is None:
                return Utility(price)
            if head.has_weights and isinstance(head.head, PriorHead):
                return PlanWithHead(most, price, min(float(options.round_price), ONE_ROUND_PRICE))
        asked = "price" if options.price is not None else "round_price"
        raise T2Error(
            f"Expected no `{asked}` for an export that decides by {in_words(head.policy)}, got one. Prices can be set "
            "where a head or votes plan rounds (HeadThenStop, NoHeadThenStop) or a head weighs them (Utility)."
        )

    def _rules(self, policy: Policy, prediction: Prediction | None, priors: Priors | None, most: int) -> Sequence[Rule]:
        """One for each question of the prediction; without one a single rule."""
        greedy_first = self.head.is_greedy_first
        num = 1 if prediction is None else len(prediction.log_tokens_B)
        if isinstance(policy, OneRound):
            budgets = [policy.n] * num if isinstance(policy, FixedN) else self._budgets(policy, prediction)
            return one_batch_rules([min(n, most) for n in budgets], greedy_first)
        if isinstance(policy, PlanWithHead):
            assert priors is not None
            table = priors.tables([Prices(policy.price, policy.round_price)])[0]
            return table_rules(table if greedy_first else table.without_greedy(), range(num))
        assert isinstance(policy, Stopper)
        return [self._table_rule(policy)] * num

    def _budgets(self, policy: OneRound, prediction: Prediction | None) -> list[int]:
        assert prediction is not None
        return [self.head.grid[index] for index in choices(policy, prediction, self.head.grid).tolist()]

    def _make_everyones_last(self, policy: PlanWithoutHead) -> DrawTable:
        """The last allowed round of a plan that treats all questions alike."""
        priors = self._everyone(policy.cap)
        assert priors is not None  # a planned policy has votes to plan from
        return priors.last_table(policy.prices)

    def _make_table_rule(self, policy: Stopper) -> Rule:
        """Of a policy that treats all questions alike."""
        rule = policy.rule(StopInputs(self._votes))
        (only,) = table_rules((rule if self.head.is_greedy_first else rule.without_greedy()).table, [0])
        return only

    def _priors(self, prediction: Prediction | None, most: int) -> Priors | None:
        """What is thought of the question's answers before the first: the head's, or the training questions' alike."""
        if self._is_own(prediction):
            assert self._mixtures is not None
            assert prediction is not None
            return self._mixtures.priors(*_weights_and_tokens(prediction), most)
        return self._everyone(most)

    @property
    def _votes(self) -> TrainingVotes | None:
        """Of the training questions, where the export knows them."""
        head = self.head
        own = head.head.votes if head.has_weights and isinstance(head.head, PriorHead) else None
        return head.votes if head.votes is not None else own

    def _priors_of_everyone(self, cap: int) -> Priors | None:
        """The prior of all training questions alike; None: the export does not know their votes."""
        votes = self._votes
        return None if votes is None else priors_of_everyone(votes, cap)

    @cached_property
    def _mixtures(self) -> HeadMixtures | None:
        """Of a `PriorHead`; the sums of all vote states are made here, once."""
        if not (self.head.has_weights and isinstance(head := self.head.head, PriorHead)):
            return None
        return HeadMixtures.of(head.votes, head.spread_JQ, head.lam, self.largest)

    def _posterior(self, priors: Priors | None, row: int = 0, prediction: Prediction | None = None) -> Posterior | None:
        """Of the question in a row, of which the head has said this."""
        if priors is None:
            return None
        row = _row(row, priors)
        greedy = None if priors.greedy_right_P is None else float(priors.greedy_right_P[row])
        # A question that fell back has everybody's prior: a line that was fitted to the head's says nothing of it.
        fits = self._is_own(prediction) == (self._mixtures is not None and self.head.reads_activations)
        confidence = self.head.record.confidence
        line = confidence.line if confidence is not None and fits else None
        return Posterior(priors.model.states, priors.model.right_PS[row], greedy, line)

    def _is_own(self, prediction: Prediction | None) -> bool:
        """Whether a question's prior is the head's own, not that of all training questions alike."""
        return self._mixtures is not None and prediction is not None


def _row(row: int, priors: Priors) -> int:
    """Of a question among its priors, which may be one for all."""
    return row if len(priors.model) > 1 else 0


def _steps(
    rules: Sequence[Rule], priors: Priors | None, prediction: Prediction | None, max_rounds: int | None
) -> list[float]:
    """Expected rounds of each question times tokens of one of its samples: the samples of a round are drawn at once."""
    tokens = [1.0] * len(rules) if prediction is None else prediction.log_tokens_B.exp().tolist()
    table = next((rule.table for rule in rules if isinstance(rule, ByTable)), None)
    if table is None or priors is None:
        return tokens
    rounds_P = expected(priors.model, table).rounds.clamp(max=math.inf if max_rounds is None else max_rounds)
    rounds = [float(rounds_P[_row(row, priors)]) for row in range(len(rules))]
    rounds = [1.0 if isinstance(rule, GreedyAnswer) else own for rule, own in zip(rules, rounds, strict=True)]
    return [own * each for own, each in zip(rounds, tokens, strict=True)]


def _weights_and_tokens(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Of a `PriorHead`: weights over its atoms (B, J), and tokens of a sample (B,)."""
    assert prediction.atom_weights_BJ is not None
    return prediction.atom_weights_BJ, prediction.log_tokens_B.double().exp()
