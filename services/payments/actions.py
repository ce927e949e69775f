"""What can be done with a payment intent that exists: try another method, capture, cancel. One call each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.money import Money
from models.payments import ChargeModel, Payment, PaymentStatus
from models.rsvps import RsvpStatus
from services.dunning.paying import retry_invoice_payment
from services.errors import Forbidden, InvalidInput, InvalidState, OperationInProgress
from services.fees import fee_for_capture
from services.operations import Intent, PlannedAtReserve, PlannedStep, known_operation, reserve
from services.payment_methods.reading import is_stripe_id, resolve_method
from services.payments.access import lock_for_host, lock_for_payer, require_takes_place
from services.payments.direct import cloned, find_method, next_method_step
from services.payments.intents import amount_in, intent_now, settle_answer
from services.payments.result import PaymentResult, result_of
from services.return_urls import allowed_return_url
from services.stripe_requests import cancel_payment_intent, capture_payment_intent, confirm_payment_intent
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answers, Ended
    from services.stripe_requests import StripeRequest
    from services.viewer import Viewer

RETRY = "retry_payment"
RETRY_OFF_SESSION = "retry_off_session"
CAPTURE = "capture_payment"
CANCEL = "cancel_payment"

_RSVP = f"""
SELECT r.status, EXISTS (
    SELECT FROM operations o WHERE o.subject_id = $2 AND o.kind = '{RETRY_OFF_SESSION}' AND o.status = 'RUNNING'
) AS is_tried
FROM rsvps r WHERE r.id = $1
"""


async def retry_payment(
    services: Services, *, viewer: Viewer, payment_id: UUID, payment_method: str | UUID, return_url: str | None,
    idempotency_key: str,
) -> PaymentResult:  # fmt: skip
    """Confirm the same payment intent with another method, for as long as the seats are held; only its guest may.

    A payment of an invoice is tried for as long as the invoice is open.

    Raises: NotFound, Forbidden, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress,
        StripeUnavailable.
    """
    if await services.database.pool.fetchval("SELECT invoice_id FROM payments WHERE id = $1", payment_id) is not None:
        return await retry_invoice_payment(
            services, viewer=viewer, payment_id=payment_id, payment_method=payment_method, return_url=return_url,
            idempotency_key=idempotency_key,
        )  # fmt: skip
    allowed = allowed_return_url(services.settings, return_url, field="returnUrl")
    intent = Intent(
        viewer.caller, idempotency_key, RETRY,
        {"payment_id": str(payment_id), "payment_method": str(payment_method), "return_url": return_url},
    )  # fmt: skip
    known = None if is_stripe_id(payment_method) else await known_operation(services, intent)
    if known is not None:
        return await result_of(await services.operations.end(services, known))
    method = await resolve_method(services, viewer.external_id, payment_method, path=["input", "paymentMethod"])

    async def plan(connection: AnyConnection) -> tuple[Payment, StripeRequest | None]:
        payment, _ = await lock_for_payer(connection, viewer, payment_id)
        if viewer.role is not Role.USER or not await _is_payer(connection, viewer, payment):
            raise Forbidden("Only the guest may try another way to pay.")
        _require(payment, "This payment cannot be tried again.", holds=payment.status.can_be_retried)
        rsvp = await connection.fetchrow(_RSVP, payment.rsvp_id, payment.id)
        if rsvp is None or rsvp["status"] != RsvpStatus.HELD:
            state = str(rsvp and rsvp["status"])
            raise InvalidState("Your seats are no longer held. Please start again.", state=state)
        if rsvp["is_tried"]:
            raise OperationInProgress(retry_after_seconds=2)
        await require_takes_place(connection, payment)
        if payment.charge_model is ChargeModel.DIRECT:
            _intent_id(payment)
            return payment, None  # the method is cloned to the host's account first
        return payment, confirm_payment_intent(_intent_id(payment), payment_method=method, return_url=allowed)

    arguments = {"payment_method": method, "return_url": allowed}
    return await _act(services, intent, payment_id, plan, RETRY, arguments=arguments)


async def capture_payment(
    services: Services, *, viewer: Viewer, payment_id: UUID, amount: Money | None, idempotency_key: str
) -> PaymentResult:
    """Take an authorized payment, whole or in part; there is one capture, and the fee is that of what is captured.

    Raises: NotFound, Forbidden, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress,
        StripeUnavailable.
    """
    intent = Intent(
        viewer.caller, idempotency_key, CAPTURE,
        {"payment_id": str(payment_id), "amount": amount and str(amount)},
    )  # fmt: skip

    async def plan(connection: AnyConnection) -> tuple[Payment, StripeRequest]:
        payment, _ = await lock_for_host(connection, viewer, payment_id)
        authorized = payment.status is PaymentStatus.AUTHORIZED
        _require(payment, "Only an authorized payment can be captured.", holds=authorized)
        await require_takes_place(connection, payment)
        captured = amount_in(payment, amount) or payment.amount
        if captured > payment.amount:
            raise InvalidInput("amount", f"No more than {payment.amount} was authorized.")
        # The platform keeps its part of a separate charge by itself.
        separate = payment.charge_model is ChargeModel.SEPARATE
        fee = Money.zero(payment.currency) if separate else fee_for_capture(payment, captured)
        return payment, capture_payment_intent(
            _intent_id(payment), amount_to_capture=captured.wire, application_fee_amount=fee.wire,
            stripe_account=payment.stripe_account,
        )  # fmt: skip

    return await _act(services, intent, payment_id, plan, CAPTURE)


async def cancel_payment(
    services: Services, *, viewer: Viewer, payment_id: UUID, idempotency_key: str, expired: bool = False
) -> PaymentResult:
    """Cancel a payment that has taken no money yet; its seats are given back once Stripe says that it is canceled.

    Raises: NotFound, InvalidState (one that is captured is refunded instead), IdempotencyKeyReused,
        OperationInProgress, StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, CANCEL, {"payment_id": str(payment_id)})

    async def plan(connection: AnyConnection) -> tuple[Payment, StripeRequest]:
        payment, _ = await lock_for_payer(connection, viewer, payment_id)
        require_cancelable(payment)
        return payment, cancel_request(payment, expired=expired)

    return await _act(services, intent, payment_id, plan, CANCEL)


