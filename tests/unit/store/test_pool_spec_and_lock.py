"""What a pool lets in: samples of an equal spec, from one labeller at a time."""

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from t2.errors import T2Error
from t2.spec import SamplingSettings
from t2.store.lock import FOREIGN_BEAT_SECONDS, beat, hold, is_held, read_heartbeat
from t2.store.pool_spec import PoolSpec, check_or_create_spec, read_spec

SPEC = PoolSpec(
    {"id": "tiny", "revision": None, "fingerprint": "f" * 64, "num_layers": 4, "width": 128},
    {"template": "chat", "system": "", "shots": [], "fingerprint": "e" * 64},
    SamplingSettings().as_json(),
)


# Identity


def test_an_equal_spec_is_accepted(paths):
    check_or_create_spec(paths, SPEC)
    elsewhere = {**SPEC.model, "id": "copy-of-tiny", "revision": "1234"}
    check_or_create_spec(paths, replace(SPEC, model=elsewhere, prompt={**SPEC.prompt, "template": "same.jinja"}))
    assert read_spec(paths) == SPEC


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model", "fingerprint", "0" * 64),
        ("prompt", "fingerprint", "0" * 64),
        ("prompt", "system", "Be brief."),
        ("prompt", "shots", [{"question": "1+1", "answer": "2"}]),
        ("sampling", "temperature", 0.7),
        ("sampling", "max_tokens", 8),
        ("sampling", "stop", ["\n"]),
        ("sampling", "min_p", 0.1),
    ],
)
def test_another_spec_is_refused_by_name(paths, part, key, value):
    check_or_create_spec(paths, SPEC)
    other = PoolSpec(**{**vars(SPEC), part: {**getattr(SPEC, part), key: value}})
    with pytest.raises(T2Error, match=rf"{part}\.{key}: ") as caught:
        check_or_create_spec(paths, other)
    assert "\n" not in str(caught.value)
    assert read_spec(paths) == SPEC


@pytest.mark.parametrize("change", [{"format_version": 2}, {"format": "other"}])
def test_another_format_is_refused(paths, change):
    check_or_create_spec(paths, SPEC)
    paths.spec.write_text(json.dumps(SPEC.as_json() | change))
    with pytest.raises(T2Error, match="t2-pool version 1"):
        check_or_create_spec(paths, SPEC)


def test_a_missing_or_broken_spec_is_named(paths):
    with pytest.raises(T2Error, match=r"pool\.json"):
        read_spec(paths)
    paths.root.mkdir()
    paths.spec.write_text("{")
    with pytest.raises(T2Error, match=r"pool\.json"):
        read_spec(paths)


def test_a_spec_without_its_parts_is_named(paths):
    check_or_create_spec(paths, SPEC)
    content = SPEC.as_json()
    del content["model"]
    paths.spec.write_text(json.dumps(content))
    with pytest.raises(T2Error, match=r"Expected \['model'\] in .*pool\.json"):
        read_spec(paths)


def test_a_pool_without_samples_may_be_begun_anew(paths):
    check_or_create_spec(paths, SPEC)
    other = replace(SPEC, sampling={**SPEC.sampling, "temperature": 0.123})
    with pytest.raises(T2Error, match="It has no samples yet: delete the folder or choose another"):
        check_or_create_spec(paths, other)
    paths.manifests.mkdir()
    (paths.manifests / "w.jsonl").touch()
    with pytest.raises(T2Error, match="Change the config back or choose another"):
        check_or_create_spec(paths, other)


# Lock


def test_a_file_is_no_pool(paths):
    paths.root.write_text("")
    with pytest.raises(T2Error, match=r"Expected a folder as `data.pool.path`, got the file"), hold(paths):
        pass


def _hold_until_killed(paths):
    with hold(paths):
        beat(paths, "w", 3, 10)
        time.sleep(600)


@pytest.fixture
def holder(paths):
    process = multiprocessing.get_context("spawn").Process(target=_hold_until_killed, args=(paths,), daemon=True)
    process.start()
    deadline = time.monotonic() + 240
    while read_heartbeat(paths) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    yield process
    process.kill()
    process.join()


def test_a_held_pool_is_refused_until_its_holder_dies(paths, holder):
    assert is_held(paths)
    with pytest.raises(T2Error, match=f"process {holder.pid} on "), hold(paths):
        pass
    assert read_heartbeat(paths).samples_done == 3
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert read_heartbeat(paths).pid == holder.pid
    assert not is_held(paths)
    with hold(paths):
        assert is_held(paths)
    assert not is_held(paths)
    assert read_heartbeat(paths) is None


def test_a_pool_that_is_not_there_is_free(paths):
    assert not is_held(paths)
    assert not paths.root.exists()


@pytest.mark.parametrize(("age", "held"), [(1.0, True), (FOREIGN_BEAT_SECONDS + 5, False)])
def test_a_heartbeat_of_another_host_counts_while_it_is_young(paths, age, held):
    beat(paths, "w", 0, 10)
    raw = json.loads(paths.heartbeat.read_text())
    paths.heartbeat.write_text(json.dumps(raw | {"host": "elsewhere", "time": time.time() - age}))
    assert is_held(paths) == held
    if held:
        with pytest.raises(T2Error, match="on elsewhere"), hold(paths):
            pass
    else:
        with hold(paths):
            pass


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"host": "x"}'])
def test_an_unreadable_heartbeat_is_none(paths, content):
    paths.root.mkdir()
    paths.heartbeat.write_text(content)
    assert read_heartbeat(paths) is None
    assert not is_held(paths)


def test_who_looks_whether_a_pool_is_held_does_not_take_it(paths):
    """A trainer that polls must not make a labeller that starts believe the pool is held."""
    stop, refused = threading.Event(), 0

    def poll():
        while not stop.is_set():
            is_held(paths)

    with hold(paths):
        pass
    watcher = threading.Thread(target=poll)
    watcher.start()
    try:
        for _ in range(100):
            try:
                with hold(paths):
                    pass
            except T2Error:
                refused += 1
    finally:
        stop.set()
        watcher.join()
    assert refused == 0
