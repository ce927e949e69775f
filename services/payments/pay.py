"""Paying for an activity: reserve the seats, ask Stripe, settle."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from models.activities import Activity
from models.operations import OperationStep
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.users import User
from services.customers import customer_in, ensure_customer, forget_customer, is_customer_gone
from services.errors import InvalidInput, NotFound
from services.fees import check_quantity
from services.operations import Intent, PlannedStep, Refusal, Reserved, known_operation
from services.payment_methods.reading import is_stripe_id, saved_method
from services.payments.charging import check_splits
from services.payments.direct import cloned, find_method, keep_attached, next_method_step
from services.payments.intents import find_intent, settle_answer
from services.payments.off_session import next_attempt
from services.payments.reservation import CREATE_INTENT, PaymentReservation, intent_request
from services.payments.result import PaymentResult, result_of
from services.return_urls import allowed_return_url
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.money import Money
    from models.operations import Operation
    from services.core import Services
    from services.operations import Answers, Ended
    from services.payments.charging import Split
    from services.viewer import Viewer

KIND = "pay_for_activity"


async def pay_for_activity(
    services: Services,
    *,
    viewer: Viewer,
    activity_id: UUID,
    quantity: int,
    payment_method: str | UUID,
    expected_amount: Money | None,
    capture_later: bool,
    save_payment_method: bool,
    return_url: str | None,
    idempotency_key: str,
    payer_external_id: str | None = None,
    off_session: bool = False,
    splits: Sequence[Split] | None = None,
) -> PaymentResult:
    """Hold seats of an activity and charge the guest for them; the same key resumes or replays, never repeats.

    The answer is a payment that succeeded, is authorized or processing, requires the guest's action, or was refused.

    Args:
        payment_method: Stripe's id, the row's id of a saved method, or `default`.
        payer_external_id: the guest where that is not the viewer: the platform charges one who is away.
        off_session: whether the guest is away. The seats are then held for longer, so that the guest can come back to
            confirm the payment or to pay otherwise.
        splits: whose part the hosts' part is, where it is not the activity's host's alone.

    Raises: Forbidden, NotFound, InvalidInput, InvalidState, PriceChanged, SoldOut, HostNotReady, IdempotencyKeyReused,
        OperationInProgress, StripeUnavailable.
    """
    payer = _payer(viewer, payer_external_id, off_session=off_session, saves=save_payment_method)
    check_quantity(quantity, path=["input", "quantity"])
    parts = check_splits(splits)
    arguments = {
        "activity_id": str(activity_id), "quantity": quantity, "payment_method": str(payment_method),
        "expected_amount": expected_amount and str(expected_amount), "capture_later": capture_later,
        "save_payment_method": save_payment_method, "return_url": return_url,
        **({"payer": payer} if off_session else {}),
        **({"splits": [(split.host_external_id, str(split.share)) for split in parts]} if parts else {}),
    }  # fmt: skip
    intent = Intent(viewer.caller, idempotency_key, KIND, arguments)
    allowed = allowed_return_url(services.settings, return_url, field="returnUrl")
    if not off_session and is_stripe_id(payment_method):
        method: str = payment_method
    else:
        known = await known_operation(services, intent)
        if known is not None:
            return await result_of(await services.operations.end(services, known))
        method = await _saved(services, payer, payment_method, off_session=off_session)
    now = services.clock()
    hold_s = services.settings.off_session_hold_s if off_session else services.settings.hold_s
    reserved = await services.reservations.submit(
        PaymentReservation(
            intent=intent,
            payer_external_id=payer,
            activity_id=activity_id,
            quantity=quantity,
            payment_method=method,
            expected_amount=expected_amount,
            capture_later=capture_later,
            save_payment_method=save_payment_method,
            return_url=allowed,
            hold_expires_at=now + timedelta(seconds=hold_s),
            leased_until=now + services.operations.lease,
            off_session=off_session,
            splits=parts,
        )
    )
    if reserved.claimed.new:
        services.live.wake()
    planned = [reserved.step] if reserved.step is not None else []
    ended = await services.operations.end(services, Reserved(reserved.claimed, planned), subject=reserved.payment)
    return await result_of(ended, payer=reserved.payer)


def _payer(viewer: Viewer, payer_external_id: str | None, *, off_session: bool, saves: bool) -> str:
    """Whose payment it is: the viewer's own, or that of a guest who is away, for the platform alone.

    Raises: Forbidden; InvalidInput.
    """
    if payer_external_id is None and not off_session:
        viewer.require(Role.USER)
        return viewer.external_id
    viewer.require(Role.SERVICE)
    if payer_external_id is None:
        raise InvalidInput("payerExternalId", "Say whom to charge.")
    if not off_session:
        raise InvalidInput("offSession", "Only guests who are away are charged by the platform; others pay themselves.")
    if saves:
        raise InvalidInput("savePaymentMethod", "A guest who is away is charged with a method that is saved already.")
    return payer_external_id


async def _saved(services: Services, payer: str, method: str | UUID, *, off_session: bool) -> str:
    """Stripe's id of a saved method.

    Raises: NotFound; InvalidInput; InvalidState.
    """
    if off_session and not await User.exists(external_id=payer):
        raise NotFound("There is no such person.", path=["input", "payerExternalId"])
    return (await saved_method(services, payer, method, path=["input", "paymentMethod"])).stripe_payment_method_id


class PayForActivity:
    """How a payment's operation goes on: a customer if the guest is none yet, then the payment intent.

    That of a direct charge goes on with a method of the host's account instead of a customer.
    """

    name = KIND

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The payment intent, where it was not planned at reserve, and what goes before a direct charge."""
        if answers.get(CREATE_INTENT) is not None:
            return None
        payment = await Payment.get(id=operation.subject_id)
        activity = await Activity.get(id=payment.activity_id)
        if payment.charge_model is ChargeModel.DIRECT:
            given = operation.arguments
            step = await next_method_step(
                services, payment, given["payment_method"], answers, saves=given["save_payment_method"]
            )
            if step is not None:
                return step
            request = intent_request(
                payment, operation, customer=None, host="", title=activity.title, payment_method=cloned(answers)
            )
            return PlannedStep(CREATE_INTENT, request)
        payer = await User.get(id=payment.payer_id)
        allocation = await PaymentAllocation.filter(payment_id=payment.id).order_by("id").first()
        request = intent_request(
            payment,
            operation,
            customer=await ensure_customer(services, payer),
            host=allocation.stripe_account_id if allocation else "",
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
        away = operation.arguments.get("off_session", False)
        settled = await settle_answer(
            services, operation, payment, CREATE_INTENT, answers,
            next_attempt_at=next_attempt(services, 0) if away else None,
        )  # fmt: skip
        await keep_attached(services, payment, answers, actor=operation.caller)
        return settled.ended

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The payment intent among those of the guest's customer, or of the host's account."""
        if step.step != CREATE_INTENT:
            return await find_method(services, operation, step)
        payment = await Payment.get(id=operation.subject_id)
        is_direct = payment.charge_model is ChargeModel.DIRECT
        return await find_intent(services, payment, operation, customer=None if is_direct else customer_in(step))
