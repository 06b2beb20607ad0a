"""`t2 gateway` from the shell: settings that make no sense, keys, missing packages, and a whole run."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.exports import ASC, save_without
from helpers.own_group import ROOT
from helpers.scripted_server import ScriptedServer, running

from t2.cli import main
from t2.errors import T2Error
from t2.gateway import command as gateway_command
from t2.gateway.command import GatewaySettings, check_packages

STARTS_IN_SECONDS = 60.0


def settings(**changes: Any) -> GatewaySettings:
    return GatewaySettings(**{"url": "http://127.0.0.1:8000", "head": "head", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "127.0.0.1:8000"}, r"Expected `--url` as http://HOST:PORT"),
        ({"url": "ftp://host"}, r"Expected `--url` as http://HOST:PORT"),
        ({"url": "http://host/v1?key=secret"}, r"Expected `--url` as http://HOST:PORT"),
        ({"port": 70_000}, r"Expected a `--port` from 0 to 65535"),
        ({"timeout": 0.0}, r"Expected `--timeout` in seconds"),
        ({"probe_timeout": float("nan")}, r"Expected `--probe_timeout` in seconds"),
        ({"fallback_samples": 0}, r"Expected `--fallback_samples` as a number of samples from 1 on, got 0"),
        ({"shadow": 5}, r"Expected `--shadow` with a `--shadow_log`"),
        ({"shadow": 5, "shadow_log": "x", "default": "auto"}, r"Expected `--shadow` or `--default auto`, got both"),
        ({"shadow": 0, "shadow_log": "x"}, r"Expected `--samples` as a number of samples from 1 on, got 0"),
        ({"shadow_text": True}, r"Expected `--shadow_text` beside `--shadow`, got it alone"),
        ({"most_at_once": 0}, r"Expected `--most_at_once` as a number of samples from 1 on, got 0"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        settings(**changes)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_the_url_may_have_the_v1_that_clients_write(url: str) -> None:
    assert settings(url=url).base_url == "http://h:1"
    assert settings(url="https://h/proxy/v1").base_url == "https://h/proxy"


def test_keys_come_from_the_environment_and_are_not_lent_to_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("DOOR", "door")
    monkeypatch.delenv("NOTHING", raising=False)
    assert settings().keys().servers == "secret"
    assert settings(host="::1").keys().servers == settings(host="localhost").keys().servers == "secret"
    with pytest.raises(T2Error, match=r"Expected `--client_key_env` for a gateway on 0\.0\.0\.0") as caught:
        settings(host="0.0.0.0").keys()
    assert "secret" not in str(caught.value)
    assert settings(host="0.0.0.0", client_key_env="DOOR").keys().clients == "door"
    assert settings(host="0.0.0.0", api_key_env="NOTHING").keys().servers is None
    with pytest.raises(T2Error, match="environment variable NOTHING, got nothing"):
        settings(client_key_env="NOTHING").keys()


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_command, "find_spec", lambda name: None if name in ("httpx", "uvicorn") else object())
    with pytest.raises(T2Error, match=r"got none of uvicorn, httpx.*pip install 't2-budget\[gateway\]'"):
        check_packages()


def test_no_such_head_ends_with_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["gateway", "--url", "http://127.0.0.1:9", "--head", str(tmp_path / "none")])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_whole_run(tmp_path: Path) -> None:
    """It says what it serves, answers, and ends at SIGTERM after what it was doing."""
    head, server = save_without(ASC, tmp_path / "head"), ScriptedServer(["####4"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with running(server.app) as url:
        command = [sys.executable, "-m", "t2.cli", "gateway", "--url", url, "--head", str(head), "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "secret"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, process)
            options = {"t2_budget": "auto", "t2_grader": "numeric"}
            body = {"model": "m", "messages": [{"role": "user", "content": "2+2"}], "vllm_xargs": options}
            answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=20).json()
            process.send_signal(signal.SIGTERM)
            said, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert answer["t2"]["votes"] == {"4": 3}, answer
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert f"T2 gateway on {address} for {url}" in said
    assert re.search(r"Head head of org/model: ASC\(cap=7, threshold=0\.9\), N_ref 7", said)
    assert "secret" not in said + errors
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors


def _wait_for(address: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + STARTS_IN_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            if httpx.get(f"{address}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the gateway did not start")
