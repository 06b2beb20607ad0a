"""Waits of whoever a full engine has refused: longer from time to time, and not all at the same moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.05, 1.0


class Backoff:
    """Of one request."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self.delay = FIRST_DELAY_SECONDS
        """about the next wait, in seconds"""

    async def wait(self) -> None:
        """Until the next try."""
        # Requests that were refused together must not come back together.
        await self._sleep(self.delay * random.uniform(0.5, 1.5))
        self.delay = min(2 * self.delay, LONGEST_DELAY_SECONDS)
