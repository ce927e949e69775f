"""Giving everybody of a canceled activity their money back, some at a time, whichever process does it.

Each item's operation has a key made of the item and its attempt, so that a process that takes over finds what was
begun and begins nothing twice. An attempt ends with its operation; only then the next one has another key.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from models.activity_cancellations import CancellationOutcome
from models.refunds import RefundReason
from services.activity_cancellation.deciding import DISPUTED, PARKED, Act, Standing, key_of, standing_of
from services.activity_cancellation.progress import note_progress
from services.circuit_breaker import BreakerState
from services.database import DATABASE_ERRORS
from services.errors import DomainError, OperationInProgress, StripeUnavailable
from services.exclusive import exclusively
from services.payments.actions import cancel_payment
from services.refunds.creation import refund_payment
from services.rsvps import cancel_rsvp
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from services.core import Services

log = structlog.get_logger("activity_cancellation")

SYSTEM: Final = Viewer(role=Role.SERVICE, external_id="system:cancellations")

_RUN_S: Final = 5.0
"""After which a run ends, so that a process that is to stop need not break off what is in flight; the next goes on."""
_PAGE_OF_EACH: Final = 4
"""Items that are taken at once for each that is dealt with at the same time; progress is told after so many."""
_ATTEMPTS: Final = 20
"""Attempts at a payment that keeps changing."""
_SOONEST_S: Final = 1.0
_LATEST_S: Final = 60.0
_OURS: Final = "Something went wrong here, and the log has it. Nothing is paid back twice: try again."

_IS_WORK: Final = "SELECT EXISTS (SELECT FROM activity_cancellations WHERE status = 'RUNNING')"
# One that only waits for banks has nothing to be counted; one whose last item is done may not have been told so.
_TO_COUNT: Final = """
SELECT c.id FROM activity_cancellations c WHERE c.status = 'RUNNING' AND (c.id = ANY($1) OR NOT EXISTS (
    SELECT FROM activity_cancellation_items i WHERE i.cancellation_id = c.id AND i.outcome = 'PENDING'
)) ORDER BY c.id
"""
# Some of each cancellation: a small one need not wait for a large one.
_DUE: Final = """
SELECT i.id, c.id AS cancellation_id FROM activity_cancellations c CROSS JOIN LATERAL (
    SELECT id FROM activity_cancellation_items
    WHERE cancellation_id = c.id AND outcome = 'PENDING' AND (next_attempt_at IS NULL OR next_attempt_at <= $1)
    ORDER BY id LIMIT $2
) i WHERE c.status = 'RUNNING' ORDER BY row_number() OVER (PARTITION BY c.id ORDER BY i.id), i.id LIMIT $2
"""
_END: Final = """
UPDATE activity_cancellation_items SET outcome = $2, refund_id = coalesce($3, refund_id), error = $4, attempts = $5,
    next_attempt_at = NULL, updated_at = now()
