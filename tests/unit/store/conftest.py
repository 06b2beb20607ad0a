"""Where the pool of a test goes."""

import pytest

from t2.store.schema import PoolPaths


@pytest.fixture
def paths(tmp_path):
    return PoolPaths(tmp_path / "pool")
