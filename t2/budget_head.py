"""`BudgetHead`: an export as it is used. It loads without Lightning, LLM or pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t2.activations.cache import FeatureSpec
from t2.activations.learned import NOTHING_LEARNED, Learned
from t2.comparison.as_served import rules_as_served
from t2.errors import T2Error
from t2.export import key_digest, read_head
from t2.head_record import Calibration, Features, HeadRecord
from t2.heads.base import Head, Prediction
from t2.heads.training_votes import TrainingVotes
from t2.model_files import ModelFiles, resolve_model
from t2.policies.base import choices
from t2.policies.record import in_words, reads_activations
from t2.policies.rules import Rule
from t2.policies.stoppers import PlanWithHead, StopInputs, Stopper
from t2.spec import PromptSpec

if TYPE_CHECKING:
    from t2.prompts import PromptRenderer


class BudgetHead:
    """An exported policy with its head: pooled activations in, numbers of samples or rules for drawing them out.

    A policy that needs no head may come without one: see `reads_activations`.
    """

    def __init__(
        self,
        record: HeadRecord,
        head: Head | None,
        votes: TrainingVotes | None = None,
        learned: Learned = NOTHING_LEARNED,
    ) -> None:
        if record.policy is None:
            raise T2Error("Expected a head with a policy, got a record without. Export the head again.")
        self.record, self.policy, self.votes = record, record.policy.policy(), votes
        self._head = None if head is None else head.eval()
        self.learned = learned
        if head is None and self.reads_activations:
            raise T2Error(f"Expected a head for {in_words(self.policy)}, got none. Export the head again.")
        if isinstance(self.policy, Stopper) and self.policy.cap > self.grid[-1]:
            raise T2Error(
                f"Expected a policy up to {self.grid[-1]} samples, the head's largest budget, got "
                f"{in_words(self.policy)}. Export the head again."
            )
        self.seen, self.records_seen = frozenset(record.seen_questions or ()), record.seen_questions is not None

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> BudgetHead:
        """Load from a folder or the hub.

        Args:
            name: folder, or hub id of a repository with `config.json` and what it needs.
            revision: of the hub repository.

        Raises:
            T2Error: no such head, another format, or tensors that are missing or unexpected.
        """
        export = read_head(name, revision)
        return cls(export.record, export.head, export.votes, export.learned)

    @property
    def has_weights(self) -> bool:
        """Whether there is a head; without one nothing can be predicted of a question."""
        return self._head is not None

    @property
    def head(self) -> Head:
        """The trained head.

        Raises:
            T2Error: the export has none, since its policy needs none.
        """
        if self._head is None:
            raise T2Error(
                f"Expected an export with a head, got one that decides by {in_words(self.policy)} and needs none. Ask "
                "it for `rules(number of questions)`."
            )
        return self._head

    @property
    def reads_activations(self) -> bool:
        """Whether `rules` wants the activations of questions; else their number will do."""
        return reads_activations(self.policy)

    @property
    def is_greedy_first(self) -> bool:
        """Whether a question that gets one answer gets the greedy one: the head has learned so, unless it could not."""
        return self.record.labels.first != "sampled"

    @property
    def features(self) -> Features:
        """The activations that the head reads.

        Raises:
            T2Error: the head does not say.
        """
        if self.record.features is None:
            raise T2Error("Expected a head that records which activations it reads, got one trained without any LLM.")
        return self.record.features

    @property
    def layers(self) -> tuple[int, ...]:
        """Tapped layers, see `t2.activations.layers`."""
        return self.features.layers

    @property
    def feature_spec(self) -> FeatureSpec:
        """What the head reads, as caches of features are named by it."""
        features = self.features
        return FeatureSpec(features.model_fingerprint, features.layers, features.pooling_name, self.learned.fingerprint)

    @property
    def grid(self) -> tuple[int, ...]:
        """Budgets in samples."""
        return self.record.shape.grid

    @property
    def calibration(self) -> Calibration | None:
        return self.record.calibration

    @property
    def prompt(self) -> PromptSpec:
        """How a question becomes the prompt that the head reads; the LLM must be asked with the same.

        Raises:
            T2Error: the head does not say.
        """
        if self.record.prompt is None:
            raise T2Error("Expected a head that records its prompt, got one without. Export the head again.")
        return self.record.prompt.spec

    @property
    def reads(self) -> tuple[str, str | None]:
        """Hub id or folder, and revision, of the LLM whose activations the head reads: its proxy's, if it has one."""
        features, base = self.features, self.record.base_model
        if features.model_id:
            return features.model_id, features.model_revision
        return base.id or "", base.revision

    def has_seen(self, dedup_key: str) -> bool:
        """Whether the head learned from a question with this key, or was chosen or calibrated on one.

        Says False of everything where `records_seen` is False: an older head does not know.
        """
        return key_digest(dedup_key) in self.seen

    def activations(self, questions: Sequence[str], model: str | Path | None = None) -> Tensor:
        """What the LLM makes of questions: the features that `predict` and `budgets` read, (B, L, D) float32.

        Loads the LLM, reads every prompt once, and frees it again. Rounded as a pool's features are.

        Args:
            questions: texts.
            model: folder or hub id of the LLM that the head reads; None: where the head says that it comes from.

        Raises:
            T2Error: no such LLM, another one, or one with another chat template.
        """
        from t2.activations.features import computed  # heavy, and not needed by those who have features

        files = resolve_model(str(model)) if model is not None else resolve_model(*self.reads)
        self.check_model(files.fingerprint)
        renderer = self.renderer(files)
        return computed(files.folder, [renderer.ids(each) for each in questions], self.feature_spec, self.learned)

    def renderer(self, model: ModelFiles) -> PromptRenderer:
        """What turns questions into the prompts that the head reads, by the tokenizer of the LLM that it reads.

        Raises:
            T2Error: the LLM has another chat template than the head was trained with.
        """
        from t2.prompts import PromptRenderer, load_tokenizer  # heavy, as above

        renderer = PromptRenderer.of(load_tokenizer(model.folder), self.prompt)
        expected = self.record.prompt.fingerprint if self.record.prompt else ""
        if renderer.fingerprint != expected:
            raise T2Error(
                f"Expected the chat template that the head was trained with ({expected[:12]}...), got another "
                f"({renderer.fingerprint[:12]}...) in {model.folder}. Use the revision of the LLM that the head names."
            )
        return renderer

    def predict(self, pooled_BLD: Tensor) -> Prediction:
        """What the head says of questions.

        Raises:
            T2Error: features of another number of layers or width.
        """
        expected = (self.head.shape.num_layers, self.head.shape.width)
        if pooled_BLD.dim() != 3 or tuple(pooled_BLD.shape[1:]) != expected:
            raise T2Error(
                f"Expected features of {expected[0]} layers x {expected[1]} (layers {list(self.layers)} of "
                f"{self.record.base_model.id}), got shape {tuple(pooled_BLD.shape)}. Is this head for this model?"
            )
        return self.of_raw(self.raws(pooled_BLD))

    def raw(self, pooled_LD: Tensor) -> Tensor:
        """The head's raw outputs on one question's activations, (O,)."""
        return self.raws(pooled_LD[None])[0]

    def raws(self, pooled_BLD: Tensor) -> Tensor:
        """The head's raw outputs on the activations of questions, (B, O).

        Activations may lie on a GPU, where an LLM has made them. The head is on the CPU, unless somebody has moved it,
        and its outputs are where it is.
        """
        with torch.no_grad():
            raw_BO: Tensor = self.head(pooled_BLD.to(self.head.mean_log_tokens.device))
        return raw_BO

    def of_raw(self, raw_BO: Tensor) -> Prediction:
        """What the head says of questions of which it has given these raw outputs, inside an engine for example.

        Raises:
            T2Error: as `check_raw`.
        """
        self.check_raw(raw_BO)
        with torch.no_grad():
            return self.head.predict(raw_BO)

    def check_raw(self, raw_BO: Tensor) -> None:
        """Make sure that raw outputs can be this head's.

        Raises:
            T2Error: another number of outputs than the head has, or numbers that are not finite.
        """
        if raw_BO.dim() != 2 or raw_BO.shape[1] != self.head.num_outputs or not bool(raw_BO.isfinite().all()):
            raise T2Error(
                f"Expected {self.head.num_outputs} finite raw outputs a question of {type(self.head).__name__}, got "
                f"shape {tuple(raw_BO.shape)} or numbers that are not finite. Is the engine's head this one?"
            )

    def budgets(self, pooled_BLD: Tensor) -> Tensor:
        """Samples to draw for each question, (B,), integer.

        Where it is 1 and `is_greedy_first`, take the greedy answer (temperature 0).

        Raises:
            T2Error: the policy looks at answers, or the features are of another shape.
        """
        if isinstance(self.policy, Stopper):
            raise T2Error(
                f"Expected a policy that decides beforehand, got {in_words(self.policy)}, which looks at the answers. "
                "Use `rules`, whose `extra(votes)` says how many samples come next."
            )
        return torch.tensor(self.grid)[choices(self.policy, self.predict(pooled_BLD), self.grid)]

    def rules(self, questions: Tensor | int) -> list[Rule]:
        """The exported policy, whatever it is: a rule for each question that says how many samples to draw next.

        Ask `rule.extra(votes)` before the first sample and after each round; 0 ends it. A `GreedyAnswer` wants the
        answer at temperature 0 and nothing else.

        Args:
            questions: their activations (B, L, D); where `reads_activations` is False their number will do.

        Raises:
            T2Error: a number where activations are read, or activations of another shape.
        """
        if isinstance(questions, int):
            if isinstance(questions, bool) or questions < 0:
                raise T2Error(f"Expected a number of questions from 0 on, got {questions!r}.")
            if self.reads_activations:
                raise T2Error(
                    f"Expected the activations of {questions} questions for {in_words(self.policy)}, got their number. "
                    "Make them by `activations`."
                )
            num, prediction = questions, None
        else:
            num, prediction = len(questions), self.predict(questions) if self.reads_activations else None
        return rules_as_served(self.policy, num, self.inputs(prediction), self.grid, self.is_greedy_first)

    def inputs(self, prediction: Prediction | None) -> StopInputs:
        """What the policy is replayed with on questions of which this is predicted; None: nothing is."""
        return StopInputs(self.votes, self._head, prediction)

    def plans(
        self, pooled_BLD: Tensor, price: float, round_price: float = 0.0, max_samples: int | None = None
    ) -> list[Rule]:
        """A rule for each question: how many samples to draw next, given the answers so far, at any pair of prices.

        Ask `rule.extra(votes)` before the first sample and after each round; 0 ends it. A `GreedyAnswer` wants the
        answer at temperature 0 and nothing else.

        Args:
            pooled_BLD: activations of the questions.
            price: accuracy points that 1,000 generated tokens must bring.
            round_price: accuracy points that one more wait must bring; infinity: a single round.
            max_samples: of a question; None: the largest budget.

        Raises:
            T2Error: the head is no `PriorHead`, features of another shape, or prices or a number that make no sense.
        """
        most = self.grid[-1] if max_samples is None else max_samples
        if most < 1:
            raise T2Error(f"Expected `max_samples` of at least 1, got {most}.")
        policy = PlanWithHead(most, price, round_price)
        given = self.inputs(self.predict(pooled_BLD))
        return rules_as_served(policy, len(pooled_BLD), given, self.grid, self.is_greedy_first)

    def check_model(self, fingerprint: str) -> None:
        """Make sure that activations come from the LLM the head was trained on.

        Raises:
            T2Error: it is another one.
        """
        expected = self.features.model_fingerprint
        if fingerprint != expected:
            raise T2Error(
                f"Expected the model {self.record.base_model.id} ({expected[:12]}...), got another "
                f"({fingerprint[:12]}...). A head works on the activations of one model alone."
            )
