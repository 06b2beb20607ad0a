"""`ScriptedSampler`: answers drawn from known distributions, so that every curve has a closed form."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from random import Random

from t2.spec import FINISHED, Sample, Sampler, SampleRequest, SampleResult, SamplingSettings


class ScriptedSampler(Sampler):
    """A sampler without an LLM, for tests and for trying the pipeline. Never a model of how an LLM errs."""

    def __init__(
        self,
        answers: dict[str, dict[str, float]],
        tokens_per_answer: int = 4,
        seconds_per_request: float = 0.0,
        samples_per_request: int = 8,
    ) -> None:
        """Set the answer distributions.

        Args:
            answers: question id -> text -> probability; the empty text is an answer that does not parse.
                The greedy answer is the most probable text.
            tokens_per_answer: generated tokens of every answer.
            seconds_per_request: how long a request takes.
            samples_per_request: samples of one request.
        """
        self.answers, self.tokens_per_answer = answers, tokens_per_answer
        self.seconds_per_request, self.samples_per_request = seconds_per_request, samples_per_request
        self._rng: Random | None = None

    @property
    def settings(self) -> SamplingSettings:
        """The defaults: a script has no temperature of its own."""
        return SamplingSettings(max_tokens=self.tokens_per_answer)

    def open(self, model_folder: str, engine_seed: int) -> None:
        self._rng = Random(engine_seed)

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        if self._rng is None:
            raise RuntimeError("ScriptedSampler.stream before open")
        for request in requests:
            time.sleep(self.seconds_per_request)
            script = self.answers[request.question_id]
            if request.greedy:
                texts = [max(script, key=script.__getitem__)]
            else:
                texts = self._rng.choices(list(script), list(script.values()), k=len(request.draws))
            tokens = tuple(range(self.tokens_per_answer))
            yield SampleResult(request, tuple(Sample(tokens, text, FINISHED) for text in texts))

    def close(self) -> None:
        self._rng = None
