"""What a checkpoint (under "t2") and an export (`config.json`) record of a head, see docs/FORMATS.md. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2.activations.lora import LoraSettings
from t2.activations.pooling import Pooling
from t2.calibration.betting import Form
from t2.errors import T2Error, in_a_line
from t2.grading.record import GraderRecord
from t2.heads import HEADS
from t2.heads.base import Head, HeadShape
from t2.json_record import JsonRecord
from t2.policies.record import PolicyRecord
from t2.spec import PromptSpec, Shot
from t2.stats.bootstrap import Interval
from t2.stats.log_odds import STEEPEST, LogOddsLine

CalibrationStatus = Literal["calibrated", "no_setting_passed", "too_few_questions", "not_possible"]


@dataclass(frozen=True)
class BaseModel(JsonRecord):
    """The LLM whose samples the head learned from."""

    id: str | None
    """hub id or folder"""
    revision: str | None
    fingerprint: str | None


@dataclass(frozen=True)
class Features(JsonRecord):
    """The activations that the head reads."""

    model_fingerprint: str
    layers: tuple[int, ...]
    """see `t2.activations.layers`"""
    pooling: Pooling | None
    model_id: str | None = None
    """of the proxy whose activations they are; None: they are the base model's"""
    model_revision: str | None = None
    lora: LoraSettings | None = None
    """the adapter that was trained with the head; None: the LLM is read as it is"""

    @property
    def pooling_name(self) -> Pooling:
        """A head that does not say reads the last token."""
        return self.pooling or "last-token"

    @property
    def costs_a_pass(self) -> bool:
        """Whether serving takes a second pass over the prompt: what is read is not what the engine computes anyway."""
        return self.lora is not None or self.pooling_name != "last-token"

    def as_json(self) -> dict[str, object]:
        # A proxy's revision is told even where it has none.
        return super().as_json() | ({"model_revision": self.model_revision} if self.model_id else {})


@dataclass(frozen=True)
class Prompt(JsonRecord):
    """How a question becomes the prompt that the head reads."""

    template: str
    system: str
    shots: tuple[Shot, ...]
    fingerprint: str
    template_arguments: dict[str, object] | None = None
    """what the template is told besides; None: nothing"""
    date: str | None = None
    """what it prints as today; None: it prints no date"""

    @property
    def spec(self) -> PromptSpec:
        return PromptSpec(self.template, self.system, list(self.shots), dict(self.template_arguments or {}), self.date)


@dataclass(frozen=True)
class Labels(JsonRecord):
    """What the head was taught."""

    eps: float | None
    """accuracy given up to call N enough"""
    samples_per_question: int | None
    grader: str | None
    """version of the grader"""
    cost_unit: str | None
    """"tokens" or "samples"; None in heads that are older than the choice"""
    questions: dict[str, int] | None
    """by split"""
    first: Literal["greedy", "sampled"] | None = None
    """what a question gets that gets one answer; None in heads that are older than the choice: greedy"""


@dataclass(frozen=True)
class Answering(JsonRecord):
    """How the LLM was run when it answered: who asks it with the head must do the same."""

    grader: GraderRecord | None
    """what reads the answers; None: the user's own class, which a file must not name"""
    dtype: str | None
    """of weights and activations in the engine, as `VLLMSampler.dtype`; None: the sampler has none"""
    max_model_len: int | None
    """tokens of prompt and answer; None: as far as the LLM goes"""


@dataclass(frozen=True)
class Confidence(JsonRecord):
    """What makes P(right | votes) of the posterior true: a line on its log odds, fitted to held-out questions."""

    intercept: float
    slope: float
    num_questions: int
    """that it was fitted to"""

    def __post_init__(self) -> None:
        if not (abs(self.intercept) <= STEEPEST and 0 < self.slope <= STEEPEST and self.num_questions >= 1):
            raise T2Error(
                f"Expected a line of the confidence with an intercept of at most {STEEPEST:g}, a slope above 0 up to "
                f"as much, and questions that it was fitted to, got {self.intercept}, {self.slope} and "
                f"{self.num_questions}. The file is damaged."
            )

    @property
    def line(self) -> LogOddsLine:
        return LogOddsLine(self.intercept, self.slope)


@dataclass(frozen=True)
class Metrics(JsonRecord):
    """The exported policy on validation, with 95% intervals; None: not measured."""

    area: Interval | None
    """mean accuracy gain (a share) over a fixed number of samples, from 1 to `n_ref` samples"""
    accuracy: Interval | None
    """a share"""
    generated_tokens: Interval | None
    """a question"""
    total_tokens: Interval | None
    """a question, the prompt counted once"""
    samples: Interval | None
    """a question"""
    n_ref: int | None
    """samples"""

    @property
    def intervals(self) -> dict[str, Interval]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Interval)}


