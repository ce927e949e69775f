"""Handling what is in the inbox. The row is the job: RECEIVED and due, claimed by one worker for a time.

A claim is an update that skips what others are claiming, so that any number of workers share the work. It counts a try
and sets `next_attempt_at` to the end of its lease; whoever finishes has to find that very time, so that a worker that
was silent too long changes nothing any more. While an event is being handled it has no `last_error`.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from models.base import from_record
from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.errors import OperationInProgress, StripeUnavailable
from services.payout_requests import retrieve_payout
from services.stripe_gateway import (
    API_VERSION,
    Priority,
    StripeInvalidRequest,
    StripeNotSent,
    StripeUnknownOutcome,
)
from services.stripe_requests import (
    retrieve_account,
    retrieve_capability,
    retrieve_charge,
    retrieve_payment_intent,
    retrieve_refund,
)
from services.webhooks.handlers import HANDLERS, handler_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from services.core import Services
    from services.stripe_requests import StripeRequest
    from services.webhooks.handlers import Handler

log = structlog.get_logger("webhooks")

# Leases outlive what a handler may take: two calls to Stripe, each with all its tries.
_LEASES: Final = 2
_FIRST_DELAY_S: Final = 2.0
_DELAY_GROWS: Final = 3.0
_DELAY_AT_MOST_S: Final = 3600.0
_OUTAGE_DELAY_S: Final = (2.0, 60.0)
# For so long Stripe's own troubles use up none of an event's tries.
_OUTAGE_AT_MOST: Final = timedelta(days=1)
_ERROR_LENGTH: Final = 1000
_SECRETS: Final = re.compile(r"\b((?:sk|rk|whsec)_|\w+_secret_)\w+")
_UNREACHABLE: Final = (StripeNotSent, StripeUnknownOutcome, StripeUnavailable, OperationInProgress)

_CLAIM: Final = """
WITH due AS MATERIALIZED (
    SELECT id, stripe_created_at FROM webhook_events
    WHERE status = 'RECEIVED' AND (next_attempt_at IS NULL OR next_attempt_at <= $1)
    ORDER BY next_attempt_at NULLS FIRST, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE webhook_events e SET attempts = attempts + 1, next_attempt_at = $2, last_error = NULL
FROM due WHERE e.id = due.id AND e.stripe_created_at = due.stripe_created_at RETURNING e.*
"""
_FINISH: Final = """
UPDATE webhook_events SET status = $4, processed_at = $5, next_attempt_at = $6, last_error = $7, attempts = $8
WHERE id = $1 AND stripe_created_at = $2 AND status = 'RECEIVED' AND next_attempt_at = $3
"""


async def claim_due(services: Services, limit: int) -> list[WebhookEvent]:
    """Claim events that are due, in the order in which Stripe made them."""
    now = services.clock()
    lease = timedelta(seconds=_LEASES * services.settings.lease_s)
    records = await services.database.pool.fetch(_CLAIM, now, now + lease, limit)
    events = [from_record(WebhookEvent, record) for record in records]
    return sorted(events, key=lambda event: (event.stripe_created_at, event.id))


def by_object(events: Sequence[WebhookEvent]) -> list[list[WebhookEvent]]:
    """Events that are about the same thing, together: the first of them often leaves nothing to do for the others."""
    groups: defaultdict[tuple[str, str], list[WebhookEvent]] = defaultdict(list)
    for event in events:
        groups[event.account, _thing_of(event)].append(event)
    return list(groups.values())


def _thing_of(event: WebhookEvent) -> str:
    """What an event is about: a payment's intent, an account, or a guest, whose subscriptions and invoices are one."""
    thing: dict[str, Any] = event.payload["data"]["object"]
    customer, metadata = thing.get("customer"), thing.get("metadata")
    # Intents of ours say so: those that do not may pay an invoice. Whatever else is there instead is its handler's
    # trouble: here it would keep all that was claimed with it.
    may_pay_activity = str(thing.get("object")) in {"payment_intent", "charge", "refund"}
    ours = may_pay_activity and isinstance(metadata, dict) and "payment_id" in metadata
    if not event.account and isinstance(customer, str) and not ours:
        return customer
    if thing.get("object") == "payment_intent":
        return str(thing.get("id"))
    return str(thing.get("payment_intent") or event.account or thing.get("id"))


async def process_due(services: Services, *, limit: int = 100) -> int:
    """Claim what is due and handle it, different things at the same time.

    Returns: how many events were claimed.
    """
    events = await claim_due(services, limit)
    await asyncio.gather(*(process_together(services, group) for group in by_object(events)))
    return len(events)


async def process_together(services: Services, events: Sequence[WebhookEvent]) -> None:
    """Handle claimed events of one thing in turn; those whose lease runs out meanwhile are left to the next claim."""
    for event in events:
        if _left_s(services, event) > 0:
            await process_event(services, event)


async def process_event(services: Services, event: WebhookEvent) -> None:
    """Handle one claimed event, and note how it went: a failure is tried again later, and parked after its last try.

    Stripe being away is not the event's failure: for a day it uses up none of its tries.
    """
    handler = handler_of(event.type, event.account)
    if handler is None:
        await _finish(services, event, WebhookEventStatus.IGNORED)
    elif event.attempts > services.settings.webhook_attempts:
        # Failures are counted below the limit: this one ended its process each time, or its lease.
        await _park(services, event, "No try came to an end.")
    else:
        started = time.monotonic()
        await _handle(services, event, handler)
        services.metrics.webhook_seconds.labels(event.type).observe(time.monotonic() - started)


async def _handle(services: Services, event: WebhookEvent, handler: Handler) -> None:
    try:
        async with asyncio.timeout(_left_s(services, event)):
            await _in_our_version(services, event)
            await handler.handle(services, event)
    except _UNREACHABLE as error:
        received: datetime = event.created_at
        if services.clock() - received > _OUTAGE_AT_MOST:
            await _failed(services, event, error)
        else:
            await _put_back(services, event, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this event's, which is kept with it
        if event.account and isinstance(error, StripeInvalidRequest) and error.is_cut_off:
            # The host has cut the platform off since: there is nobody left to ask.
            log.info("webhooks.account_out_of_reach", event_id=event.stripe_event_id, account=event.account)
            await _finish(services, event, WebhookEventStatus.PROCESSED)
        else:
            await _failed(services, event, error)
    else:
        await _finish(services, event, WebhookEventStatus.PROCESSED)


def _left_s(services: Services, event: WebhookEvent) -> float:
    """Seconds until the claim's lease ends."""
    if event.next_attempt_at is None:
        raise ValueError("the event is not claimed")
    return (event.next_attempt_at - services.clock()).total_seconds()


async def _in_our_version(services: Services, event: WebhookEvent) -> None:
    """Replace an object of another API version by itself as our version has it."""
    if event.api_version == API_VERSION:
        return
    request = _refetch(event)
    if request is not None:
        response = await services.stripe.send(request, priority=Priority.BACKGROUND)
        event.payload = {**event.payload, "data": {**event.payload["data"], "object": response.body}}


def _refetch(event: WebhookEvent) -> StripeRequest | None:
    """What asks for an event's object; None where it has no more to tell than its id."""
    thing: dict[str, Any] = event.payload["data"]["object"]
    id_ = str(thing.get("id"))
    if thing.get("object") == "account":
        return retrieve_account(id_)
    if thing.get("object") == "capability":
        return retrieve_capability(str(thing.get("account")), id_)
    retrieve: dict[str, Callable[[str], StripeRequest]] = {
        "payment_intent": retrieve_payment_intent, "charge": retrieve_charge, "refund": retrieve_refund,
        "payout": retrieve_payout,
    }  # fmt: skip
    make = retrieve.get(str(thing.get("object")))
    return None if make is None else replace(make(id_), stripe_account=event.account or None)


async def _put_back(services: Services, event: WebhookEvent, error: Exception) -> None:
    """Try again when Stripe may be back: soon at first, and less often the longer it takes. The try does not count."""
    now = services.clock()
    least, most = _OUTAGE_DELAY_S
    age: timedelta = now - event.created_at
    delay = _jittered(min(most, max(least, age.total_seconds() / 4)))
    log.info("webhooks.put_back", event_id=event.stripe_event_id, event_type=event.type, error=type(error).__name__)
    await _finish(
        services, event, WebhookEventStatus.RECEIVED, again_at=now + delay, error=_described(error),
        attempts=event.attempts - 1, outcome="put_back",
    )  # fmt: skip


async def _failed(services: Services, event: WebhookEvent, error: Exception) -> None:
    if event.attempts >= services.settings.webhook_attempts:
        await _park(services, event, _described(error), error)
        return
    delay = _jittered(min(_DELAY_AT_MOST_S, _FIRST_DELAY_S * _DELAY_GROWS ** (event.attempts - 1)))
    log.warning(
        "webhooks.failed", event_id=event.stripe_event_id, event_type=event.type, attempt=event.attempts,
        retry_in_s=delay.total_seconds(), exc_info=error,
    )  # fmt: skip
    await _finish(
        services, event, WebhookEventStatus.RECEIVED, again_at=services.clock() + delay, error=_described(error),
        outcome="retried",
    )  # fmt: skip


async def _park(services: Services, event: WebhookEvent, reason: str, error: Exception | None = None) -> None:
    log.error(
        "webhooks.parked", event_id=event.stripe_event_id, event_type=event.type, attempts=event.attempts,
        reason=reason, exc_info=error,
    )  # fmt: skip
    await _finish(services, event, WebhookEventStatus.FAILED, error=reason)


async def _finish(
    services: Services,
    event: WebhookEvent,
    status: WebhookEventStatus,
    *,
    again_at: datetime | None = None,
    error: str | None = None,
    attempts: int | None = None,
    outcome: str | None = None,
) -> None:
    """End a claim, where it is still ours."""
    ended = status in {WebhookEventStatus.PROCESSED, WebhookEventStatus.IGNORED}
    await services.database.pool.execute(
        _FINISH, event.id, event.stripe_created_at, event.next_attempt_at, status.value,
        services.clock() if ended else None, again_at, error, event.attempts if attempts is None else attempts,
    )  # fmt: skip
    # Types that nobody handles are Stripe's to invent: they share one label.
    label = event.type if event.type in HANDLERS else "other"
    services.metrics.webhook_events.labels(label, outcome or status.value.lower()).inc()


def _jittered(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret


def _described(error: Exception) -> str:
    """An error as an operator may read it: one line, bounded, without secrets."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return _SECRETS.sub(r"\1…", text)[:_ERROR_LENGTH].replace("\0", "")
