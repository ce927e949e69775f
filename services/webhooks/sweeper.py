"""The gap sweeper: events that no webhook brought are found in Stripe's own lists, and come in by the same door."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from models.base import new_id
from services.exclusive import exclusively
from services.stripe_gateway import Priority, StripeInvalidRequest
from services.stripe_requests import list_events
from services.webhooks.handlers import EventSource, enabled_events
from services.webhooks.inbox import IncomingEvent, MalformedEventError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.core import Services

log = structlog.get_logger("webhooks.sweeper")

# "List all events": the types that one request may name, and for how long Stripe keeps events.
_TYPES_AT_ONCE: Final = 20
_KEPT_FOR: Final = timedelta(days=30)
# Stripe's clock is not ours, and an event may be listed a little after it says that it was made.
_OVERLAP: Final = timedelta(minutes=2)
_FIRST_WINDOW: Final = timedelta(hours=6)
_PAGE: Final = 100

_ACCOUNTS: Final = """
SELECT a.stripe_account_id FROM connect_accounts a LEFT JOIN sweep_watermarks w ON w.account = a.stripe_account_id
WHERE a.stripe_account_id IS NOT NULL AND a.deauthorized_at IS NULL ORDER BY w.seen_until NULLS FIRST, a.id
"""
_MOVE: Final = """
INSERT INTO sweep_watermarks (id, account, seen_until) VALUES ($1, $2, $3)
ON CONFLICT (account) DO UPDATE SET seen_until = greatest(sweep_watermarks.seen_until, excluded.seen_until)
"""


async def sweep(services: Services) -> int:
    """Go once over the events of the platform and of each connected account, the longest unseen first.

    Only one process sweeps at a time. An account's watermark moves once all of its list was taken in.

    Returns: how many events the inbox lacked.
    Raises: StripeNotSent, StripeUnknownOutcome where Stripe is away; the next pass begins where this one did.
    """
    async with exclusively(services.database, "paydesk:sweep") as mine:
        if not mine:
            return 0
        every = timedelta(seconds=services.settings.gap_every_s)
        platform_at = services.clock()
        found = await _sweep_account(services, "")
        for record in await services.database.pool.fetch(_ACCOUNTS):
            if services.clock() - platform_at > every:  # many accounts take their time: payments matter more
                platform_at = services.clock()
                found += await _sweep_account(services, "")
            try:
                found += await _sweep_account(services, record["stripe_account_id"])
            except StripeInvalidRequest as error:
                # The host has cut the platform off, and the event that says so is missing or on its way.
                log.warning("sweeper.account_refused", account=record["stripe_account_id"], code=error.code)
    if found:
        log.info("sweeper.found", events=found)
    services.metrics.swept.inc(found)
    return found


async def _sweep_account(services: Services, account: str) -> int:
    now = services.clock()
    since = await _since(services, account, now)
    types = enabled_events(EventSource.of(account))
    found = 0
    for start in range(0, len(types), _TYPES_AT_ONCE):
        request = list_events(
            types=types[start : start + _TYPES_AT_ONCE], created_gte=int(since.timestamp()), account=account or None
        )
        page: list[dict[str, Any]] = []
        async for event in services.stripe.list_all(request, priority=Priority.BACKGROUND):
            page.append(event)
            if len(page) == _PAGE:
                found += await _take_in(services, account, page)
                page = []
        found += await _take_in(services, account, page)
    await services.database.pool.execute(_MOVE, new_id(), account, now)
    return found


async def _since(services: Services, account: str, now: datetime) -> datetime:
    """Where to begin: a little before the watermark, and no further back than Stripe remembers."""
    seen_until: datetime | None = await services.database.pool.fetchval(
        "SELECT seen_until FROM sweep_watermarks WHERE account = $1", account
    )
    if seen_until is None:
        return now - _FIRST_WINDOW
    if now - seen_until > _KEPT_FOR:
        log.error("sweeper.gap_too_long", account=account, seen_until=seen_until.isoformat())
    return max(seen_until - _OVERLAP, now - _KEPT_FOR)


async def _take_in(services: Services, account: str, events: Sequence[dict[str, Any]]) -> int:
    """Store those that the inbox lacks; how many that were."""
    if not events:
        return 0
    known = await services.database.pool.fetch(
        "SELECT stripe_event_id FROM webhook_events WHERE stripe_event_id = ANY($1) AND account = $2",
        [str(event["id"]) for event in events], account,
    )  # fmt: skip
    seen = {record["stripe_event_id"] for record in known}
    missing = []
    for event in events:
        if event["id"] in seen:
            continue
        try:
            missing.append(IncomingEvent.of(event, orjson.dumps(event).decode(), account=account))
        except MalformedEventError as error:
            log.warning("sweeper.malformed", event_id=event["id"], account=account, error=str(error))
    stored = await asyncio.gather(*(services.inbox.submit(event) for event in missing))
    return sum(stored)
