"""`VotingLLM`: questions in, voted answers out, from one vLLM engine that carries the head.

All questions share the engine. Each is probed by one token, whose logprobs hold the head's outputs; then its rounds
follow as its own answers demand, beside those of all others, in the order of `question_queue`.
"""

from __future__ import annotations

import math
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from t2.answering.asking import Asking, check_base_model
from t2.answering.options import AnswerOptions
from t2.answering.plan import QuestionPlan
from t2.answering.planner import Planner
from t2.answering.question import Answered, QuestionInProgress, VotedAnswer
from t2.ask.question_queue import FirstRound, QuestionQueue
from t2.budget_head import BudgetHead
from t2.engine.engine_head import EngineHead
from t2.errors import T2Error
from t2.export import local_folder
from t2.model_files import ModelFiles, resolve_model
from t2.progress import progress
from t2.sampling import VLLMSampler
from t2.sampling.probes import ProbeRequest, ProbeResult
from t2.spec import GREEDY_DRAW, Grader, SampleRequest

_SEEDS = 2**31
_AHEAD = 4
"""Questions that are probed and wait, as a multiple of the sequences that run at once."""
_SHARE_AHEAD = 0.5
"""Of the KV cache, for the prompts of those."""
_SHOWN = 2
"""Questions from which on a bar is worth showing."""


@dataclass(frozen=True)
class EngineSettings:
    """What only this machine decides; None: as the labeller's engine would choose."""

    max_num_seqs: int | None = None
    """sequences that run at once"""
    max_model_len: int | None = None
    """tokens of prompt and answer; None: as the samples were drawn"""
    kv_cache_gib: float | None = None
    """memory of the KV cache, in GiB"""
    gpu_memory_utilization: float = 0.9
    """share of GPU memory for the engine"""
    tensor_parallel_size: int = 1
    """GPUs that share the LLM"""
    enforce_eager: bool | None = None
    """skip compilation; None: on CPU yes, on GPU no"""
    dtype: str | None = None
    """of weights and activations; None: as the samples were drawn"""


