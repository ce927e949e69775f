"""Telling the other processes that something was committed: a message on Redis that says no more than "look"."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from redis.exceptions import RedisError

from services.cancellation import end_tasks
from services.pauses import back_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

log = structlog.get_logger("wake_ups")

_SILENCE_S = 15.0
# Under load messages follow one another; what commits in between shares the next one.
_LEAST_GAP_S = 0.004
_BACKOFF_AT_MOST_S = 5.0


class WakeUps:
    """Sends and hears wake-ups. They may be lost: who hears them looks from time to time anyway."""

    def __init__(self, redis: Redis, *, channel: str, on_wake: Callable[[], None]) -> None:
        """
        Args:
            on_wake: called for each message of another process, and after a time in which some may have been lost.
        """
        self._redis = redis
        self._channel = channel
        self._on_wake = on_wake
        self._name = uuid4().hex
        self._due = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._send(), name="wake-ups-send"),
            asyncio.create_task(self._hear(), name="wake-ups-hear"),
        ]

    def announce(self) -> None:
        """Wake the others soon: what is announced while a message is on its way leaves as one message after it."""
        self._due.set()

    async def close(self) -> None:
        """Stop sending and hearing."""
        await end_tasks(self._tasks)

    async def _send(self) -> None:
        failures = 0
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._redis.publish(self._channel, self._name)
                failures = 0
                await asyncio.sleep(_LEAST_GAP_S)
            except (RedisError, OSError) as error:
                failures += 1
                await back_off(log, "wake_ups.not_sent", failures, error, at_most_s=_BACKOFF_AT_MOST_S)

    async def _hear(self) -> None:
        failures = 0
        while True:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(self._channel)
                if failures:
                    log.info("wake_ups.heard_again")
                    failures = 0
                    self._on_wake()
                await self._listen(pubsub)
            except (RedisError, OSError) as error:
                failures += 1
                await back_off(log, "wake_ups.not_heard", failures, error, at_most_s=_BACKOFF_AT_MOST_S)
            finally:
                with suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _listen(self, pubsub: PubSub) -> None:
        own = self._name.encode()
        while True:
            # Silence is no error, whatever time-out the connection has.
            message = await pubsub.get_message(timeout=_SILENCE_S)
            if message is not None and message["data"] not in {own, self._name}:
                self._on_wake()
