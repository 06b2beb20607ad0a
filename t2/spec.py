"""The nouns of T2: frozen dataclasses with units and the only defaults, and the interfaces a user may replace.

Shape suffixes, in code as in the docs: Q questions, M samples in a question's pool, K budgets in the grid, B batch,
L tapped layers, T tokens, D hidden width, J atoms, O head outputs. `acc_QK` is a float array of shape (Q, K).
*samples* are answers drawn, *tokens* are tokens, a "budget" is an entry N of the grid.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date as calendar_date
from typing import Any

from t2.errors import T2Error, quoted

DEFAULT_GRID: tuple[int, ...] = (1, 3, 5, 7, 9, 12, 16, 24, 32)
"""Budgets N in samples. 2 is left out: A(2) = A(1) when nothing abstains."""

FINISHED = "stop"
"""The finish reason of an answer that ended by itself; all others abstain at full cost, even if they parse."""
GREEDY_DRAW = -1
"""The draw number of a question's one greedy (temperature 0) answer, which is outside its M samples."""


@dataclass(frozen=True)
class Question:
    """One question of a task."""

    id: str
    """unique within the task, never reused for another text"""
    text: str
    """what the user turn of the prompt says"""
    answer: str
    """the gold answer, as the grader reads it"""
    dedup_key: str
    """questions with the same key (3+4 and 4+3) always land in the same split"""
    family: str = ""
    """generator family; empty where the task has none"""
    size: int = 0
    """generator difficulty within the family; 0 where unknown"""


@dataclass(frozen=True)
class Grade:
    """What a grader makes of an output."""

    answer_class: str | None
    """what the output votes for; None: it abstains"""
    how: str
    """what gave the answer away ("marker", "box"), or why there is none ("marker: several numbers"); few and short, so
    that they can be counted"""


class Grader(ABC):
    """Maps an answer's text to its equivalence class. Voting counts classes; correct means the gold answer's class."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Changes whenever a grade could change; the name of the grades' sidecar."""

    @abstractmethod
    def answer_class(self, text: str) -> str | None:
        """The canonical class of the answer in `text` (a model's whole output), or None if no answer can be read."""

    @abstractmethod
    def gold_class(self, answer: str) -> str | None:
        """The class of a gold answer (bare, without a final-answer marker), or None if it cannot be read."""

    def grade(self, text: str) -> Grade:
        """`answer_class` of an output, and how it was reached; a grader that can say more overrides this."""
        answer_class = self.answer_class(text)
        return Grade(answer_class, "no answer" if answer_class is None else "read")


class Task(ABC):
    """A source of questions with the grader that fits them."""

    @property
    @abstractmethod
    def grader(self) -> Grader:
        """Grades this task's answers."""

    @abstractmethod
    def questions(self) -> list[Question]:
        """All questions, in a fixed order; a larger task has the smaller one as a prefix."""

    def notes(self) -> list[str]:
        """What a user should know of the questions, as sentences, once they have been asked for."""
        return []

    def origin(self) -> dict[str, str] | None:
        """Where the questions came from, as a pool records it; None where the config alone decides them."""
        return None

    def pin(self, origins: Sequence[Mapping[str, str]]) -> None:  # noqa: B027  # most have nothing that moves
        """Ask for the very questions of a pool that has recorded these origins; before `questions`.

        Raises:
            T2Error: the task asks for other ones.
        """


@dataclass(frozen=True)
class Shot:
    """One worked example, put before the question as a user and an assistant turn."""

    question: str
    answer: str


@dataclass(frozen=True)
class PromptSpec:
    """How a question becomes token ids: one rendering for training, labels and serving."""

    template: str = "chat"
    """"chat": the tokenizer's own chat template, of several its default; otherwise the name of one of them, or else the
    path of a Jinja file"""
    system: str = ""
    """system line; empty: none"""
    shots: list[Shot] = field(default_factory=list)
    """worked examples before the question"""
    template_arguments: dict[str, Any] = field(default_factory=dict)
    """what the template is told besides, as `enable_thinking: false`; JSON values"""
    date: str | None = None
    """the day that a template prints as today, as 2026-11-29; None: the day on which the pool is begun"""

    def __post_init__(self) -> None:
        """Reject what no template can be told."""
        if self.date is not None:
            try:
                is_iso = calendar_date.fromisoformat(self.date).isoformat() == self.date  # 20261129 is one too
            except ValueError:
                is_iso = False
            if not is_iso:
                raise T2Error(f"Expected `prompt.date` as in 2026-11-29, got {quoted(self.date)}. Mend it.")
        try:
            json.dumps(self.template_arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise T2Error(
                f"Expected JSON values as `prompt.template_arguments`, got {error}. Quote a date: it is a text there."
            ) from error

    def as_json(self) -> dict[str, Any]:
        """What pools and heads record; the last two keys only where they say something, as older ones know none."""
        values = asdict(self)
        optional = {key: values.pop(key) for key in ("template_arguments", "date")}
        return values | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True)
class SamplingSettings:
    """What decides the distribution of a sample. Two settings that differ never share a pool."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: off"""
    max_tokens: int = 1024
    """generated tokens, the end token included; a longer answer is truncated and abstains"""
    stop: tuple[str, ...] = ()
    """texts that end an answer"""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "stop": list(self.stop)}


