"""Exports: a policy with what it needs (weights of a head, votes of training questions), a record and a card, as files.

They load without Lightning, LLM or pickle.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2.comparison.as_served import rules_as_served
from t2.errors import T2Error
from t2.head_record import Calibration, Features, HeadRecord
from t2.heads.base import Head, Prediction
from t2.heads.training_votes import TrainingVotes
from t2.model_card import model_card
from t2.model_files import download, resolve_model
from t2.policies.base import choices
from t2.policies.one_round import FixedN
from t2.policies.record import PolicyRecord, in_words, reads_activations
from t2.policies.rules import Rule
from t2.policies.stoppers import STOPPERS, PlanWithHead, PlanWithoutHead, StopInputs, Stopper
from t2.spec import PromptSpec
from t2.store.files import write_atomically, write_text_atomically

HEAD_FORMAT = "t2-head"
HEAD_FORMAT_VERSION = 2
"""2: a policy may look at answers, with a `decision` that says why it was chosen."""
CHECKPOINT_KEY = "t2"
"""Where a Lightning checkpoint holds what export needs, as primitives."""
_STATE_PREFIX = "head."
_VOTES_KEY = "t2_votes"
"""Where a checkpoint holds the train questions' votes."""
WEIGHTS_FILE, VOTES_FILE, SEEN_QUESTIONS_FILE = "model.safetensors", "votes.safetensors", "seen_questions.txt"


def key_digest(dedup_key: str) -> str:
    """What stands for a question in `seen_questions.txt`: the first 16 hex digits of its key's SHA-256."""
    return hashlib.sha256(dedup_key.encode()).hexdigest()[:16]


class BudgetHead:
    """An exported policy with its head: pooled activations in, numbers of samples or rules for drawing them out.

    A policy that needs no head may come without one: see `reads_activations`.
    """

    def __init__(self, record: HeadRecord, head: Head | None, votes: TrainingVotes | None = None) -> None:
        if record.policy is None:
            raise T2Error("Expected a head with a policy, got a record without. Export the head again.")
        self.record, self.policy, self.votes = record, record.policy.policy(), votes
        self._head = None if head is None else head.eval()
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
        folder = _folder_of(name, revision)
        record = _read_config(folder / "config.json")
        head, votes = None, None
        if record.head is not None:
            head = record.untrained_head()
            load_exactly(head, _read_tensors(folder / WEIGHTS_FILE, "the head's weights"), str(folder))
        if record.policy is not None and record.policy.name == PlanWithoutHead.name:
            tensors = _read_tensors(folder / VOTES_FILE, "the training questions' votes")
            votes = TrainingVotes.from_tensors(tensors, str(folder / VOTES_FILE))
        return cls(replace(record, seen_questions=_read_seen(folder / SEEN_QUESTIONS_FILE)), head, votes)

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
        # Heavy, and not needed by those who have features: vLLM's, or a pool's.
        from t2.activations.cache import FeatureSpec
        from t2.activations.features import computed
        from t2.prompts import load_tokenizer, prompt_fingerprint, render

        files = resolve_model(str(model)) if model is not None else resolve_model(*self.reads)
        self.check_model(files.fingerprint)
        tokenizer, prompt = load_tokenizer(files.folder), self.prompt
        expected = self.record.prompt.fingerprint if self.record.prompt else ""
        if (fingerprint := prompt_fingerprint(tokenizer, prompt)) != expected:
            raise T2Error(
                f"Expected the chat template that the head was trained with ({expected[:12]}...), got another "
                f"({fingerprint[:12]}...) in {files.folder}. Use the revision of the LLM that the head names."
            )
        prompts = [render(tokenizer, prompt, question) for question in questions]
        return computed(files.folder, prompts, FeatureSpec(files.fingerprint, self.layers))

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
        with torch.no_grad():
            return self.head.predict(self.head(pooled_BLD))

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
            return rules_as_served(self.policy, questions, self._given(None), self.grid, self.is_greedy_first)
        prediction = self.predict(questions) if self.reads_activations else None
        return rules_as_served(self.policy, len(questions), self._given(prediction), self.grid, self.is_greedy_first)

    def _given(self, prediction: Prediction | None) -> StopInputs:
        return StopInputs(self.votes, self._head, prediction)

    def inputs(self, pooled_BLD: Tensor | None) -> StopInputs:
        """What the policy is replayed with on questions with these activations; None: it reads none."""
        return self._given(None if pooled_BLD is None else self.predict(pooled_BLD))

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
        given = self._given(self.predict(pooled_BLD))
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


