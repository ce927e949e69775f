"""Who follows the stream in this process: what waits for each, and who is asked about a row."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.event_stream import EventFilter, LiveChange, StreamKey

Address = tuple[str, UUID | None]
"""Where a follower is entered, so that a row finds those who may want it without asking all."""


class Follower:
    """What the tail left for one follower, bounded; it takes from the table what lies up to `since`."""

    __slots__ = ("_waiter", "address", "buffer", "closed", "filter", "gave_at", "limit", "lost", "overflowed", "since")

    def __init__(self, filter_: EventFilter, since: StreamKey, limit: int) -> None:
        self.filter = filter_
        self.address = address_of(filter_)
        self.since = since
        self.limit = limit
        self.buffer: deque[LiveChange] = deque()
        self.overflowed = False
        self.closed = False
        self.lost: Exception | None = None
        self.gave_at = 0.0
        self._waiter: asyncio.Future[None] | None = None

    def push(self, change: LiveChange) -> None:
        """Leave a change; where there is no room, all is dropped: the table has it."""
        if self.overflowed or self.closed:
            return
        if len(self.buffer) >= self.limit:
            self.overflowed = True
            self.buffer.clear()
        else:
            self.buffer.append(change)
        self._notify()

    def restart(self, since: StreamKey) -> None:
        """Begin anew from where the tail is now: what overflowed is in the table."""
        self.overflowed = False
        self.since = since

    def end(self, error: Exception | None) -> None:
        """Nothing comes any more, because of `error` if there is one."""
        self.closed = True
        self.lost = error
        self.buffer.clear()
        self._notify()

    async def next(self) -> LiveChange | None:
        """The next change; None where the buffer overflowed or nothing comes any more."""
        while not self.buffer:
            if self.closed or self.overflowed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.buffer.popleft()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def address_of(filter_: EventFilter) -> Address:
    """Where a filter is entered: under the most selective of its conditions."""
    for name in ("subject_id", "payer_id", "party_id", "host_id", "activity_id"):
        value = getattr(filter_, name)
        if value is not None:
            return name, value
    return "", None


def addresses_of(event: Mapping[str, Any]) -> Iterator[Address]:
    """Where those stand who may want a row."""
    yield "", None
    for name in ("subject_id", "payer_id", "host_id", "activity_id"):
        if event[name] is not None:
            yield name, event[name]
    parties = {event["payer_id"], event["host_id"]} - {None}
    for party in parties:
        yield "party_id", party
