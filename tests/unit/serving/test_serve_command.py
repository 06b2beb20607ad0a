"""What `t2 serve` tells vLLM, what it refuses before anything starts, and how it watches what it has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.engine_heads import export_for
from helpers.own_group import ROOT, environment
from helpers.tiny_models import TINY_ARITH, tiny_model

from t2.answering.planner import Planner
from t2.api.description import described, public_name
from t2.api.requests import RequestReader
from t2.budget_head import BudgetHead
from t2.cli import main
from t2.engine.engine_head import EngineHead
from t2.errors import T2Error
from t2.head_record import Answering
from t2.model_files import ModelFiles, resolve_model
from t2.serving.arguments import ServerArguments, check_names_the_llm, server_environment
from t2.serving.command import introduction
from t2.serving.settings import VARIABLE, ServerSettings

SETTINGS = ServerSettings(head="/exports/mine", head_name="mine")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_for(TINY_ARITH, tmp_path_factory.mktemp("serve") / "head", "PriorHead")


@pytest.fixture(scope="module")
def model() -> ModelFiles:
    return resolve_model(str(TINY_ARITH))


@pytest.fixture(scope="module")
def engine_head(export: Path, model: ModelFiles) -> EngineHead:
    made = EngineHead.of(BudgetHead.from_pretrained(export), export, model)
    assert made is not None
    return made


def flags_of(arguments: ServerArguments) -> dict[str, str]:
    """By name; a flag that stands alone has an empty value."""
    flags: dict[str, str] = {}
    name = ""
    for word in arguments.flags:
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            flags[name] = value
        else:
            flags[name] = word
    return flags


def arguments(model: ModelFiles, engine_head: EngineHead | None, told: Sequence[str] = (), **changes: Any) -> Any:
    answering = Answering(None, changes.pop("dtype", "bfloat16"), changes.pop("max_model_len", 200))
    return ServerArguments.of(model, engine_head, answering, told, changes.pop("on_cpu", True))


def test_vllm_is_told_what_the_export_needs(model: ModelFiles, engine_head: EngineHead) -> None:
    made = arguments(model, engine_head)
    flags = flags_of(made)
    assert json.loads(flags.pop("hf-overrides")) == engine_head.hf_overrides
    assert flags == {
        **{"model": str(TINY_ARITH), "host": "127.0.0.1", "port": "8000", "served-model-name": "tiny-arith"},
        **{"dtype": "bfloat16", "max-model-len": "200", "shutdown-timeout": "60"},
        **{"block-size": "32", "kv-cache-memory-bytes": str(2**31), "max-num-seqs": "64", "enforce-eager": ""},
        "logits-processors": "t2.engine.wide_steps:WideSteps",
    }
    assert made.url == "http://127.0.0.1:8000/v1"


def test_what_the_user_says_stands(model: ModelFiles, engine_head: EngineHead) -> None:
    told = [
        "--host",
        "::1",
        "--port=81",
        "--max_model_len",
        "99",
        "--no-enforce-eager",
        "--dtype",
        "float16",
        "-tp",
        "2",
    ]
    made = arguments(model, engine_head, told)
    flags = flags_of(made)
    assert [flags[name] for name in ("host", "port", "max_model_len", "dtype")] == ["::1", "81", "99", "float16"]
    assert not {"max-model-len", "enforce-eager"} & set(flags)
    assert made.flags[-len(told) :] == tuple(told)
    assert made.url == "http://[::1]:81/v1"


def test_a_gpu_decides_for_itself(model: ModelFiles) -> None:
    flags = flags_of(arguments(model, None, on_cpu=False, dtype="auto", max_model_len=None))
    assert set(flags) == {"model", "host", "port", "served-model-name", "shutdown-timeout"}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["--model", "other"], "Expected no `--model`, got one: name the LLM first"),
        (["--hf_overrides", "{}"], "Expected no `--hf-overrides`, got one: T2 sets it"),
        (["--speculative-config={}"], "Expected no `--speculative-config`, got one"),
        (["--chat-template", "x"], "Expected no `--chat-template`, got one: the head knows"),
    ],
)
def test_flags_that_t2_sets_itself(told: list[str], message: str, model: ModelFiles, engine_head: EngineHead) -> None:
    with pytest.raises(T2Error, match=message):
        arguments(model, engine_head, told)


def test_plugins_and_cores_are_said_in_the_environment() -> None:
    made = server_environment({"VLLM_PLUGINS": "mine,t2_server", "HOME": "/h"}, on_cpu=True)
    assert made["VLLM_PLUGINS"] == "mine,t2_models,t2_server"
    assert made["VLLM_CPU_OMP_THREADS_BIND"] == ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert server_environment({"VLLM_CPU_OMP_THREADS_BIND": "7"}, on_cpu=True)["VLLM_CPU_OMP_THREADS_BIND"] == "7"
    assert "TORCHDYNAMO_DISABLE" not in made
    assert server_environment({}, on_cpu=True, is_eager=True)["TORCHDYNAMO_DISABLE"] == "1"
    assert set(server_environment({}, on_cpu=False)) == {"VLLM_NO_USAGE_STATS", "VLLM_PLUGINS"}


def test_settings_travel_through_the_environment() -> None:
    told = replace(SETTINGS, default="auto", probe_seconds=2.5, fallback_samples=4)
    assert ServerSettings.from_environment(told.in_environment()) == told
    for broken in ({}, {VARIABLE: "no JSON"}):
        with pytest.raises(T2Error, match="Start the server with: t2 serve MODEL --head"):
            ServerSettings.from_environment(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe_seconds": 0.0}, "`--probe_timeout` above 0 seconds, got 0"),
        ({"fallback_samples": 0}, "`--fallback_samples` as a number of samples from 1 on, got 0"),
        ({"shadow": 3}, "`--shadow` with a `--shadow_log`"),
        ({"shadow": 3, "shadow_log": "log", "default": "auto"}, "`--shadow` or `--default auto`, got both"),
        ({"shadow_text": True}, "`--shadow_text` beside `--shadow`, got it alone"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        replace(SETTINGS, **changes)


def test_a_head_describes_itself_without_paths(export: Path) -> None:
    planner = Planner(BudgetHead.from_pretrained(export))
    reader = RequestReader(planner.head.record, planner.check)
    said = described(planner, reader, "mine")
    assert "/" not in json.dumps({**said, "policy": "", "decision": ""})
    assert (said["model"], said["layers"], said["n_ref"]) == ("tiny-arith", [2, 4], 7)
    assert said["prices"] == {"price": 3.0}
    assert (said["reads_activations"], said["grader"]) == (True, "numeric-3-####-1")
    assert said["max_samples"] == 7


@pytest.mark.parametrize(
    ("name", "shown"),
    [("org/model", "org/model"), ("model", "model"), ("/home/me/models/m", "m"), ("../m/", "m"), (r"C:\models\m", "m")],
)
def test_a_folder_is_shown_by_its_name(name: str, shown: str) -> None:
    assert public_name(name) == shown


def test_the_introduction_says_what_is_served(export: Path, model: ModelFiles, engine_head: EngineHead) -> None:
    planner = Planner(BudgetHead.from_pretrained(export))
    lines = introduction(planner, arguments(model, engine_head), SETTINGS)
    assert lines[0] == "Model tiny-arith, head mine: Utility(price=3.0), reads layers 2, 4."
    assert "N_ref, what a fixed number would take, is 7" in lines[1]
    assert '"vllm_xargs": {"t2_budget": "auto"}' in lines[2]
    assert lines[3].startswith("http://127.0.0.1:8000/v1 ")


def test_a_head_of_another_llm_is_refused_before_vllm_starts(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_model("llama", tmp_path / "other")
    with pytest.raises(SystemExit) as end:
        main(["serve", str(other), "--head", str(export)])
    assert end.value.code == 2
    assert "error: Expected the LLM" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["serve", str(TINY_ARITH), "--port", "1"])
    assert "Expected `--head FOLDER_OR_HUB_ID` of an exported head, got none" in capsys.readouterr().err


def test_flags_that_are_not_t2s_go_to_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def serve(model: str, head: str, others: list[str], settings: Any) -> int:
        told.update(model=model, head=head, others=others, settings=settings("/folder", "name"))
        return 3

    monkeypatch.setattr("t2.serving.command.serve", serve)
    typed = [
        "serve",
        "org/m",
        "--port",
        "81",
        "--default",
        "auto",
        "--head=h",
        "--enforce-eager",
        "--lora-modules",
        "a",
    ]
    with pytest.raises(SystemExit) as end:
        main([*typed, "b", "--probe-timeout", "2"])
    assert end.value.code == 3
    assert (told["model"], told["head"]) == ("org/m", "h")
    assert told["others"] == ["--port", "81", "--enforce-eager", "--lora-modules", "a", "b"]
    assert told["settings"] == ServerSettings(head="/folder", head_name="name", default="auto", probe_seconds=2.0)


@pytest.mark.parametrize(
    "typed",
    [
        ["--head", "h", "org/m", "--port", "8001"],
        ["--head=h", "org/m", "--port", "8001"],
        ["--shadow", "--samples", "4", "--head", "h", "org/m", "--port", "8001"],
        ["org/m", "--port", "8001", "--head", "h"],
    ],
)
def test_the_llm_may_stand_behind_t2s_own_options(monkeypatch: pytest.MonkeyPatch, typed: list[str]) -> None:
    told: list[Any] = []
    monkeypatch.setattr("t2.serving.command.serve", lambda *given: told.append(given[:3]) or 0)
    main(["serve", *typed])
    assert told == [("org/m", "h", ["--port", "8001"])]


@pytest.mark.parametrize(
    ("own", "others", "message"),
    [
        (["--head", "h"], ["--port", "8001", "org/m"], r"got only flags and '--port 8001 org/m', which goes to vLLM"),
        (["--head=h", "--shadow"], ["--enforce-eager", "org/m"], r"Put MODEL first: t2 serve MODEL --head HEAD"),
        (["--head", "h"], [], r"got none\. Put MODEL first"),
    ],
)
def test_an_llm_that_could_be_the_value_of_a_flag_is_to_come_first(
    own: list[str], others: list[str], message: str
) -> None:
    with pytest.raises(T2Error, match=message):
        check_names_the_llm(own, others, ("--shadow",))


@pytest.mark.parametrize(
    "own", [["org/m"], ["--head", "h", "org/m"], ["--head=h", "org/m"], ["--shadow", "org/m"], ["--help"]]
)
def test_an_llm_among_t2s_own_words_is_found(own: list[str]) -> None:
    check_names_the_llm(own, ["--port", "1"], ("--shadow",))


_WATCHED = """
import os, subprocess, sys
from t2.serving.command import watched

child = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], "
child += "start_new_session=True); print('ready', flush=True); " + sys.argv[1]
if __name__ == "__main__":
    raise SystemExit(watched([sys.executable, "-c", child], os.environ))
"""


def grandchildren(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def started(tmp_path: Path, what: str) -> subprocess.Popen[str]:
    (tmp_path / "watcher.py").write_text(_WATCHED)
    process = subprocess.Popen(
        [sys.executable, "watcher.py", what], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def all_gone(family: list[psutil.Process], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
            return True
        time.sleep(0.05)
    return False


def test_the_servers_code_is_the_commands_and_nothing_is_left(tmp_path: Path) -> None:
    process = started(tmp_path, "time.sleep(1); sys.exit(7)")
    family = grandchildren(process)
    assert len(family) == 2
    assert process.wait(60) == 7
    assert all_gone(family)


def test_a_signal_goes_to_the_server_which_may_end_as_it_likes(tmp_path: Path) -> None:
    what = "import signal; signal.signal(15, lambda *_: sys.exit(5)); print('set', flush=True); time.sleep(300)"
    process = started(tmp_path, what)
    assert process.stdout is not None
    assert process.stdout.readline() == "set\n"
    family = grandchildren(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 5
    assert all_gone(family)


def test_a_server_that_is_killed_is_said_by_its_signal(tmp_path: Path) -> None:
    process = started(tmp_path, "import os; time.sleep(0.5); os.kill(os.getpid(), 9)")
    family = grandchildren(process)
    assert process.wait(60) == 128 + 9
    assert all_gone(family)


def test_the_server_ends_with_the_command_that_started_it(tmp_path: Path) -> None:
    process = started(tmp_path, "time.sleep(300)")
    server = next(each for each in grandchildren(process) if "ready" in " ".join(each.cmdline()))
    others = [each for each in grandchildren(process) if each != server]
    process.kill()
    process.wait(60)
    try:
        assert all_gone([server])
    finally:  # whatever a killed watcher leaves behind: vLLM's own processes watch their parent
        for each in [server, *others]:
            if each.is_running():
                each.kill()


def test_the_package_tells_vllm_of_its_plugins() -> None:
    assert 't2_server = "t2.serving.plugin:endpoint"' in (ROOT / "pyproject.toml").read_text()