def export_checkpoint(checkpoint: str | Path, folder: str | Path) -> Path:
    """Turn a Lightning checkpoint into an exported head; needs neither Lightning nor the LLM.

    Raises:
        T2Error: no such file, not a checkpoint of T2, or tensors that are missing or unexpected.
    """
    content = Checkpoint.read(checkpoint)
    return save_head(content.head(), content.record, folder, content.votes)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of train.py, on the CPU."""

    path: Path
    content: dict[str, Any]
    """as Lightning wrote it"""
    record: HeadRecord

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read it whole, without pickle's dangers.

        Raises:
            T2Error: no such file, not a checkpoint of T2, or a damaged record.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise T2Error(f"Expected a checkpoint, got no file {path}.") from error
        except Exception as error:  # torch raises many kinds for a file that is no checkpoint
            raise T2Error(
                f"Expected a checkpoint of primitives and tensors, got {path} ({type(error).__name__})."
            ) from error
        if not isinstance(content, dict) or CHECKPOINT_KEY not in content:
            raise T2Error(f"Expected a checkpoint of train.py with the key {CHECKPOINT_KEY!r}, got {path} without it.")
        return cls(Path(path), content, HeadRecord.from_json(content[CHECKPOINT_KEY], str(path)))

    def head(self) -> Head:
        """The trained head, in eval mode.

        Raises:
            T2Error: a head that is unknown, or tensors that are missing or unexpected.
        """
        head, state = self.record.untrained_head(), self.content["state_dict"]
        own = {k.removeprefix(_STATE_PREFIX): v for k, v in state.items() if k.startswith(_STATE_PREFIX)}
        load_exactly(head, own, str(self.path))
        return head.eval()

    @property
    def votes(self) -> TrainingVotes | None:
        """Of the train questions, for plans without a head; None: the checkpoint is older than decisions."""
        tensors = self.content.get(_VOTES_KEY)
        return None if tensors is None else TrainingVotes.from_tensors(tensors, str(self.path))

    def rewrite(self, record: HeadRecord, votes: TrainingVotes | None = None) -> None:
        """Write the file anew with another record, whole or not at all; votes that it has stay if there are no new."""
        content = {**self.content, CHECKPOINT_KEY: record.as_json()}
        if votes is not None:
            content[_VOTES_KEY] = votes.tensors()
        write_atomically(self.path, lambda scratch: torch.save(content, scratch))


def save_head(head: Head, record: HeadRecord, folder: str | Path, votes: TrainingVotes | None = None) -> Path:
    """Write config, card, and what the policy needs: weights, unless it is a stopping rule that reads no head; votes.

    Args:
        head: trained.
        record: of it; without a policy the largest constant is recorded.
        folder: created; files of an earlier export are replaced.
        votes: of the train questions, for a plan without a head.

    Raises:
        T2Error: a number in the record is NaN or infinite, which JSON has no word for, or there are no votes where the
            policy needs them; nothing is written.
    """
    folder = Path(folder)
    record = replace(record, policy=record.policy or PolicyRecord.of(FixedN(head.shape.grid[-1])))
    assert record.policy is not None
    if record.policy.name in STOPPERS and STOPPERS[record.policy.name].needs != "head":
        record = replace(record, head=None, head_arguments={})
    values = replace(record, seen_questions=None).as_json()
    config = {"format": HEAD_FORMAT, "format_version": HEAD_FORMAT_VERSION, **values}
    if wrong := _not_finite(config):
        raise T2Error(
            f"Expected finite numbers in what is recorded of the head, got {', '.join(wrong)}. Set those that are "
            "settings to numbers, and train again."
        )
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    assert record.policy is not None
    policy = record.policy.policy()
    needs_votes = isinstance(policy, Stopper) and policy.needs == "votes"
    if needs_votes and votes is None:
        raise T2Error(f"Expected votes of training questions for {in_words(policy)}, got none. Run `fit` again.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)  # an earlier head's must never stand beside these weights
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    _write_tensors(folder / WEIGHTS_FILE, None if record.head is None else weights)
    _write_tensors(folder / VOTES_FILE, votes.tensors() if needs_votes and votes is not None else None)
    write_text_atomically(folder / "README.md", model_card(record))
    if record.seen_questions is not None:
        lines = "".join(f"{digest}\n" for digest in sorted(set(record.seen_questions)))
        write_text_atomically(folder / SEEN_QUESTIONS_FILE, lines)
    else:
        (folder / SEEN_QUESTIONS_FILE).unlink(missing_ok=True)  # of an earlier export: another head's
    # The config goes last: where it is, the export is complete.
    write_text_atomically(folder / "config.json", text)
    return folder


def load_exactly(head: Head, state: dict[str, Tensor], where: str) -> None:
    """Load weights; every tensor must be there with its shape, and none besides.

    Raises:
        T2Error: names what is missing, unexpected or of another shape.
    """
    head.make_room(state)
    own = head.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [f"{n} {tuple(state[n].shape)}" for n in own.keys() & state.keys() if own[n].shape != state[n].shape]
    if missing or unexpected or wrong:
        raise T2Error(
            f"Expected exactly the tensors of {type(head).__name__} in {where}, got missing {missing}, unexpected "
            f"{unexpected}, of another shape {sorted(wrong)}. Export the head again."
        )
    head.load_state_dict(state)


def _not_finite(value: object, where: str = "") -> list[str]:
    """Where in a record there is NaN or infinity, as "policy.arguments.shift nan"."""
    if isinstance(value, float):
        return [] if isfinite(value) else [f"{where} {value}"]
    if not isinstance(value, dict | list):
        return []
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [wrong for key, part in parts for wrong in _not_finite(part, f"{where}.{key}" if where else str(key))]


def _write_tensors(path: Path, tensors: dict[str, Tensor] | None) -> None:
    """None: the file of an earlier export must not stay."""
    if tensors is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, lambda scratch: save_file(tensors, scratch))


def _read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise T2Error(f"Expected {what} in {path}, got {error}.") from error
    return tensors


def _folder_of(name: str | Path, revision: str | None) -> Path:
    if (folder := Path(name)).is_dir():
        return folder
    files = ["config.json", WEIGHTS_FILE, VOTES_FILE, SEEN_QUESTIONS_FILE]
    return download(str(name), revision, "a folder or hub id of an exported head", only=files)


def _read_config(path: Path) -> HeadRecord:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise T2Error(f"Expected an exported head with config.json, got {path.parent}: {error}.") from error
    if not isinstance(config, dict):
        raise T2Error(f"Expected a JSON object in {path}, got {type(config).__name__}.")
    version = (config.get("format"), config.get("format_version"))
    if version == (HEAD_FORMAT, 1):
        raise T2Error(
            f"Expected {HEAD_FORMAT} version {HEAD_FORMAT_VERSION}, got version 1 in {path}, made by an earlier t2. "
            "Make it anew from its checkpoint: t2 export CHECKPOINT --folder FOLDER"
        )
    if version != (HEAD_FORMAT, HEAD_FORMAT_VERSION):
        raise T2Error(f"Expected {HEAD_FORMAT} version {HEAD_FORMAT_VERSION}, got {version} in {path}.")
    return HeadRecord.from_json(config, str(path))


def _read_seen(path: Path) -> tuple[str, ...] | None:
    """Digests of the questions that the head learned from; None: the head was exported without them."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise T2Error(f"Expected digests of questions in {path}, got {error}. Export the head again.") from error
    if wrong := [line for line in lines if not re.fullmatch("[0-9a-f]{16}", line)]:
        raise T2Error(f"Expected 16 hex digits a line in {path}, got {wrong[0][:40]!r}. Export the head again.")
    return tuple(lines)
