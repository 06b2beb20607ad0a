"""What is left out of a starting engine's words, and what never is. The words are vLLM 0.32's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from t2.sampling.engine_words import HARMLESS, EngineWords, mistake

CPU_WORKER = "vllm.v1.worker.cpu_worker"
PRELOAD = (
    "%s is not found in LD_PRELOAD. For best performance, please follow the section `set LD_PRELOAD` in "
    "https://docs.vllm.ai/en/latest/getting_started/installation/cpu/ to setup required pre-loaded libraries."
)


@pytest.fixture
def words() -> Iterator[EngineWords]:
    words = EngineWords()
    words.listen()
    yield words
    for name in {*(name for name, _, _ in HARMLESS), CPU_WORKER}:
        logging.getLogger(name).removeFilter(words)


@pytest.mark.parametrize(("name", "start", "why"), HARMLESS)
def test_only_the_listed_warning_itself_is_left_out(
    words: EngineWords, caplog: pytest.LogCaptureFixture, name: str, start: str, why: str
) -> None:
    logger, said = logging.getLogger(name), start.replace(".*", "layers.0").replace("b?", "b")
    logger.warning("%s and so on", said)
    assert caplog.records == []
    logger.error("%s and so on", said)
    logger.warning("Something else: %s", said)
    logging.getLogger("vllm.elsewhere").warning(said)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "WARNING"]
    assert why


def test_what_matters_is_one_line(words: EngineWords, caplog: pytest.LogCaptureFixture) -> None:
    assert words.note() is None
    for library in ("libtcmalloc", "libiomp", "libtcmalloc"):
        logging.getLogger(CPU_WORKER).warning(PRELOAD, library)
    assert caplog.records == []
    note = words.note() or ""
    assert "about 20% slower" in note
    assert "apt install libtcmalloc-minimal4" in note
    assert "LD_PRELOAD=libtcmalloc_minimal.so.4" in note
    assert "\n" not in note


def test_a_model_that_goes_less_far_is_a_mistake_of_the_user() -> None:
    """It was a traceback of 60 lines through pydantic."""
    found = mistake(
        ValueError(
            "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (4096) is greater than "
            "the derived max_model_len (max_position_embeddings=256.0 or model_max_length=None in model's config.json)."
            " To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
        )
    )
    assert str(found) == (
        "Expected `max_model_len` of at most 256 tokens, as far as the model goes, got 4096. "
        "Change `data.pool.sampler.init_args.max_model_len`, or leave it out."
    )


@pytest.mark.parametrize(
    "words_of_vllm",
    [
        "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing",
        "To serve at least one request with the model's max seq len (256), (0.01 GiB KV cache is needed, which is",
    ],
)
def test_too_little_memory_is_one_too(words_of_vllm: str) -> None:
    assert "Raise `data.pool.sampler.init_args.kv_cache_gib`" in str(mistake(ValueError(words_of_vllm)))


def test_other_errors_stay_what_they_are() -> None:
    assert mistake(ValueError("Unsupported architecture")) is None
