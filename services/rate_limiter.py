"""A rate that all processes share: permits are leased from Redis in small blocks and handed out here, in turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from services.cancellation import end_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger("rate_limiter")

# The generic cell rate algorithm: the key holds when the last permit given is "due". Returns microseconds to wait.
_LEASE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local next_due = due + ARGV[1] * ARGV[2]
local wait = next_due - ARGV[3] - now
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', next_due), 'PX', math.ceil((next_due - now) / 1000) + 1000)
return 0
"""
_BURST_S = 0.25
_LEASE_S = 0.1
# Of five permits one goes to background work while both wait: it never starves, and never holds up a guest for long.
_BACKGROUND_EVERY = 5
# Without Redis the processes cannot see each other: each keeps to a part of the rate.
_SHARE_ALONE = 0.25
# A Redis that hangs costs its time-out each time it is asked.
_REDIS_AGAIN_S = 5.0


class Priority(IntEnum):
    """Who goes first."""

    INTERACTIVE = 0
    BACKGROUND = 1


class RateExceededError(Exception):
    """No permit came in time."""


class RateLimiter:
    """Permits per second, bounded in waiting."""

    def __init__(
        self, redis: Redis | None, *, key: str, rate: float, queue_s: float, redis_again_s: float = _REDIS_AGAIN_S
    ) -> None:
        """
        Args:
            redis: shared by all processes; None where there is only this one.
            rate: permits a second.
            queue_s: seconds that a caller waits at most.
            redis_again_s: seconds until a Redis that failed is asked again.
        """
        self._redis = redis
        self._key = key
        self._rate = rate
        self._queue_s = queue_s
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self._permits = 0
        self._permits_until = 0.0
        self._due = 0.0
        self._granted = 0
        self._period_at = 0.0
        self._taken = 0
        self._taken_before = 0
        self._redis_again_s = redis_again_s
        self._alone_until = 0.0
        self._pump: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return sum(len(queue) for queue in self._waiting)

    async def acquire(self, priority: Priority) -> None:
        """Wait for a permit.

        Raises: RateExceededError after `queue_s`.
        """
        if not self.waiting and self._take():
            return
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(permit)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._hand_out(), name="rate-limiter")
        try:
            async with asyncio.timeout(self._queue_s):
                await permit
        except TimeoutError:
            if permit.cancelled():
                raise RateExceededError from None
        except asyncio.CancelledError:
            if not permit.cancelled():  # it came in this very moment: the next one has it
                self._permits += 1
            raise

    def _take(self) -> bool:
        if self._permits > 0 and time.monotonic() < self._permits_until:
            self._permits -= 1
            self._taken += 1
            return True
        return False

    async def _hand_out(self) -> None:
        while self.waiting:
            if self._permits <= 0 or time.monotonic() >= self._permits_until:
                await self._lease()
                continue
            waiter = self._next()
            if waiter is not None and not waiter.done():
                self._permits -= 1
                self._taken += 1
                waiter.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        interactive, background = self._waiting
        self._granted += 1
        turn = background if background and self._granted % _BACKGROUND_EVERY == 0 else interactive or background
        return turn.popleft() if turn else None

    async def _lease(self) -> None:
        """Lease a block of permits, or wait until one may be there.

        A block is for those who wait, and for half as many as came lately: Redis is asked less often than calls are
        made, and few permits run out unused.
        """
        now = time.monotonic()
        if now - self._period_at >= _LEASE_S:
            self._taken_before = self._taken if now - self._period_at < 2 * _LEASE_S else 0
            self._period_at, self._taken = now, 0
        wanted = max(self.waiting, self._taken_before // 2)
        block = max(1, min(wanted, round(self._rate * _LEASE_S)))
        wait_s = await self._shared(block)
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, _BURST_S))
            return
        self._permits, self._permits_until = block, time.monotonic() + _LEASE_S

    async def _shared(self, block: int) -> float:
        if self._redis is not None and time.monotonic() >= self._alone_until:
            try:
                burst_s = max(_BURST_S, block / self._rate)
                wait = await self._redis.eval(
                    _LEASE, 1, self._key, str(block), str(1e6 / self._rate), str(burst_s * 1e6)
                )
            except (RedisError, OSError):
                log.warning("rate_limiter.alone", share=_SHARE_ALONE, again_s=self._redis_again_s)
                self._alone_until = time.monotonic() + self._redis_again_s
            else:
                return float(wait) / 1e6
        return self._by_itself(block)

    def _by_itself(self, block: int) -> float:
        rate = self._rate * (_SHARE_ALONE if self._redis is not None else 1.0)
        now = time.monotonic()
        due = max(self._due, now) + block / rate
        wait_s = due - max(_BURST_S, block / rate) - now
        if wait_s <= 0:
            self._due = due
        return wait_s

    async def close(self) -> None:
        """Stop handing out; who waits is told that no permit came."""
        if self._pump is not None:
            await end_tasks([self._pump])
        for queue in self._waiting:
            while queue:
                waiter = queue.popleft()
                if not waiter.done():
                    waiter.set_exception(RateExceededError())