@dataclass(frozen=True)
class SampleRequest:
    """Draw `num_samples` answers to one prompt. Its samples are stored all or none."""

    question_id: str
    prompt_ids: tuple[int, ...]
    draws: tuple[int, ...]
    """draw numbers to fill, one per sample; `(GREEDY_DRAW,)` asks for the greedy answer"""

    @property
    def greedy(self) -> bool:
        """Whether this asks for the temperature 0 answer."""
        return self.draws == (GREEDY_DRAW,)


@dataclass(frozen=True)
class Sample:
    """One generated answer."""

    token_ids: tuple[int, ...]
    """generated tokens, the end token included"""
    text: str
    finish_reason: str
    """`FINISHED`, or what ended the answer otherwise ("length", "abort", ...)"""


@dataclass(frozen=True)
class SampleResult:
    """A finished request with its samples, in the order of `request.draws`."""

    request: SampleRequest
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class EngineFacts:
    """What the engine did since it was last cold, as its scheduler counts."""

    max_num_seqs: int
    """sequences it may run at once"""
    kv_cache_tokens: int
    """tokens that its KV cache holds"""
    peak_running: int
    """most sequences of one step"""
    peak_kv_use: float
    """largest share of the KV cache in use, read at the end of a step, when finished sequences have left it"""
    prefix_queries: int
    """prompt tokens looked up in the prefix cache: each sample looks up its whole prompt"""
    prefix_hits: int
    """prompt tokens found there, so that they were not computed again"""
    generated_tokens: int
    """tokens of all samples, counted by the engine"""

    @property
    def prefix_hit_rate(self) -> float:
        """Share of the prompt tokens of all samples that came from the prefix cache."""
        return self.prefix_hits / max(1, self.prefix_queries)


class Sampler(ABC):
    """Draws samples. `open` once, `stream` any number of times, `close` always."""

    samples_per_request = 8
    """samples of one request; small, because every end loses the requests in flight"""
    dtype: str | None = None
    """of weights and activations, as the engine is told; None: this sampler has no engine"""
    max_model_len: int | None = None
    """tokens of prompt and answer; None: as far as the model goes"""

    @property
    @abstractmethod
    def settings(self) -> SamplingSettings:
        """What the pool records and compares."""

    def end_token_ids(self, model_folder: str) -> tuple[int, ...] | None:
        """Tokens of the model that end an answer, in rising order; None: this sampler does not know."""
        return None

    def recorded(self, model_folder: str) -> dict[str, Any]:
        """What a pool records and compares of how its samples are drawn from a model: settings, and what ends one."""
        ends = self.end_token_ids(model_folder)
        return self.settings.as_json() | ({} if ends is None else {"end_token_ids": list(ends)})

    @abstractmethod
    def open(self, model_folder: str, engine_seed: int) -> None:
        """Start whatever draws the samples; all randomness must follow from `engine_seed`."""

    def check_prompts(self, prompts: Mapping[str, Sequence[int]]) -> None:  # noqa: B027  # most have no limit
        """Refuse prompts (question id -> token ids) that cannot be answered, before any is; after `open`.

        Raises:
            T2Error: a prompt is too long.
        """

    @abstractmethod
    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        """Yield results as they finish, in any order. Pulls `requests` only as fast as it can work on them."""

    @abstractmethod
    def close(self) -> None:
        """End everything `open` started. Safe to call twice."""

    def watch(self) -> None:  # noqa: B027  # only an engine has something to count
        """Count from now on what the engine does, for `engine_facts`; before `open`."""

    def cool(self) -> None:  # noqa: B027  # only an engine keeps something from run to run
        """Forget the counts and what earlier runs left in caches, so that the next run owes nothing to them."""

    def follow(self, on_finished: Callable[[int], None]) -> None:  # noqa: B027  # most finish a request at once
        """Call `on_finished` with 0 when `stream` begins, and with the samples finished since whenever one more is.

        These are more than have been streamed: a request is streamed when its last sample is finished.
        """

    @property
    def engine_facts(self) -> EngineFacts | None:
        """What the engine did since `open` or `cool`; None without an engine, or without `watch`."""
        return None


@dataclass
class NoSampler(Sampler):
    """Stands where no sampler is named; whoever wants to draw with it is told so.

    A dataclass, because a saved config can name its defaults only if they are.
    """

    @property
    def settings(self) -> SamplingSettings:
        raise self._missing()

    def open(self, model_folder: str, engine_seed: int) -> None:
        raise self._missing()

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        raise self._missing()

    def close(self) -> None:
        """Nothing to end."""

    @staticmethod
    def _missing() -> T2Error:
        return T2Error("Expected `data.pool.sampler` to draw samples with, got none. See configs/ for examples.")


@dataclass(frozen=True)
class LabelJob:
    """A pool of samples: where it lies, who answers what, how often. The config key `data.pool`."""

    path: str
    """folder of the pool; append-only, resumable"""
    model: str
    """hub id or folder of the LLM"""
    task: Task
    sampler: Sampler = field(default_factory=NoSampler)
    """draws what is missing; an imported pool needs none"""
    revision: str | None = None
    """hub revision; resolved to a commit and recorded"""
    prompt: PromptSpec = field(default_factory=PromptSpec)
    samples_per_question: int = 32
    """M, the samples of each question, not counting the greedy answer"""
    engine_seed: int | None = None
    """None: a fresh random seed for each process. A seed that the pool has already is refused."""
