"""What a vLLM engine says when it starts: what is left out and why, the one thing that matters, and known mistakes.

Errors always stay visible, and so does every warning that is not listed here. `VLLM_LOGGING_LEVEL=INFO` shows all.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from pathlib import Path

from t2.errors import T2Error

HARMLESS = (
    ("vllm.engine.arg_utils", "The global random seed is set", "nothing of ours draws from the global generators"),
    ("vllm.config.vllm", "Enforce eager set", "asked for: compiling takes longer than it saves on CPU"),
    ("vllm.config.vllm", "Inductor compilation was disabled", "the same"),
    ("vllm.config.vllm", "Model Runner V2 requires Triton", "there is no Triton for CPUs; V1 does all we need"),
    ("vllm.triton_utils.importing", "Triton is installed, but doesn't include CPU backend", "the same"),
    (
        "vllm.model_executor.models.utils",
        "Attempted to load weight .* with dtype torch.float32 into parameter with dtype torch.b?float16",
        "said of each weight; `dtype` asks for it, also where it is auto",
    ),
    ("vllm.platforms.cpu", "Triton is not installed", "the same"),
    ("vllm.platforms.cpu", "Reset SSM cache type to float32", "about Mamba layers; exact where there are some"),
    ("vllm.v1.worker.cpu_worker", "CPU backend doesn't allow to use `torch.set_num_threads`", "its threads are bound"),
)
"""Logger, beginning of the warning as a pattern, and why nobody needs to read it."""
_PRELOAD = ("vllm.v1.worker.cpu_worker", re.compile(r"(lib\w+) is not found in LD_PRELOAD"))
"""Said once for each library, in many words; `EngineWords.note` says it once."""
_TOO_LONG = re.compile(r"max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=(\d+)")
_NO_ROOM = re.compile(r"No available memory for the cache blocks|GiB KV cache is needed")


class EngineWords(logging.Filter):
    """Leaves out what is listed as `HARMLESS`, and remembers which libraries should have been preloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[str] = []
        """libraries that vLLM would like to have preloaded"""

    def listen(self) -> None:
        """From now on; what is listed once is left out as long as the process lives."""
        for name in sorted({name for name, _, _ in HARMLESS} | {_PRELOAD[0]}):
            logging.getLogger(name).addFilter(self)
        # Of vLLM's own look at torch.distributed, once for each name it looks at.
        warnings.filterwarnings("ignore", "`torch.distributed.reduce_op` is deprecated", FutureWarning)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        message = record.getMessage()
        if record.name == _PRELOAD[0] and (library := _PRELOAD[1].match(message)):
            self.missing += [library[1]] if library[1] not in self.missing else []
            return False
        return not any(record.name == name and re.match(start, message) for name, start, _ in HARMLESS)

    def note(self) -> str | None:
        """The one thing that matters: how to have a faster engine."""
        if "libtcmalloc" not in self.missing:
            return None
        openmp = Path(sys.prefix, "lib", "libiomp5.so")
        both = f":{openmp}" if "libiomp" in self.missing and openmp.exists() else ""
        return (
            "Note: without libtcmalloc the engine is about 20% slower on CPU. Install it (Debian, Ubuntu: apt install "
            f"libtcmalloc-minimal4) and start with LD_PRELOAD=libtcmalloc_minimal.so.4{both}"
        )


def mistake(error: ValueError) -> T2Error | None:
    """The user's mistake behind a vLLM engine that does not start; None: some other error."""
    where = "data.pool.sampler.init_args"
    if lengths := _TOO_LONG.search(str(error)):
        return T2Error(
            f"Expected `max_model_len` of at most {lengths[2]} tokens, as far as the model goes, got {lengths[1]}. "
            f"Change `{where}.max_model_len`, or leave it out."
        )
    if _NO_ROOM.search(str(error)):
        return T2Error(
            f"Expected room for one prompt with its answer in the KV cache, got too little memory. Raise "
            f"`{where}.kv_cache_gib` (CPU) or `gpu_memory_utilization` (GPU), or lower `max_model_len`."
        )
    return None
