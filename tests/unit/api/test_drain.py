"""The engine is shut down when the last request has ended, or the time is over."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from t2.api.drain import Drain, failing_when_dead


def shut_down(drain: Drain, timeout: float | None) -> tuple[threading.Thread, list[Any]]:
    calls: list[Any] = []
    shutdown = drain.before(lambda timeout: calls.append(timeout))
    thread = threading.Thread(target=shutdown, kwargs={"timeout": timeout})
    thread.start()
    return thread, calls


def test_a_running_request_ends_first() -> None:
    drain = Drain()
    with drain.running():
        thread, calls = shut_down(drain, 60.0)
        time.sleep(0.05)
        assert (drain.is_draining, calls) == (True, [])
        with drain.running():  # a second one ends, the first one still runs
            pass
        time.sleep(0.02)
        assert calls == []
    thread.join(10)
    assert [call > 50 for call in calls] == [True]


def test_time_is_over_some_day() -> None:
    drain = Drain()
    with drain.running():
        thread, calls = shut_down(drain, 0.05)
        thread.join(10)
    assert calls == [1.0]


def test_a_server_that_aborts_does_not_wait() -> None:
    drain = Drain()
    with drain.running():
        thread, calls = shut_down(drain, 0)
        thread.join(10)
    assert (calls, drain.is_draining) == ([0], False)


def test_the_main_thread_never_waits() -> None:
    drain, calls = Drain(), list[Any]()
    with drain.running():
        drain.before(lambda timeout: calls.append(timeout))(timeout=30.0)
    assert calls == [30.0]


@pytest.mark.parametrize(
    ("is_dead", "threads_first", "fails"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_a_dead_engine_is_no_good_end(is_dead: bool, threads_first: bool, fails: bool) -> None:
    """After a signal the engine is shut down in a thread, and dead when the main thread shuts it down once more."""
    calls, dead = list[Any](), [is_dead and not threads_first]
    shut_down = failing_when_dead(lambda timeout: calls.append(timeout), lambda: dead[0])
    if threads_first:
        thread = threading.Thread(target=shut_down)
        thread.start()
        thread.join()
        dead = [True]
    if fails:
        with pytest.raises(SystemExit, match="Expected a running engine, got one that has died"):
            shut_down(timeout=3)
    else:
        shut_down(timeout=3)
    assert calls[-1] == 3


def test_work_that_outlives_its_request_ends_first() -> None:
    """Lines of the shadow log were lost at SIGTERM: the engine that reads their prompts was gone before."""
    done: list[str] = []

    async def written() -> None:
        await asyncio.sleep(0.05)
        done.append("written")

    async def serve() -> None:
        drain = Drain()
        shutdown = drain.before(lambda timeout: done.append("shut down"))
        with drain.running():
            drain.later(written())
        await asyncio.to_thread(shutdown, timeout=10.0)
        assert drain.wait(0)

    asyncio.run(serve())
    assert done == ["written", "shut down"]


def test_work_that_fails_is_no_longer_waited_for() -> None:
    async def fail() -> None:
        raise RuntimeError("scripted")

    async def serve() -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        drain = Drain()
        drain.later(fail())
        return await asyncio.to_thread(drain.wait, 10.0)

    assert asyncio.run(serve())