class VotingLLM:
    """An LLM that answers by vote, with as many samples as the exported head decides.

    Prompt, sampling, end tokens, grader and precision come from the export. Use it as a context manager, or call
    `close`.
    """

    def __init__(
        self,
        head: str | Path,
        model: str | Path | None = None,
        *,
        price: float | None = None,
        round_price: float | None = None,
        max_samples: int | None = None,
        max_rounds: int | None = None,
        grader: str | Grader | None = None,
        engine: EngineSettings | Mapping[str, object] | None = None,
        seed: int | None = None,
    ) -> None:
        """Load head and LLM.

        Args:
            head: folder or hub id of an export.
            model: folder or hub id of the LLM; None: where the head says that it comes from.
            price: accuracy points that 1,000 generated tokens must bring; None, as below: what the export decided.
            round_price: accuracy points that one more wait must bring.
            max_samples: of a question.
            max_rounds: waits of a question.
            grader: what reads answers, by name or itself; None: the export's.
            engine: settings of this machine, as an `EngineSettings` or its fields by name.
            seed: of the engine; None: a fresh one.

        Raises:
            T2Error: another LLM than the head's, a head that cannot be asked for such prices, or no vLLM.
        """
        folder = local_folder(head, None)
        self.head = BudgetHead.from_pretrained(folder)
        self.options = AnswerOptions(price, round_price, max_samples, max_rounds)
        self.planner = Planner(self.head)
        self.planner.check(self.options)
        self.asking = Asking.of(self.head, grader)
        files = _model_of(self.head, model)
        check_base_model(self.head, files)
        self.asking.check_ends(files.folder)
        self._renderer = self.head.renderer(files)
        self._files, self._sampler = files, self._sampler_of(_settings(engine))
        # A head that reads another LLM, an adapter or a whole prompt cannot sit in the engine: it is read beforehand.
        self._engine_head = None if self._reads_beforehand else EngineHead.of(self.head, folder, files)
        if self._engine_head is not None:
            self._sampler.carry(self._engine_head.hf_overrides)
        self._sampler.open(str(files.folder), secrets.randbelow(_SEEDS) if seed is None else seed)
        self._is_open, self._is_answering = True, False

    @property
    def _reads_beforehand(self) -> bool:
        """Whether the activations come from a pass of their own, by transformers, before the engine is asked."""
        if not self.planner.needs_activations:
            return False
        return self.head.features.model_id is not None or self.head.features.costs_a_pass

    def _sampler_of(self, engine: EngineSettings) -> VLLMSampler:
        asked = self.asking.settings
        return VLLMSampler(
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            max_tokens=asked.max_tokens,
            stop=list(asked.stop),
            dtype=engine.dtype or self.asking.dtype,
            max_num_seqs=engine.max_num_seqs,
            max_model_len=engine.max_model_len or self.asking.max_model_len,
            kv_cache_gib=engine.kv_cache_gib,
            gpu_memory_utilization=engine.gpu_memory_utilization,
            tensor_parallel_size=engine.tensor_parallel_size,
            enforce_eager=engine.enforce_eager,
        )

    def answer(self, questions: Sequence[str], show_progress: bool = True) -> list[VotedAnswer]:
        """Answer all questions, in their order.

        Args:
            questions: texts; one text alone is a mistake.
            show_progress: a bar, or lines now and then where the output is no terminal.

        Raises:
            T2Error: questions that are no texts, or prompts that are too long; nothing was drawn then.
        """
        answers: dict[int, VotedAnswer] = {}
        shown = len(questions) if show_progress and len(questions) >= _SHOWN else 0
        with progress("answering", shown, unit="questions") as advance:
            for index, answer in self.answer_stream(questions):
                answers[index] = answer
                advance(len(answers))
        return [answers[index] for index in range(len(questions))]

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of the longest prompt that leaves room for an answer."""
        return self._sampler.max_prompt_tokens

    def too_long(self, questions: Sequence[str]) -> dict[int, int]:
        """Places of questions that are too long to be answered, with the tokens of their prompts.

        Raises:
            T2Error: questions that are no texts.
        """
        return self._sampler.too_long(dict(enumerate(self._prompts(questions))))

    def _prompts(self, questions: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each question's prompt."""
        _check_texts(questions)
        return [tuple(self._renderer.ids(question)) for question in questions]

    def answer_stream(self, questions: Sequence[str]) -> Iterator[tuple[int, VotedAnswer]]:
        """Each question's place and its answer, as soon as it is settled.

        Of many questions those that will take longest begin first.

        Raises:
            T2Error: as `answer`, with the first answer that is asked for.
        """
        if not self._is_open:
            raise T2Error("Expected an open VotingLLM, got one that was closed. Make a new one.")
        if self._is_answering:
            raise T2Error(
                "Expected one stream of answers at a time, got a second one inside the first. End the first, or ask "
                "all questions together."
            )
        self._is_answering = True
        try:
            yield from self._answers(questions)
        finally:
            self._is_answering = False

    def _answers(self, questions: Sequence[str]) -> Iterator[tuple[int, VotedAnswer]]:
        prompts = self._prompts(questions)
        if long := self._sampler.too_long(dict(enumerate(prompts))):
            place = next(iter(long))
            raise T2Error(
                f"Expected questions whose prompts have at most {self.max_prompt_tokens} tokens, got {len(long)} of "
                f"{len(questions)} that are longer (first: number {place} with {long[place]}). Leave them out "
                "(`too_long` says which they are), or raise `max_model_len` of `engine` as far as the LLM goes."
            )
        pooled_QLD, asked = self._activations(questions), dict[int, QuestionInProgress]()

        def planned(raws: Mapping[int, Tensor | None], probe_tokens: int = 0) -> list[FirstRound]:
            """First rounds of questions, by their places, from what the head says of each."""
            plans = dict(zip(raws, self._plans(list(raws.values())), strict=True))
            for index, plan in plans.items():
                prompt_tokens = len(prompts[index])
                asked[index] = QuestionInProgress(
                    plan, self.asking.grader, prompt_tokens, self.planner.n_ref, probe_tokens
                )
            # A plan that says nothing of it is a fixed number of many samples.
            first = ((next_round(index), plan.steps or math.inf) for index, plan in plans.items())
            return [FirstRound(request, steps) for request, steps in first if request is not None]  # no rule draws none

        def next_round(index: int) -> SampleRequest | None:
            question = asked[index]
            if not (num := question.next_round()):
                return None
            drawn = len(question.votes)
            draws = (GREEDY_DRAW,) if question.is_greedy else tuple(range(drawn, drawn + num))
            return SampleRequest(str(index), prompts[index], draws)

        def begun(group: range) -> Sequence[ProbeRequest | FirstRound]:
            """The first requests of questions: a probe where the engine carries the head."""
            if self._engine_head is not None:
                labels = self._engine_head.label_ids
                return [ProbeRequest(str(index), prompts[index], labels) for index in group]
            raws = [None] * len(group) if pooled_QLD is None else self.head.raws(pooled_QLD[group.start : group.stop])
            return planned(dict(zip(group, raws, strict=True)))

        queue = QuestionQueue(len(questions), begun, self._most_ahead(prompts))
        for results in self._sampler.steps(queue):
            probed: dict[int, Tensor | None] = {}
            for result in results:
                index = int(result.request.question_id)
                if isinstance(result, ProbeResult):
                    probed[index] = self._read(result)
                    continue
                asked[index].take([Answered(s.text, s.finish_reason, len(s.token_ids)) for s in result.samples])
                if (request := next_round(index)) is not None:
                    queue.add_round(request)
                else:
                    yield index, asked.pop(index).answer()
            if probed:
                queue.end_probes(planned(probed, probe_tokens=1))

    def _most_ahead(self, prompts: Sequence[Sequence[int]]) -> int:
        """Questions whose prompts may be in the prefix cache before their first round begins."""
        fit = int(_SHARE_AHEAD * self._sampler.kv_cache_tokens) // max(map(len, prompts), default=1)
        return max(1, min(_AHEAD * self._sampler.sequences_at_once, fit))

    def _plans(self, raws: Sequence[Tensor | None]) -> list[QuestionPlan]:
        """Of each question; made together, which takes a fraction of the time.

        A prompt whose activations are no numbers gets a fixed number of samples: the others must not be lost.
        """
        if not self.planner.needs_activations:
            return self.planner.plans(None, self.options, with_steps=True) * len(raws)
        known = [raw_O for raw_O in raws if raw_O is not None]
        plans = iter(self.planner.plans(torch.stack(known), self.options, with_steps=True) if known else ())
        return [self.planner.fallback(self.options) if raw_O is None else next(plans) for raw_O in raws]

    def _read(self, result: ProbeResult) -> Tensor | None:
        """The head's raw outputs; None: the engine's activations of this prompt are no numbers, which is said."""
        assert self._engine_head is not None
        try:
            return self._engine_head.raw(result.logprobs)
        except T2Error as error:
            print(f"Beware: {error} Question {result.request.question_id} gets N_ref samples.", file=sys.stderr)
            return None

    def _activations(self, questions: Sequence[str]) -> Tensor | None:
        """Those of a head that cannot sit in the engine, (Q, L, D)."""
        if not self._reads_beforehand or not questions:
            return None
        proxy = self.head.features.model_id
        return self.head.activations(questions, None if proxy is not None else self._files.folder)

    @property
    def model(self) -> ModelFiles:
        """The LLM that answers."""
        return self._files

    def close(self) -> None:
        """End the engine; a second time does nothing."""
        self._is_open = False
        self._sampler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _model_of(head: BudgetHead, model: str | Path | None) -> ModelFiles:
    """The LLM that is named, else the one that the head names, if it can be had.

    Raises:
        T2Error: no such LLM.
    """
    if model is not None:
        return resolve_model(str(model))
    base = head.record.base_model
    try:
        return resolve_model(base.id or "", base.revision)
    except T2Error as error:
        raise T2Error(
            f"Expected the LLM that the head learned from, {base.id!r}, got none by that name. Say where it lies: "
            f"`model` in Python, `--model` in the shell. ({error})"
        ) from error


def _settings(engine: EngineSettings | Mapping[str, object] | None) -> EngineSettings:
    if engine is None or isinstance(engine, EngineSettings):
        return engine or EngineSettings()
    known = EngineSettings.__dataclass_fields__
    if unknown := sorted(set(engine) - set(known)):
        raise T2Error(f"Expected `engine` settings among {sorted(known)}, got {unknown}. Leave them out.")
    return EngineSettings(**engine)  # type: ignore[arg-type]  # the sampler checks their values


def _check_texts(questions: Sequence[str]) -> None:
    """Refuse what is no list of texts, above all conversations with pictures, which no head has learned from.

    Raises:
        T2Error: says which.
    """
    if isinstance(questions, str):
        raise T2Error("Expected a list of questions, got one text. Write it as [question].")
    for index, question in enumerate(questions):
        if isinstance(question, str):
            if not question.strip():
                raise T2Error(f"Expected questions with words in them, got an empty one (number {index}).")
            continue
        has_pictures = "image" in repr(question)[:10_000]
        what = "a list of messages with images" if has_pictures else f"a {type(question).__name__}"
        raise T2Error(
            f"Expected questions as texts, got {what} (number {index}). Heads learn from one question in one prompt, "
            "text alone: give the text of the question."
        )