@dataclass(frozen=True)
class Calibration(JsonRecord):
    """How calibration went and what it promises."""

    status: CalibrationStatus
    promise: str
    """a sentence, also where there is none"""
    alpha: float
    """accuracy (a share) that may be lost"""
    delta: float
    """probability with which the promise may fail"""
    form: Form
    num_questions: int
    """calibration questions with keys of their own"""
    needed: int
    """such questions without which nothing can be promised"""
    n_ref: int | None
    """samples; None: nothing was tested"""
    settings: tuple[PolicyRecord, ...]
    """that were tested, safest first"""
    p_values: tuple[float, ...]
    chosen: int | None
    """index of the setting; None: none passed"""
    configured_policy: PolicyRecord
    needed_lossless: int | None = None
    """questions from which a setting passes that never loses; None: nothing was tested"""


@dataclass(frozen=True)
class WeighedRule(JsonRecord):
    """A rule at a setting against FixedN(N_ref), on questions that were held out."""

    policy: PolicyRecord
    difference: Interval
    """accuracy points"""
    ratio: Interval
    """of generated tokens"""
    path_ratio: Interval
    """of the critical path"""
    memory_ratio: Interval
    """of the KV tokens held at once"""
    rounds: float
    """mean of a question"""
    within: bool
    """it loses no more than allowed on them, and spends less than FixedN(N_ref)"""


DecisionBasis = Literal["calibration", "out_of_fold", "validation", "no_evidence", "configured"]


@dataclass(frozen=True)
class Decision(JsonRecord):
    """Why the exported policy is the one it is, and what it loses."""

    basis: DecisionBasis
    """calibration questions; held-out train and validation questions; validation questions, which also chose the
    checkpoint (with an adapter or learned queries); none of them; or the user's word"""
    why: str
    """a sentence"""
    allowance: float | None = None
    """accuracy (a share) that the choice was to lose at most"""
    max_rounds: float | None = None
    """mean rounds that a question may take; None: any"""
    n_ref: int | None = None
    """samples; None: nothing was weighed"""
    num_questions: int | None = None
    """that were weighed, out of fold"""
    loses: WeighedRule | None = None
    """out of fold: what choosing in this way gives on questions that have not chosen; after calibration: what the
    chosen setting gives on the questions that chose the rule and its list of settings, so slightly too good"""
    warning: str | None = None
    """a sentence where the interval allows more than the allowance"""
    candidates: tuple[WeighedRule, ...] = ()
    """the best setting of each kind of rule, the best first"""
    settings: tuple[WeighedRule, ...] = ()
    """of the policy's kind, dearest first: the list that calibration tests"""
    configured: PolicyRecord | None = None
    """`accuracy_cost.policy`, where another one was chosen"""


@dataclass(frozen=True, kw_only=True)
class DataRecord(JsonRecord):
    """What a head records of its data."""

    base_model: BaseModel = BaseModel(None, None, None)
    features: Features | None = None
    """None: trained without a `BudgetDataModule`"""
    prompt: Prompt | None = None
    sampling: dict[str, object] | None
    """how the samples were drawn, `SamplingSettings.as_json()`"""
    labels: Labels = Labels(None, None, None, None, None)
    answering: Answering | None = None
    """None: the head is older than serving, or was trained without a pool"""
    mean_tokens_per_sample: float | None
    """over train questions; None: they were not all labelled when training began"""
    seen_questions: tuple[str, ...] | None = None
    """digests of the questions that chose weights, checkpoint or setting; a file of its own in an export"""


NO_DATA = DataRecord.from_json({}, "nothing")


@dataclass(frozen=True, kw_only=True)
class HeadRecord(DataRecord):
    """A head without its weights: class, arguments, policy, data, and what was measured."""

    policy: PolicyRecord | None = None
    decision: Decision | None = None
    """None: the export or checkpoint is older than decisions"""
    metrics: Metrics | None = None
    confidence: Confidence | None = None
    """None: the posterior is taken at its word"""
    head: str | None
    """name of the class; None: the policy needs none, and the export holds no weights"""
    head_arguments: dict[str, object]
    shape: HeadShape
    calibration: Calibration | None = None
    """None: it was off, or the head is older than calibration"""

    @classmethod
    def of(cls, head: Head, data: DataRecord = NO_DATA) -> HeadRecord:
        """The record of a head, as yet without policy and metrics."""
        return cls(**vars(data), head=type(head).__name__, head_arguments=head.arguments, shape=head.shape)

    def as_json(self) -> dict[str, object]:
        values = super().as_json()  # a base class's fields come first: the data, where a reader looks for the head
        first = ("policy", "decision", "metrics", "confidence", "head", "head_arguments", "shape")
        return {name: values[name] for name in first if name in values} | values

    def untrained_head(self) -> Head:
        """A head of the recorded class, arguments and shape.

        Raises:
            T2Error: the class is not one of T2's heads, or its arguments do not fit.
        """
        if self.head is None or self.head not in HEADS:
            raise T2Error(
                f"Expected a head among {sorted(HEADS)}, got {self.head!r}. It was made by another version of t2."
            )
        try:
            return HEADS[self.head](self.shape, **self.head_arguments)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # torch: a size that no tensor can have
            raise T2Error(
                f"Expected arguments of head {self.head}, got {self.head_arguments}: {in_a_line(error)}. The file is "
                "damaged."
            ) from error
