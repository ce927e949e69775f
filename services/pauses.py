"""Pauses: for so long or until something happens, and ever longer while something fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_FIRST_S: Final = 0.2


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, but no longer than so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return


def backoff_s(failures: int, *, first_s: float, at_most_s: float) -> float:
    """Seconds to wait after so many failures in a row: `first_s` after the first, then twice as long each time."""
    return min(at_most_s, first_s * 2.0 ** min(failures - 1, 10))


async def back_off(log: FilteringBoundLogger, what: str, failures: int, error: Exception, *, at_most_s: float) -> None:
    """Wait after a failure; the first in a row is logged as `what`."""
    if failures == 1:
        log.warning(what, error=type(error).__name__)
    await asyncio.sleep(backoff_s(failures, first_s=_FIRST_S, at_most_s=at_most_s))
