"""Canceling an RSVP: an unpaid one gives its seats back once its payment is canceled, a paid one is refunded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.base import from_record, new_id
from models.payments import Payment
from models.refunds import Refund, RefundReason
from models.rsvps import Rsvp, RsvpStatus
from services.changes import ChangeSet
from services.errors import DomainError, InvalidState, NotFound
from services.operations import Answers, Intent, PlannedAtReserve, PlannedStep, finish, recorded_error, reserve
from services.payments.actions import CANCEL, CANCEL_KIND, cancel_request, require_cancelable
from services.payments.intents import settle_answer
from services.refunds.creation import CREATE_REFUND, find_refund, plan_refund, settle_created
from services.refunds.disputed import require_undisputed
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

    What was paid and not refunded yet is given back whole; while the guest's bank decides a dispute it cannot be.

    Raises: NotFound, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, CANCEL_RSVP, {"rsvp_id": str(rsvp_id)})

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        return await _plan(services, connection, viewer, operation, rsvp_id)

    reserved = await reserve(services, intent, plan, subject_id=rsvp_id, arguments={"refund_id": str(new_id())})
    operation = (await services.operations.end(services, reserved)).operation
    return CanceledRsvp(
        await Rsvp.get(id=rsvp_id),
        await Refund.get_or_none(id=operation.arguments["refund_id"]),
        recorded_error(operation),
    )


async def _plan(
    services: Services, connection: AnyConnection, viewer: Viewer, operation: Operation, rsvp_id: UUID
) -> list[PlannedStep]:
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
        return [PlannedStep(CANCEL, cancel_request(payment))]
    is_host = viewer.role is not Role.USER or viewer.external_id == activity["host"]
    if not is_host and activity["starts_at"] <= services.clock():
        raise InvalidState("The activity has started: ask its host for a refund.", state=rsvp.status.value)
    await require_undisputed(connection, payment)
    await _give_back(connection, viewer, record["xid"], rsvp)
    if not payment.refundable:
        return []
    reason = RefundReason.ACTIVITY_CANCELED if is_host else RefundReason.REQUESTED_BY_CUSTOMER
    return [await plan_refund(connection, operation, payment, record["xid"], None, reason)]


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


class CancelRsvp(PlannedAtReserve):
    """How canceling an RSVP goes on: one call, planned at reserve, either on the payment intent or a refund."""

    name = CANCEL_RSVP

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle what was called; an RSVP without anything to call about is done at reserve."""
        if answers.get(CREATE_REFUND) is not None:
            await settle_created(services, operation, answers)
        elif answers.get(CANCEL) is not None:
            payment = await Payment.get(rsvp_id=operation.subject_id)
            await settle_answer(services, operation, payment, CANCEL, answers, cut_off_cancels=True)
        else:
            async with services.database.transaction() as connection:
                await finish(connection, [operation.id])

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """What the step did."""
        if step.step == CREATE_REFUND:
            return await find_refund(services, operation)
        return await CANCEL_KIND.find_in(services, await Payment.get(rsvp_id=operation.subject_id), step)