def require_cancelable(payment: Payment) -> None:
    """Refuse to cancel what has taken money, is canceled, or is with the bank, and what Stripe collects by itself.

    Raises: InvalidState.
    """
    _require(payment, "This payment has been made: it can be refunded.", holds=not payment.status.is_captured)
    collected = payment.charge_model is ChargeModel.PLATFORM
    _require(payment, "This pays for a subscription. Cancel the subscription instead.", holds=not collected)
    _require(payment, "This payment cannot be canceled.", holds=payment.status.can_be_canceled)


def cancel_request(payment: Payment, *, expired: bool = False) -> StripeRequest:
    """The call that cancels a payment's intent ("Cancel a PaymentIntent").

    Raises: OperationInProgress while the intent is still being made.
    """
    return cancel_payment_intent(
        _intent_id(payment), reason="abandoned" if expired else "requested_by_customer",
        stripe_account=payment.stripe_account,
    )  # fmt: skip


async def _act(
    services: Services,
    intent: Intent,
    payment_id: UUID,
    plan: Callable[[AnyConnection], Awaitable[tuple[Payment, StripeRequest | None]]],
    step_name: str,
    *,
    arguments: Mapping[str, Any] | None = None,
) -> PaymentResult:
    """Reserve one call on a payment's intent, make it and settle it; where `plan` has none, its kind plans it."""
    planned: Payment | None = None

    async def first(connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
        nonlocal planned
        planned, request = await plan(connection)
        return [] if request is None else [PlannedStep(step_name, request)]

    reserved = await reserve(services, intent, first, subject_id=payment_id, arguments=arguments)
    return await result_of(await services.operations.end(services, reserved, subject=planned))


async def _is_payer(connection: AnyConnection, viewer: Viewer, payment: Payment) -> bool:
    external_id = await connection.fetchval("SELECT external_id FROM users WHERE id = $1", payment.payer_id)
    return bool(external_id == viewer.external_id)


def _require(payment: Payment, otherwise: str, *, holds: bool) -> None:
    if not holds:
        raise InvalidState(otherwise, state=payment.status.value)


def _intent_id(payment: Payment) -> str:
    """The payment's intent; while the call that makes it is under way there is nothing to act on yet."""
    if payment.stripe_payment_intent_id is None:
        raise OperationInProgress(retry_after_seconds=2)
    return payment.stripe_payment_intent_id


@dataclass(frozen=True, slots=True)
class IntentAction(PlannedAtReserve):
    """How an operation of one call on an existing payment intent goes on; the call was planned at reserve."""

    name: str
    has_happened: Callable[[Payment, dict[str, Any]], bool]
    """Whether the intent's state shows that the call took effect."""

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> Ended | None:
        """Settle what the intent has become."""
        payment = answers.subject  # as it was before Stripe was asked
        if not isinstance(payment, Payment):
            payment = await Payment.get(id=operation.subject_id)
        settled = await settle_answer(
            services, operation, payment, self.name, answers, cut_off_cancels=self.name == CANCEL
        )
        return settled.ended

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The intent itself, where its state shows the call's effect."""
        return await self.find_in(services, await Payment.get(id=operation.subject_id), step)

    async def find_in(self, services: Services, payment: Payment, step: OperationStep) -> dict[str, Any] | None:
        """As `find`, for whatever operation made the call on this payment."""
        intent = await intent_now(services, payment, step)
        return intent if self.has_happened(payment, intent) else None


def _charge_id(intent: dict[str, Any]) -> str | None:
    charge = intent.get("latest_charge")
    return charge["id"] if isinstance(charge, dict) else charge


class RetryAction(IntentAction):
    """A retry; that of a direct charge goes by a method of the host's account, cloned for it."""

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """What was not planned at reserve: the clone, and the confirmation with it."""
        if RETRY in answers.by_step:
            return None
        payment = await Payment.get(id=operation.subject_id)
        method = operation.arguments["payment_method"]
        return await self.confirmation(services, payment, operation, answers, method=method)

    async def confirmation(
        self, services: Services, payment: Payment, operation: Operation, answers: Answers, *, method: str,
        off_session: bool = False,
    ) -> PlannedStep:  # fmt: skip
        """The confirmation with one of the platform's methods, or the clone of it that a direct charge needs first."""
        if payment.charge_model is ChargeModel.DIRECT:
            step = await next_method_step(services, payment, method, answers)
            if step is not None:
                return step
            method = cloned(answers)
        request = confirm_payment_intent(
            _intent_id(payment), payment_method=method, return_url=operation.arguments["return_url"],
            stripe_account=payment.stripe_account, off_session=off_session,
        )  # fmt: skip
        return PlannedStep(RETRY, request)

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The method, or the intent where its state shows the call's effect."""
        if step.step != RETRY:
            return await find_method(services, operation, step)
        return await IntentAction.find(self, services, operation, step)


RETRY_KIND = RetryAction(
    RETRY,
    lambda payment, intent: (
        intent["status"] != "requires_payment_method" or _charge_id(intent) != payment.stripe_charge_id
    ),
)


def _is_final(_payment: Payment, intent: dict[str, Any]) -> bool:
    return intent["status"] in {"succeeded", "canceled"}


CAPTURE_KIND = IntentAction(CAPTURE, _is_final)
CANCEL_KIND = IntentAction(CANCEL, _is_final)