WHERE id = $1 AND outcome = 'PENDING'
"""
_POSTPONE: Final = """
UPDATE activity_cancellation_items SET next_attempt_at = $2, attempts = $3, updated_at = now()
WHERE id = $1 AND outcome = 'PENDING'
"""


async def refund_canceled(services: Services, *, run_s: float = _RUN_S) -> int:
    """Go on with all cancellations that are under way, for so long; one process does it for all.

    Returns: how many items were looked at.
    """
    if not await services.database.pool.fetchval(_IS_WORK):
        return 0
    async with exclusively(services.database, "paydesk:cancel_activities") as mine:
        return await _go_on(services, time.monotonic() + run_s) if mine else 0


async def _go_on(services: Services, until: float) -> int:
    # Who pays now goes first, whatever the use cases ask for.
    background = replace(services, stripe=services.stripe.in_background())
    page = services.settings.cancellation_at_once * _PAGE_OF_EACH
    seen = 0
    while True:
        due = await services.database.pool.fetch(_DUE, services.clock(), page)
        await _deal_with(background, [record["id"] for record in due])
        dealt_with = list({record["cancellation_id"] for record in due})
        for record in await services.database.pool.fetch(_TO_COUNT, dealt_with):
            await note_progress(services, record["id"], actor=SYSTEM.caller)
        seen += len(due)
        if not due or time.monotonic() >= until or services.stripe.breaker.state is not BreakerState.CLOSED:
            return seen


async def _deal_with(services: Services, items: Sequence[UUID]) -> None:
    room = asyncio.Semaphore(services.settings.cancellation_at_once)

    async def deal(item_id: UUID) -> None:
        async with room:
            # While Stripe is away every refund would only be begun, and left to the recovery.
            if services.stripe.breaker.state is BreakerState.CLOSED:
                await _deal_with_one(services, item_id)

    async with asyncio.TaskGroup() as group:
        for item_id in items:
            group.create_task(deal(item_id), name="cancellation-item")


async def _deal_with_one(services: Services, item_id: UUID) -> None:
    standing = await standing_of(services.database.pool, SYSTEM, item_id)
    if standing is None:
        return
    error: DomainError | None = None
    act = standing.next_act
    if standing.operation is None and act in {Act.CANCEL_PAYMENT, Act.CANCEL_RSVP, Act.REFUND}:
        try:
            await _do(services, standing, act)
        except (OperationInProgress, StripeUnavailable) as busy:
            # Where it was begun, its recovery ends it, and the next look finds it.
            log.info("cancellation.still_busy", payment=str(standing.payment.id), error=busy.code)
            await _postpone(services, standing)
            return
        except DomainError as refused:
            error = refused
        except DATABASE_ERRORS:
            raise
        except Exception:
            # A bug with one payment must not keep the others from their money.
            log.exception("cancellation.failed", payment=str(standing.payment.id))
            await _end(services, standing, CancellationOutcome.FAILED, error=_OURS)
            return
        after = await standing_of(services.database.pool, SYSTEM, item_id)
        if after is None:
            return
        standing = after
    await _conclude(services, standing, act, error)


async def _do(services: Services, standing: Standing, act: Act) -> None:
    """Do it, under the key of the item's attempt.

    Raises: DomainError.
    """
    key, payment = key_of(standing.item), standing.payment
    if act is Act.CANCEL_PAYMENT:
        await cancel_payment(services, viewer=SYSTEM, payment_id=payment.id, idempotency_key=key)
    elif act is Act.CANCEL_RSVP and payment.rsvp_id is not None:
        await cancel_rsvp(services, viewer=SYSTEM, rsvp_id=payment.rsvp_id, idempotency_key=key)
    else:
        await refund_payment(
            services, viewer=SYSTEM, payment_id=payment.id, amount=None, reason=RefundReason.ACTIVITY_CANCELED,
            idempotency_key=key,
        )  # fmt: skip


async def _conclude(services: Services, standing: Standing, did: Act, refused: DomainError | None) -> None:
    """Note what became of an item, by where it stands: what others did meanwhile counts as well.

    Args:
        did: what was tried just now, if anything was.
        refused: why it was refused before it began, which leaves no operation.
    """
    if standing.is_running:
        await _postpone(services, standing)
        return
    if standing.is_parked:
        await _end(services, standing, CancellationOutcome.FAILED, error=PARKED)
        return
    act = standing.next_act
    if standing.was_given_back and not act.gives_back:
        await _end(services, standing, CancellationOutcome.REFUNDED)
    elif act is Act.NOTHING:
        captured = standing.payment.status.is_captured
        await _end(
            services, standing, CancellationOutcome.NOTHING_TO_REFUND if captured else CancellationOutcome.CANCELED
        )
    elif act is Act.BLOCKED:
        await _end(services, standing, CancellationOutcome.FAILED, error=DISPUTED)
    elif act in {Act.WAIT, Act.LATER}:
        await _postpone(services, standing, at_once=standing.operation is not None)
    elif refused is not None and act is did:
        await _end(services, standing, CancellationOutcome.FAILED, error=str(refused))
    elif standing.tried(act) or standing.item.attempts >= _ATTEMPTS:
        await _end(services, standing, CancellationOutcome.FAILED, error=standing.why_not)
    else:  # it has moved on: something else is to be done now
        await _postpone(services, standing, at_once=True)


async def _end(
    services: Services, standing: Standing, outcome: CancellationOutcome, *, error: str | None = None
) -> None:
    if error is not None:
        log.warning("cancellation.not_refunded", payment=str(standing.payment.id), error=error)
    # An item without a refund is looked at again when its payment changes, as when an operator has ended it.
    refund_id = None if standing.refund is None or standing.is_parked else standing.refund.id
    await services.database.pool.execute(
        _END, standing.item.id, outcome.value, refund_id, error, _attempts_after(standing)
    )


async def _postpone(services: Services, standing: Standing, *, at_once: bool = False) -> None:
    """Look at it again: at once, or ever later the older it is."""
    now: datetime = services.clock()
    age = (now - standing.item.created_at).total_seconds()
    delay = timedelta(seconds=0 if at_once else max(_SOONEST_S, min(age / 10, _LATEST_S)))
    await services.database.pool.execute(_POSTPONE, standing.item.id, now + delay, _attempts_after(standing))


def _attempts_after(standing: Standing) -> int:
    """The number of the item's next attempt: another key only where the operation under the present one has ended."""
    ended: Any = standing.operation is not None and not (standing.is_running or standing.is_parked)
    return standing.item.attempts + bool(ended)
