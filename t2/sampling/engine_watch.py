"""What a vLLM engine did during a run: sequences at once, KV cache, prefix cache. Reads its statistics, imports none.

`EngineWatch` has the methods that vLLM calls on a stat logger while requests run. What `record` gets is no stable
interface of vLLM; `tests/vllm/test_live.py` checks what is read from it.
"""

from __future__ import annotations

from typing import Any

from t2.spec import EngineFacts


class EngineWatch:
    """A vLLM stat logger that keeps peaks and sums; `record` is called once a step."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.peak_running, self.peak_kv_use = 0, 0.0
        self.prefix_queries, self.prefix_hits, self.generated_tokens = 0, 0, 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        if scheduler_stats is None:
            return
        ended = 0
        if iteration_stats is not None:
            ended = len(iteration_stats.finished_requests)
            self.generated_tokens += iteration_stats.num_generation_tokens
        # The scheduler counts after the step: those that ended in it ran too.
        self.peak_running = max(self.peak_running, scheduler_stats.num_running_reqs + ended)
        self.peak_kv_use = max(self.peak_kv_use, scheduler_stats.kv_cache_usage)
        self.prefix_queries += scheduler_stats.prefix_cache_stats.queries
        self.prefix_hits += scheduler_stats.prefix_cache_stats.hits

    def log(self) -> None:
        """Print nothing."""

    def facts(self, vllm_config: Any) -> EngineFacts:
        cache = vllm_config.cache_config
        return EngineFacts(
            max_num_seqs=vllm_config.scheduler_config.max_num_seqs,
            kv_cache_tokens=cache.num_gpu_blocks * cache.block_size,
            peak_running=self.peak_running,
            peak_kv_use=self.peak_kv_use,
            prefix_queries=self.prefix_queries,
            prefix_hits=self.prefix_hits,
            generated_tokens=self.generated_tokens,
        )
