"""The job that collects failed invoices: what is due is tried, and what was tried for the last time ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from models.dunning import DunningStatus
from services.changes import ChangeSet
from services.dunning.ending import end_dunning, lift_unpaid
from services.dunning.paying import try_again
from services.dunning.rows import CALLER, facts_of, lock_dunning, write_dunning
from services.dunning.taking_over import stop_retries
from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.stripe_gateway import StripeError
from services.subscriptions.rows import lock_subscription, write_subscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from services.core import Services

log = structlog.get_logger("dunning")

_AT_ONCE: Final = 8
"""Invoices that are worked on at the same time: guests at Stripe's door come first."""

_OURS: Final = """
FROM dunnings d JOIN invoices i ON i.id = d.invoice_id JOIN subscriptions s ON s.id = d.subscription_id
WHERE d.status = 'TRYING' AND NOT d.by_stripe
"""
_RESTS: Final = """
AND i.status = 'OPEN' AND NOT EXISTS (
    SELECT FROM operations o WHERE o.status IN ('RUNNING', 'PARKED')
        AND (o.subject_id = i.id OR o.subject_id IN (SELECT p.id FROM payments p WHERE p.invoice_id = i.id)))
AND NOT EXISTS (SELECT FROM payments p WHERE p.invoice_id = i.id AND p.status = 'PROCESSING')
"""
_LIVE: Final = "AND s.status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED')"
_WHICH: Final = "SELECT d.id AS key, d.invoice_id, d.subscription_id"
_PAGE: Final = "AND d.id > $2 ORDER BY d.id LIMIT $1"

# Stripe's own retries may be days away, but nothing of ours begins before they are off.
_TO_STOP: Final = f"""
{_WHICH} {_OURS} {_LIVE} AND i.status = 'OPEN' AND (i.auto_advance OR i.next_payment_attempt IS NOT NULL)
AND NOT EXISTS (SELECT FROM operations o WHERE o.status = 'RUNNING' AND o.subject_id = i.id AND o.kind = 'stop_retries')
{_PAGE}
"""
_DUE: Final = f"""
{_WHICH} {_OURS} {_LIVE} {_RESTS} AND d.next_attempt_at <= $3
AND NOT i.auto_advance AND i.next_payment_attempt IS NULL {_PAGE}
"""
_OVER: Final = f"""
{_WHICH} {_OURS} {_LIVE} {_RESTS} AND d.next_attempt_at IS NULL AND d.ends_at <= $3 {_PAGE}
"""
_PAID_AFTER_ALL: Final = """
SELECT DISTINCT d.subscription_id AS key, d.subscription_id FROM dunnings d JOIN invoices i ON i.id = d.invoice_id
JOIN subscriptions s ON s.id = d.subscription_id
WHERE d.status = 'EXHAUSTED' AND d.ended_as = 'unpaid' AND i.status <> 'OPEN'
AND s.status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED')
AND NOT EXISTS (SELECT FROM dunnings o JOIN invoices j ON j.id = o.invoice_id
    WHERE o.subscription_id = s.id AND o.status = 'EXHAUSTED' AND o.ended_as = 'unpaid' AND j.status = 'OPEN')
AND d.subscription_id > $2 ORDER BY d.subscription_id LIMIT $1
"""
_POINTLESS: Final = f"""
{_WHICH} FROM dunnings d JOIN subscriptions s ON s.id = d.subscription_id
WHERE d.status = 'TRYING' AND s.status IN ('CANCELED', 'INCOMPLETE_EXPIRED') {_PAGE}
"""


async def collect(services: Services, *, limit: int = 200) -> int:
    """Take over from Stripe, make the tries that are due, end what is over, and lift what was paid after all.

    Each invoice is by itself: neither a refusal nor a bug with one keeps the others waiting. They are taken page by
    page, each once, so that any number of those that come to nothing leaves nobody out.

    Args:
        limit: how many make a page.

    Returns: how many were due for any of that.
    """
    now = services.clock()
    done = 0
    for query, values, act in (
        (_POINTLESS, (), _close), (_TO_STOP, (), _stop), (_DUE, (now,), _try), (_OVER, (now,), _end),
        (_PAID_AFTER_ALL, (), _lift),
    ):  # fmt: skip
        after: UUID | None = UUID(int=0)
        while after is not None:
            found = await services.database.pool.fetch(query, limit, after, *values)
            room = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(_alone(services, room, act, record) for record in found))
            done += len(found)
            after = found[-1]["key"] if len(found) == limit else None
    return done


async def _alone(
    services: Services,
    room: asyncio.Semaphore,
    act: Callable[[Services, Mapping[str, Any]], Awaitable[object]],
    record: Mapping[str, Any],
) -> None:
    async with room:
        try:
            await act(services, record)
        except (OperationInProgress, StripeUnavailable, StripeError) as error:
            log.info("dunning.still_busy", subscription=str(record["subscription_id"]), error=str(error))
        except DomainError as error:
            log.warning("dunning.moved_on", subscription=str(record["subscription_id"]), error=error.code)
        except Exception:
            # A bug with one invoice must not keep the others from being paid.
            services.metrics.job_failures.labels("dunning").inc()
            log.exception("dunning.failed", subscription=str(record["subscription_id"]))


async def _stop(services: Services, record: Mapping[str, Any]) -> None:
    await stop_retries(services, record["invoice_id"])


async def _try(services: Services, record: Mapping[str, Any]) -> None:
    await try_again(services, record["invoice_id"])


async def _end(services: Services, record: Mapping[str, Any]) -> None:
    await end_dunning(services, record["subscription_id"], record["invoice_id"])


async def _lift(services: Services, record: Mapping[str, Any]) -> None:
    await lift_unpaid(services, record["subscription_id"])


async def _close(services: Services, record: Mapping[str, Any]) -> None:
    """A subscription that has ended is dunned no more, whatever is open of it."""
    async with services.database.transaction() as connection:
        locked = await lock_subscription(connection, record["subscription_id"])
        await connection.execute("SELECT FROM invoices WHERE id = $1 FOR NO KEY UPDATE", record["invoice_id"])
        dunning = await lock_dunning(connection, record["invoice_id"])
        if dunning is None or dunning.status is not DunningStatus.TRYING or not locked.row.status.is_final:
            return
        before = facts_of(dunning)
        dunning.status, dunning.next_attempt_at = DunningStatus.CLOSED, None
        changes = ChangeSet(CALLER, locked.xid)
        await write_dunning(connection, changes, locked.row, dunning, before, "dunning.closed")
        await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
    services.metrics.dunning.labels("closed").inc()
