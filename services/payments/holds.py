"""Seats whose hold ran out: the payment intent is canceled first, and the seats given back only then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.payments.actions import cancel_payment
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.core import Services

log = structlog.get_logger("payments.holds")

SYSTEM = Viewer(role=Role.SERVICE, external_id="system:holds")


_AT_ONCE: Final = 8
"""Payments that are canceled at the same time: guests at Stripe's door come first."""

_DUE: Final = """
SELECT p.id, p.rsvp_id, r.hold_expires_at FROM rsvps r JOIN payments p ON p.rsvp_id = r.id
WHERE r.status = 'HELD' AND r.hold_expires_at <= $1
    AND p.stripe_payment_intent_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM operations o WHERE o.subject_id = p.id AND o.status = 'RUNNING')
ORDER BY r.hold_expires_at LIMIT $2
"""
_POSTPONE: Final = """
UPDATE rsvps SET hold_expires_at = $3, updated_at = now() WHERE id = $1 AND status = 'HELD' AND hold_expires_at = $2
"""


async def expire_holds(services: Services, *, limit: int = 100) -> int:
    """Cancel the payments of seats whose hold ran out; one that succeeded after all is fulfilled instead.

    A payment with an operation under way, or whose intent is not known yet, is passed over: how that ends decides, and
    its recovery ends it.

    Returns: how many were due.
    """
    due = await services.database.pool.fetch(_DUE, services.clock(), limit)
    room = asyncio.Semaphore(_AT_ONCE)

    async def expire(record: Mapping[str, Any]) -> None:
        async with room:
            await _expire(services, record)

    await asyncio.gather(*(expire(record) for record in due))
    return len(due)


async def _expire(services: Services, record: Mapping[str, Any]) -> None:
    # A retry may have given the seats a new hold that ran out again: each hold has its own operation.
    key = f"expire:{record['id']}:{record['hold_expires_at'].timestamp()}"
    try:
        result = await cancel_payment(
            services, viewer=SYSTEM, payment_id=record["id"], idempotency_key=key, expired=True
        )
    except (OperationInProgress, StripeUnavailable) as error:
        log.info("holds.still_busy", payment=str(record["id"]), error=error.code)
        return
    except DomainError as error:
        log.warning("holds.not_canceled", payment=str(record["id"]), error=error.code)
    except Exception:
        # A bug with one payment must not keep the seats of the others.
        log.exception("holds.failed", payment=str(record["id"]))
    else:
        if result.error is None:
            return
        log.warning("holds.not_canceled", payment=str(record["id"]), error=result.error.code)
    # A refusal is recorded under its key, and this hold would be the first to be due each time: ask again later, with
    # another key. Where the payment has come to its end meanwhile this changes nothing.
    later = services.clock() + timedelta(seconds=services.settings.hold_s)
    await services.database.pool.execute(_POSTPONE, record["rsvp_id"], record["hold_expires_at"], later)
