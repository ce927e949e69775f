"""Paying for an activity: reserve the seats, ask Stripe, settle."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from models.activities import Activity
from models.operations import OperationStep
from models.payments import Payment, PaymentAllocation
from models.users import User
from services.customers import customer_in, ensure_customer, forget_customer, is_customer_gone
from services.errors import InvalidInput
from services.fees import check_quantity
from services.operations import Intent, PlannedStep, Refusal, Reserved
from services.payments.intents import find_intent, settle_answer
from services.payments.reservation import CREATE_INTENT, PaymentReservation, intent_request
from services.payments.result import PaymentResult, result_of
from services.return_urls import allowed_return_url
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from models.money import Money
    from models.operations import Operation
    from services.core import Services
    from services.operations import Answers, Ended
    from services.viewer import Viewer

KIND = "pay_for_activity"


async def pay_for_activity(
    services: Services,
    *,
    viewer: Viewer,
    activity_id: UUID,
    quantity: int,
    payment_method: str,
    expected_amount: Money | None,
    capture_later: bool,
    save_payment_method: bool,
    return_url: str | None,
    idempotency_key: str,
) -> PaymentResult:
    """Hold seats of an activity and charge the guest for them; the same key resumes or replays, never repeats.

    The answer is a payment that succeeded, is authorized or processing, requires the guest's action, or was refused.

    Raises: Forbidden, NotFound, InvalidInput, InvalidState, PriceChanged, SoldOut, HostNotReady, IdempotencyKeyReused,
        OperationInProgress, StripeUnavailable.
    """
    viewer.require(Role.USER)
    check_payment_method(payment_method)
    check_quantity(quantity, path=["input", "quantity"])
    intent = Intent(
        viewer.caller,
        idempotency_key,
        KIND,
        {
            "activity_id": str(activity_id),
            "quantity": quantity,
            "payment_method": payment_method,
            "expected_amount": expected_amount and str(expected_amount),
            "capture_later": capture_later,
            "save_payment_method": save_payment_method,
            "return_url": return_url,
        },
    )
    now = services.clock()
    reserved = await services.reservations.submit(
        PaymentReservation(
            intent=intent,
            payer_external_id=viewer.external_id,
            activity_id=activity_id,
            quantity=quantity,
            payment_method=payment_method,
            expected_amount=expected_amount,
            capture_later=capture_later,
            save_payment_method=save_payment_method,
            return_url=allowed_return_url(services.settings, return_url, field="returnUrl"),
            hold_expires_at=now + timedelta(seconds=services.settings.hold_s),
            leased_until=now + services.operations.lease,
        )
    )
    if reserved.claimed.new:
        services.live.wake()
    planned = [reserved.step] if reserved.step is not None else []
    ended = await services.operations.end(services, Reserved(reserved.claimed, planned), subject=reserved.payment)
    return await result_of(ended, payer=reserved.payer)


def check_payment_method(payment_method: str) -> None:
    """Refuse what cannot be one of Stripe's payment methods, without repeating it: it may be a card number.

    Raises: InvalidInput.
    """
    if not re.fullmatch(r"pm_(?!\d{12,19}$)[A-Za-z0-9_]{1,250}", payment_method):
        raise InvalidInput("paymentMethod", "A payment method is one of Stripe's ids (pm_…), as Stripe.js returns it.")


class PayForActivity:
    """How a payment's operation goes on: a customer if the guest is none yet, then the payment intent."""

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The payment intent, where it was not planned at reserve."""
        if answers.get(CREATE_INTENT) is not None:
            return None
        payment = await Payment.get(id=operation.subject_id)
        payer = await User.get(id=payment.payer_id)
        allocation = await PaymentAllocation.get(payment_id=payment.id)
        activity = await Activity.get(id=payment.activity_id)
        request = intent_request(
            payment,
            operation,
            customer=await ensure_customer(services, payer),
            destination=allocation.stripe_account_id,
            title=activity.title,
        )
        return PlannedStep(CREATE_INTENT, request)

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> Ended | None:
        """Settle what Stripe answered; a refusal that made no payment intent cancels the payment."""
        payment = answers.subject
        if not isinstance(payment, Payment):
            payment = await Payment.get(id=operation.subject_id)
        answer = answers.get(CREATE_INTENT)
        if isinstance(answer, Refusal) and is_customer_gone(answer.error):
            step = await OperationStep.filter(operation_id=operation.id, step=CREATE_INTENT).order_by("attempt").first()
            if step is not None:
                await forget_customer(services, payment.payer_id, customer_in(step))
        return (await settle_answer(services, operation, payment, CREATE_INTENT, answers)).ended

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The payment intent among those of the guest's customer."""
        payment = await Payment.get(id=operation.subject_id)
        return await find_intent(services, payment, operation, customer=customer_in(step))
