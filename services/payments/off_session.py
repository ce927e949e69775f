"""Payments of guests who are away: what was declined is tried again by a schedule, while the seats are held."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from models.base import from_record
from models.operations import Operation
from models.payments import Payment, PaymentStatus
from models.sets import update_rows
from services.changes import ChangeSet
from services.errors import DomainError, InvalidState, OperationInProgress, StripeUnavailable
from services.operations import Intent, PlannedStep, Reserved, keep_arguments, reserve
from services.payments.actions import RETRY, RETRY_KIND, RETRY_OFF_SESSION, RetryAction
from services.payments.history import record_change, snapshot
from services.payments.intents import settle_answer
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answers, Ended

log = structlog.get_logger("payments.off_session")

CALLER: Final = "system:retries"
_AT_ONCE: Final = 8
"""Payments that are tried at the same time: guests at Stripe's door come first."""

_DUE: Final = """
SELECT p.id, p.retries FROM payments p JOIN rsvps r ON r.id = p.rsvp_id
JOIN activities a ON a.id = p.activity_id AND a.canceled_at IS NULL
WHERE p.next_attempt_at <= $1 AND p.status = 'FAILED' AND r.status = 'HELD' AND r.hold_expires_at > $1
    AND NOT EXISTS (SELECT FROM operations o WHERE o.subject_id = p.id AND o.status IN ('RUNNING', 'PARKED'))
ORDER BY p.next_attempt_at LIMIT $2
"""
_LOCK: Final = """
SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE p.id = $1 FOR NO KEY UPDATE
"""
_MAY_TRY: Final = """
SELECT r.status = 'HELD' AND r.hold_expires_at > $2 AND NOT EXISTS (
    SELECT FROM operations o WHERE o.subject_id = $3 AND o.id <> $4 AND o.status IN ('RUNNING', 'PARKED')
) FROM rsvps r WHERE r.id = $1
"""
_FIRST: Final = "SELECT * FROM operations WHERE subject_id = $1 AND kind = 'pay_for_activity'"
# What the guest was to be charged with, or what they prefer where that was removed since.
_METHOD: Final = """
SELECT stripe_payment_method_id FROM payment_methods
WHERE user_id = $1 AND detached_at IS NULL AND (stripe_payment_method_id = $2 OR is_default)
ORDER BY stripe_payment_method_id = $2 DESC LIMIT 1
"""


def next_attempt(services: Services, retries: int) -> datetime | None:
    """When to try again after so many tries by ourselves; None where that was the last."""
    hours = services.settings.off_session_retry_hours
    return services.clock() + timedelta(hours=hours[retries]) if retries < len(hours) else None


async def retry_due_payments(services: Services, *, limit: int = 100) -> int:
    """Try the payments that are due.

    One with an operation under way is passed over: how that ends decides.

    Returns: how many were due.
    """
    due = await services.database.pool.fetch(_DUE, services.clock(), limit)
    room = asyncio.Semaphore(_AT_ONCE)

    async def retry(payment_id: UUID, retries: int) -> None:
        async with room:
            await _retry(services, payment_id, retries)

    await asyncio.gather(*(retry(record["id"], record["retries"]) for record in due))
    return len(due)


async def _retry(services: Services, payment_id: UUID, retries: int) -> None:
    try:
        reserved = await _reserve(services, payment_id, retries)
        if reserved.claimed.new:
            operation = reserved.claimed.operation
            await services.operations.complete(services, operation, priority=Priority.BACKGROUND)
    except (OperationInProgress, StripeUnavailable) as error:
        log.info("off_session.goes_on_later", payment=str(payment_id), error=error.code)
    except DomainError as error:
        log.info("off_session.not_tried", payment=str(payment_id), error=error.code)
    except Exception:
        # A bug with one payment must not keep the others from being tried.
        log.exception("off_session.failed", payment=str(payment_id))


async def _reserve(services: Services, payment_id: UUID, retries: int) -> Reserved:
    """Claim one try of a payment, where it is still due and nobody else is at it; each try is one operation."""
    intent = Intent(
        CALLER, f"{payment_id}:{retries + 1}", RETRY_OFF_SESSION, {"payment_id": str(payment_id), "retries": retries}
    )

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        record = await connection.fetchrow(_LOCK, payment_id)
        assert record is not None
        payment = from_record(Payment, record)
        now = services.clock()
        is_due = payment.next_attempt_at is not None and payment.next_attempt_at <= now
        may_try = await connection.fetchval(_MAY_TRY, payment.rsvp_id, now, payment.id, operation.id)
        if payment.status is not PaymentStatus.FAILED or payment.retries != retries or not is_due or not may_try:
            raise InvalidState("This payment is not tried any more.", state="MOVED_ON")
        before = snapshot(payment)
        payment.retries += 1
        payment.next_attempt_at = None
        changes = ChangeSet(CALLER, record["xid"])
        record_change(changes, payment, "payment.retried", before)
        await update_rows(connection, Payment, [payment], ("retries", "next_attempt_at", "version", "position"))
        await changes.write(connection)
        record = await connection.fetchrow(_FIRST, payment.id)
        assert record is not None
        given = from_record(Operation, record).arguments
        await keep_arguments(
            connection, operation,
            {
                "payment_method": given["payment_method"], "return_url": given["return_url"],
                "retries": payment.retries,
            },
        )  # fmt: skip
        return []

    return await reserve(services, intent, plan, subject_id=payment_id)


class OffSessionRetry(RetryAction):
    """A try by ourselves: with what is saved, and without the guest."""

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The confirmation; that of a direct charge goes by a clone.

        Raises: InvalidState where the guest has nothing saved any more.
        """
        if RETRY in answers.by_step:
            return None
        payment = await Payment.get(id=operation.subject_id)
        wanted = operation.arguments["payment_method"]
        if answers.by_step:  # cloned with what was there then
            method = wanted
        else:
            method = await services.database.pool.fetchval(_METHOD, payment.payer_id, wanted)
        if method is None:
            raise InvalidState("There is nothing saved to pay with.", state="NO_METHOD")
        return await self.confirmation(services, payment, operation, answers, method=method, off_session=True)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> Ended | None:
        """Settle what the intent has become, and say when the next try is due."""
        payment = await Payment.get(id=operation.subject_id)
        at = next_attempt(services, operation.arguments["retries"])
        return (await settle_answer(services, operation, payment, RETRY, answers, next_attempt_at=at)).ended


OFF_SESSION_RETRY_KIND = OffSessionRetry(RETRY_OFF_SESSION, RETRY_KIND.has_happened)
