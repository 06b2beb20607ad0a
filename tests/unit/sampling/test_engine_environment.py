"""Which of vLLM's plugins an engine loads: none where samples are drawn for a pool, T2's where it carries a head."""

import os

import pytest

from t2.errors import T2Error
from t2.sampling.engine_environment import MODELS_PLUGIN, has_narrow_steps, load_plugin, set_environment


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Whatever a test sets is gone after it."""
    for name in (
        "VLLM_PLUGINS",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_LOGGING_LEVEL",
        "VLLM_NO_USAGE_STATS",
        "TORCHDYNAMO_DISABLE",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")


def test_a_labeller_loads_no_plugin():
    set_environment(1, [])
    assert os.environ["VLLM_PLUGINS"] == ""


def test_an_engine_that_carries_a_head_loads_its_models_also_after_a_labeller():
    set_environment(1, [])
    set_environment(1, [MODELS_PLUGIN])
    assert os.environ["VLLM_PLUGINS"] == MODELS_PLUGIN


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("VLLM_PLUGINS", f"mine,{MODELS_PLUGIN}")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    set_environment(1, [MODELS_PLUGIN])
    assert os.environ["VLLM_PLUGINS"] == f"mine,{MODELS_PLUGIN}"
    assert os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG"


def test_a_list_without_a_needed_plugin_is_refused(monkeypatch):
    monkeypatch.setenv("VLLM_PLUGINS", "mine")
    with pytest.raises(T2Error, match=f"Expected VLLM_PLUGINS to name {MODELS_PLUGIN}.*got 'mine'. Add it"):
        set_environment(1, [MODELS_PLUGIN])


def test_the_cores_are_shared_by_vllm_among_several_processes():
    set_environment(2, [])
    assert "VLLM_CPU_OMP_THREADS_BIND" not in os.environ
    set_environment(1, [])
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"]


def test_a_plugin_that_is_not_installed_is_named():
    with pytest.raises(T2Error, match="Expected the entry point 'no_such_plugin' of an installed t2"):
        load_plugin("no_such_plugin")


def test_an_engine_that_compiles_nothing():
    set_environment(1, [MODELS_PLUGIN])
    assert "TORCHDYNAMO_DISABLE" not in os.environ
    set_environment(1, [MODELS_PLUGIN], compiles=False)
    assert os.environ["TORCHDYNAMO_DISABLE"] == "1"


@pytest.mark.parametrize(
    ("on_cpu", "runner", "has"), [(True, None, True), (True, "0", True), (True, "1", False), (False, None, False)]
)
def test_narrow_steps_are_of_the_first_model_runner_on_a_cpu(monkeypatch, on_cpu, runner, has):
    """vLLM's second model runner refuses processors of the first, and the engine would not start."""
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER", raising=False)
    if runner is not None:
        monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", runner)
    assert has_narrow_steps(on_cpu) is has
