"""Refunds: giving captured money back, in whole or in parts, whoever asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from models.base import new_id
from models.payments import ChargeModel, Payment
from models.refunds import Refund, RefundOrigin, RefundReason, RefundStatus
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.errors import DomainError, InvalidState, RefundExceedsBalance
from services.fees import refund_parts
from services.lookups import find_made
from services.operations import Answers, Intent, PlannedAtReserve, PlannedStep, Refusal, reserve
from services.payments.access import lock_for_host
from services.payments.history import record_change, snapshot
from services.payments.intents import amount_in
from services.refunds.disputed import lost_of, require_undisputed
from services.refunds.facts import RefundFacts
from services.refunds.settlement import settle_refund
from services.refunds.taking_back import is_planned_apart
from services.stripe_requests import create_refund, list_refunds

if TYPE_CHECKING:
    from models.money import Money
    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.stripe_requests import StripeRequest
    from services.viewer import Viewer

REFUND = "refund_payment"
CREATE_REFUND = "create_refund"

# Stripe knows three reasons; ours beyond them go into the metadata ("Create a refund", reason).
_STRIPE_REASONS = {
    RefundReason.REQUESTED_BY_CUSTOMER: "requested_by_customer",
    RefundReason.DUPLICATE: "duplicate",
    RefundReason.FRAUDULENT: "fraudulent",
    RefundReason.ACTIVITY_CANCELED: "requested_by_customer",
}


async def refund_payment(
    services: Services, *, viewer: Viewer, payment_id: UUID, amount: Money | None, reason: RefundReason | None,
    idempotency_key: str,
) -> Refund:  # fmt: skip
    """Give captured money back to the guest, all that is left where no amount is given.

    The host gives back its part and the platform its fee, in proportion; the same key resumes or replays and never
    repeats.

    Raises: NotFound, Forbidden, InvalidInput, InvalidState, RefundExceedsBalance, IdempotencyKeyReused,
        OperationInProgress, StripeUnavailable.
    """
    intent = Intent(
        viewer.caller, idempotency_key, REFUND,
        {"payment_id": str(payment_id), "amount": amount and str(amount), "reason": reason},
    )  # fmt: skip

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        payment, xid = await lock_for_host(connection, viewer, payment_id)
        return [await plan_refund(connection, operation, payment, xid, amount, reason)]

    refund_id = new_id()
    reserved = await reserve(services, intent, plan, subject_id=refund_id, arguments={"refund_id": str(refund_id)})
    operation = await services.operations.answer(services, reserved)
    return await Refund.get(id=operation.subject_id)


async def plan_refund(
    connection: AnyConnection,
    operation: Operation,
    payment: Payment,
    xid: int,
    amount: Money | None,
    reason: RefundReason | None,
) -> PlannedStep:
    """Set an amount of a locked payment aside for a refund, and plan the call that makes it.

    Raises: InvalidInput, InvalidState, RefundExceedsBalance.
    """
    if not payment.status.is_captured:
        raise InvalidState("Only a payment that has been made can be refunded.", state=payment.status.value)
    await require_undisputed(connection, payment)
    wanted = amount_in(payment, amount) or payment.refundable
    if not wanted or wanted > payment.refundable:
        raise RefundExceedsBalance(refundable=payment.refundable)
    fee, host = refund_parts(payment, wanted, await lost_of(connection, payment))
    refund = Refund(
        id=UUID(operation.arguments["refund_id"]), payment_id=payment.id, amount_minor=wanted.minor,
        currency=wanted.currency, fee_minor=fee.minor, host_minor=host.minor, status=RefundStatus.PENDING,
        reason=reason, origin=RefundOrigin.PAYDESK, requested_by=operation.caller,
    )  # fmt: skip
    before = snapshot(payment)
    payment.refund_pending_minor += wanted.minor
    payment.fee_refunded_minor += fee.minor
    changes = ChangeSet(operation.caller, xid)
    record_change(changes, payment, "refund.requested", before)
    request = _request(refund, payment, operation, take_back=await _takes_back(connection, payment, refund))
    await insert_rows(connection, Refund, [refund])
    await update_rows(
        connection, Payment, [payment], ("refund_pending_minor", "fee_refunded_minor", "version", "position")
    )
    await changes.write(connection)
    return PlannedStep(CREATE_REFUND, request)


async def _takes_back(connection: AnyConnection, payment: Payment, refund: Refund) -> bool:
    """Whether Stripe is to take the host's part, and give the fee back, with the refund."""
    if payment.charge_model is ChargeModel.DIRECT:
        return not await _has_fee_back(connection, refund)
    if payment.charge_model is ChargeModel.PLATFORM or await is_planned_apart(connection, payment):
        return False
    return not await _is_held(connection, refund)


