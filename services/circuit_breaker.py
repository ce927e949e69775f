"""A circuit breaker: after failures in a row nothing is sent for a while, then one call at a time tries again."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BreakerState(StrEnum):
    """CLOSED lets everything through, OPEN nothing, HALF_OPEN one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts failures in a row; an answer of any kind, a refusal included, is a success."""

    def __init__(self, *, failures: int, open_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            failures: in a row, that open it.
            open_s: seconds until a probe is let through.
        """
        self._limit = failures
        self._open_s = open_s
        self._monotonic = monotonic
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state of now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        waited = self._monotonic() - self._opened_at >= self._open_s
        return BreakerState.HALF_OPEN if waited or self._probing else BreakerState.OPEN

    def allow(self) -> bool:
        """Whether a call may go out now; a half-open circuit lets one."""
        state = self.state
        if state is BreakerState.CLOSED:
            return True
        if state is BreakerState.OPEN or self._probing:
            return False
        self._probing = True
        return True

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may be let through."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._open_s - (self._monotonic() - self._opened_at))

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        """A call was not answered, or with a failure of the other side."""
        self._failures += 1
        if self._probing or self._failures >= self._limit:
            self._opened_at = self._monotonic()
        self._probing = False

    def abandoned(self) -> None:
        """A call that was let through told nothing."""
        self._probing = False
