"""Following the stream of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

from schema.context import Context
from services.live import EventFilter, LiveChange, Moment

Change = TypeVar("Change")


async def follow(
    context: Context, wanted: EventFilter, after: str | None, moment: Moment, make: Callable[[LiveChange], Change]
) -> AsyncIterator[Change]:
    """Each change that passes the filter, with nothing remembered of how things were at the one before.

    Args:
        moment: when the subscription was received; without `after` it is live from then on.

    Raises: InvalidInput, StaleCursor.
    """
    async with aclosing(context.services.live.follow(wanted, after, moment=moment)) as changes:
        async for change in changes:
            context.renew()
            yield make(change)