async def _has_fee_back(connection: AnyConnection, refund: Refund) -> bool:
    """Whether the host of a direct charge has the fee already: an earlier refund gave it back, and failed."""
    owed = await connection.fetchval(
        "SELECT owed_minor FROM payment_allocations WHERE payment_id = $1", refund.payment_id
    )
    return owed is not None and 0 < refund.fee_minor <= -owed


async def _is_held(connection: AnyConnection, refund: Refund) -> bool:
    """Whether the platform holds the host's part already: an earlier refund took it back, and failed.

    Stripe would refuse to reverse the transfer again. What refunds under way may need of it is not counted.
    """
    held = await connection.fetchval(
        """
        SELECT a.owed_minor - coalesce((
            SELECT sum(host_minor) FROM refunds r
            WHERE r.payment_id = a.payment_id AND r.status = 'PENDING' AND r.stripe_refund_id IS NULL
        ), 0)::bigint FROM payment_allocations a WHERE a.payment_id = $1
        """,
        refund.payment_id,
    )
    # Rounding may have given an earlier refund one unit less.
    return held is not None and held > 0 and held + 1 >= refund.host_minor


def _request(refund: Refund, payment: Payment, operation: Operation, *, take_back: bool) -> StripeRequest:
    return create_refund(
        payment_intent=payment.stripe_payment_intent_id or "",
        amount=refund.amount.wire,
        reason=_STRIPE_REASONS[refund.reason] if refund.reason else None,
        reverse_transfer=take_back and not payment.stripe_account,
        refund_application_fee=take_back and payment.platform_fee_minor > 0,
        metadata={
            "refund_id": str(refund.id),
            "operation_id": str(operation.id),
            "payment_id": str(payment.id),
            **({"reason": refund.reason.value} if refund.reason else {}),
        },
        stripe_account=payment.stripe_account,
    )


class RefundPayment(PlannedAtReserve):
    """How a refund's operation goes on: one call, planned at reserve."""

    name = REFUND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Apply what Stripe made of it; a refusal gives the amount back to the payment."""
        await settle_created(services, operation, answers)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The refund among those of the payment intent."""
        return await find_refund(services, operation)


async def find_refund(services: Services, operation: Operation) -> dict[str, Any] | None:
    """The refund that an operation made, among those of the payment intent, which are listed strongly consistent."""
    refund = await Refund.get(id=operation.arguments["refund_id"]).prefetch_related("payment")
    intent_id = refund.payment.stripe_payment_intent_id
    if intent_id is None:
        raise LookupError("a refund of a payment without an intent cannot be looked up")
    request = list_refunds(payment_intent=intent_id, stripe_account=refund.payment.stripe_account)
    return await find_made(
        services, request, is_it=lambda found: found["amount"] == refund.amount.wire, refund_id=str(refund.id)
    )


async def settle_created(services: Services, operation: Operation, answers: Answers) -> None:
    """Settle the step that makes a refund, and end the operation."""
    answer = answers.get(CREATE_REFUND)
    refund = await Refund.get(id=operation.arguments["refund_id"])
    error: DomainError | None = None
    facts: RefundFacts | None = None
    if isinstance(answer, Refusal):
        code = getattr(answer.error, "code", None) or "refused"
        error = InvalidState("Stripe refused the refund. Nothing was given back.", state=str(code).upper())
    elif answer is not None:
        facts = RefundFacts.parse(answer.body)
    await settle_refund(
        services, refund.payment_id, refund.id, facts, actor=operation.caller, operation=operation, answers=answers,
        error=error,
    )  # fmt: skip
