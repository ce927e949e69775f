"""One rate for all processes, fair, bounded, and held without Redis too."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from services.rate_limiter import Priority, RateExceededError, RateLimiter
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INTERACTIVE, BACKGROUND = Priority.INTERACTIVE, Priority.BACKGROUND


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey)
    yield client
    await client.aclose()


@pytest.fixture
def key() -> str:
    return f"test:{uuid4()}"


async def timed(limiters: list[RateLimiter], count: int) -> float:
    """Seconds that so many permits took, asked for all at once."""
    started = time.monotonic()
    await asyncio.gather(*(limiters[i % len(limiters)].acquire(INTERACTIVE) for i in range(count)))
    return time.monotonic() - started


async def test_a_lone_caller_does_not_wait(redis: Redis, key: str) -> None:
    limiter = RateLimiter(redis, key=key, rate=50, queue_s=1)
    assert await timed([limiter], 1) < 0.2
    await limiter.close()


@pytest.mark.parametrize("processes", [1, 2, 3])
async def test_the_rate_is_that_of_all_processes_together(redis: Redis, key: str, processes: int) -> None:
    limiters = [RateLimiter(redis, key=key, rate=100, queue_s=10) for _ in range(processes)]
    taken = await timed(limiters, 125)
    # A burst of a quarter of a second is given at once; the rest comes at the rate.
    assert 0.9 < taken < 3
    for limiter in limiters:
        await limiter.close()


async def test_limiters_of_other_keys_do_not_disturb_each_other(redis: Redis, key: str) -> None:
    limiters = [RateLimiter(redis, key=f"{key}:{i}", rate=100, queue_s=10) for i in range(4)]
    assert await timed(limiters, 100) < 0.9
    for limiter in limiters:
        await limiter.close()


async def test_who_waits_too_long_is_told_so_and_leaves_the_queue(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=2, queue_s=0.3)
    outcomes = await asyncio.gather(*(limiter.acquire(INTERACTIVE) for _ in range(6)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RateExceededError)]
    assert 4 <= len(refused) <= 5
    assert [outcome for outcome in outcomes if outcome is not None and outcome not in refused] == []
    await limiter.close()


async def test_background_work_gets_every_fifth_permit_while_guests_wait(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=100, queue_s=10)
    order: list[Priority] = []

    async def take(priority: Priority) -> None:
        await limiter.acquire(priority)
        order.append(priority)

    await asyncio.gather(*(take(BACKGROUND) for _ in range(40)), *(take(INTERACTIVE) for _ in range(40)))
    assert order[:40].count(BACKGROUND) == 8
    assert order[-30:] == [BACKGROUND] * 30
    await limiter.close()


async def test_background_work_alone_has_the_whole_rate(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=100, queue_s=10)
    started = time.monotonic()
    await asyncio.gather(*(limiter.acquire(BACKGROUND) for _ in range(50)))
    assert time.monotonic() - started < 1.5
    await limiter.close()


async def test_callers_of_one_kind_are_served_in_their_order(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=200, queue_s=10)
    order: list[int] = []

    async def take(number: int) -> None:
        await limiter.acquire(INTERACTIVE)
        order.append(number)

    await asyncio.gather(*(take(number) for number in range(80)))
    assert order == list(range(80))
    await limiter.close()


async def test_a_caller_that_goes_away_takes_no_permit_with_it(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=20, queue_s=10)
    await asyncio.gather(*(limiter.acquire(INTERACTIVE) for _ in range(5)))  # the burst
    started = time.monotonic()
    gone = [asyncio.create_task(limiter.acquire(INTERACTIVE)) for _ in range(100)]
    await asyncio.sleep(0)
    last = asyncio.create_task(limiter.acquire(INTERACTIVE))
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await last
    assert time.monotonic() - started < 1
    outcomes = await asyncio.gather(*gone, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    await limiter.close()


async def test_a_caller_cancelled_in_the_moment_of_its_permit_gives_it_back(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=4, queue_s=10)
    await limiter.acquire(INTERACTIVE)  # the burst
    waiting = asyncio.create_task(limiter.acquire(INTERACTIVE))
    await until(lambda: limiter.waiting == 1)
    limiter._permits, limiter._permits_until = 0, time.monotonic() + 60
    limiter._waiting[INTERACTIVE][0].set_result(None)  # as the limiter hands one out
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limiter._take()
    await limiter.close()


class Broken:
    """A Redis that is not there, or does not answer."""

    def __init__(self, delay_s: float = 0) -> None:
        self.asked = 0
        self.delay_s = delay_s
        self.works = False

    async def eval(self, *arguments: Any) -> int:
        self.asked += 1
        if self.works:
            return 0
        await asyncio.sleep(self.delay_s)
        raise RedisConnectionError("gone")


async def test_without_redis_each_process_keeps_to_a_part_of_the_rate(key: str) -> None:
    limiter = RateLimiter(Broken(), key=key, rate=100, queue_s=10)  # type: ignore[arg-type]
    taken = await timed([limiter], 25)
    assert 0.5 < taken < 2
    await limiter.close()


async def test_a_redis_that_hangs_is_not_asked_for_every_permit(key: str) -> None:
    redis = Broken(delay_s=0.2)
    limiter = RateLimiter(redis, key=key, rate=100, queue_s=10)  # type: ignore[arg-type]
    await timed([limiter], 40)
    assert redis.asked <= 3
    await limiter.close()


async def test_redis_is_asked_again_once_it_is_back(key: str) -> None:
    redis = Broken()
    limiter = RateLimiter(redis, key=key, rate=100, queue_s=10, redis_again_s=0.05)  # type: ignore[arg-type]
    await limiter.acquire(INTERACTIVE)
    redis.works = True
    asked = redis.asked
    await asyncio.sleep(0.15)
    await limiter.acquire(INTERACTIVE)
    assert redis.asked > asked
    await limiter.close()


async def test_a_block_that_was_leased_is_used_before_another_is_asked_for(key: str) -> None:
    redis = Broken()
    redis.works = True
    limiter = RateLimiter(redis, key=key, rate=100, queue_s=10)  # type: ignore[arg-type]
    await timed([limiter], 100)
    assert redis.asked <= 15
    await limiter.close()


async def test_closing_ends_those_who_wait(key: str) -> None:
    limiter = RateLimiter(None, key=key, rate=1, queue_s=10)
    waiting = [asyncio.create_task(limiter.acquire(INTERACTIVE)) for _ in range(3)]
    await until(lambda: limiter.waiting > 0)
    await limiter.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {RateExceededError, type(None)}
    assert RateExceededError in {type(outcome) for outcome in outcomes}
