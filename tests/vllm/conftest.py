"""Of the tests that start engines."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cores_of_its_own() -> None:
    """The cores of this process of pytest-xdist and of the engines that it starts: no other's, if there are enough.

    An engine has a thread on each core that it may use, and these wait for each other at every product: with another
    engine's on the same core a step takes ten times as long.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    own = cores[int(worker.removeprefix("gw")) % count :: count]  # in the place of gw1, if it dies, comes gw2
    os.sched_setaffinity(0, own or cores)
