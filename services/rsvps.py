"""Canceling an RSVP: an unpaid one gives its seats back once its payment is canceled, a paid one is refunded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.payments import Payment
from models.refunds import Refund, RefundReason
from models.rsvps import Rsvp, RsvpStatus
from models.sets import insert_rows
from services.changes import ChangeSet
from services.errors import DomainError, InvalidState, NotFound
from services.operations import Answers, Intent, PlannedStep, claim, finish, new_step, recorded_error
from services.payments.actions import CANCEL, cancel_request, require_cancelable
from services.payments.intents import intent_now, settle_answer
from services.refunds.creation import CREATE_REFUND, find_refund, reserve_refund, settle_created
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

CANCEL_RSVP = "cancel_rsvp"

_LOCK_ACTIVITY = """
SELECT a.id, a.starts_at, guest.external_id AS guest, host.external_id AS host
FROM rsvps r JOIN activities a ON a.id = r.activity_id JOIN users guest ON guest.id = r.user_id
JOIN users host ON host.id = a.host_id WHERE r.id = $1 FOR NO KEY UPDATE OF a
"""
_LOCK_PAYMENT = """
SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE p.rsvp_id = $1 FOR NO KEY UPDATE
"""


@dataclass(frozen=True, slots=True)
class CanceledRsvp:
    """The RSVP as it is now, the refund where it was paid, and why it could not be canceled."""

    rsvp: Rsvp
    refund: Refund | None
    error: DomainError | None


async def cancel_rsvp(services: Services, *, viewer: Viewer, rsvp_id: UUID, idempotency_key: str) -> CanceledRsvp:
    """Give up the seats: guests until the activity starts, its host, service and admin at any time.

    What was paid and not refunded yet is given back whole.

    Raises: NotFound, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, CANCEL_RSVP, {"rsvp_id": str(rsvp_id)})
    steps: list[OperationStep] = []
    async with services.database.transaction() as connection:
        claimed = await claim(
            connection, intent, subject_id=rsvp_id, leased_until=services.clock() + services.operations.lease,
            arguments={"refund_id": str(new_id())},
        )  # fmt: skip
        if claimed.new:
            steps = await _reserve(services, connection, viewer, claimed.operation, rsvp_id)
    if claimed.new:
        services.live.wake()
    operation = (await services.operations.end(services, claimed, planned=steps)).operation
    return CanceledRsvp(
        await Rsvp.get(id=rsvp_id),
        await Refund.get_or_none(id=operation.arguments["refund_id"]),
        recorded_error(operation),
    )


async def _reserve(
    services: Services, connection: AnyConnection, viewer: Viewer, operation: Operation, rsvp_id: UUID
) -> list[OperationStep]:
    """Lock in order (activity, payment) and plan what Stripe has to do: cancel the payment intent, or refund."""
    activity: Any = await connection.fetchrow(_LOCK_ACTIVITY, rsvp_id)
    if activity is None or (
        viewer.role is Role.USER and viewer.external_id not in {activity["guest"], activity["host"]}
    ):
        raise NotFound("There is no such RSVP.", path=["input", "rsvpId"])
    record: Any = await connection.fetchrow(_LOCK_PAYMENT, rsvp_id)
    row: Any = await connection.fetchrow("SELECT * FROM rsvps WHERE id = $1", rsvp_id)
    rsvp = from_record(Rsvp, row)
    if not rsvp.status.takes_seats:
        raise InvalidState("This RSVP is canceled already.", state=rsvp.status.value)
    payment = from_record(Payment, record)
    if not payment.status.is_captured:
        require_cancelable(payment)
        step = new_step(operation.id, PlannedStep(CANCEL, cancel_request(payment)))
        await insert_rows(connection, type(step), [step])
        return [step]
    is_host = viewer.role is not Role.USER or viewer.external_id == activity["host"]
    if not is_host and activity["starts_at"] <= services.clock():
        raise InvalidState("The activity has started: ask its host for a refund.", state=rsvp.status.value)
    await _give_back(connection, viewer, record["xid"], rsvp)
    if not payment.refundable:
        return []
    reason = RefundReason.ACTIVITY_CANCELED if is_host else RefundReason.REQUESTED_BY_CUSTOMER
    step = await reserve_refund(connection, operation, payment, record["xid"], None, reason)
    return [step]


async def _give_back(connection: AnyConnection, viewer: Viewer, xid: int, rsvp: Rsvp) -> None:
    """Release the seats of a paid RSVP; its payment is refunded on its own."""
    await connection.execute(
        "UPDATE activities SET seats_taken = seats_taken - $2, updated_at = now() WHERE id = $1",
        rsvp.activity_id, rsvp.quantity,
    )  # fmt: skip
    await connection.execute(
        "UPDATE rsvps SET status = 'CANCELED', hold_expires_at = NULL, updated_at = now() WHERE id = $1", rsvp.id
    )
    changes = ChangeSet(viewer.caller, xid)
    changes.audit(
        "rsvp.canceled", "RSVP", rsvp.id,
        before={"status": rsvp.status.value}, after={"status": RsvpStatus.CANCELED.value},
    )  # fmt: skip
    await changes.write(connection)


class CancelRsvp:
    """How canceling an RSVP goes on: one call, planned at reserve, either on the payment intent or a refund."""

    name = CANCEL_RSVP

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """There is at most the one."""
        return None

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what was called; an RSVP without anything to call about is done at reserve."""
        if answers.get(CREATE_REFUND) is not None:
            await settle_created(services, operation, answers)
        elif answers.get(CANCEL) is not None:
            payment = await Payment.get(rsvp_id=operation.subject_id)
            await settle_answer(services, operation, payment, CANCEL, answers)
        else:
            async with services.database.transaction() as connection:
                await finish(connection, [operation.id])

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """What the step did."""
        if step.step == CREATE_REFUND:
            return await find_refund(services, operation)
        payment = await Payment.get(rsvp_id=operation.subject_id)
        intent = await intent_now(services, payment, step)
        return intent if intent["status"] in {"succeeded", "canceled"} else None
