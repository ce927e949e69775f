"""Payments: asking for them, making them, and acting on them."""

from __future__ import annotations

from typing import Annotated

import strawberry

from models.payments import Payment as PaymentRow
from resolvers.arguments import Id, input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.ids import id_of, require_id
from schema.money import CurrencyCode, money_or_none
from schema.pages import After, Before, First, Last
from schema.payment_inputs import (
    CancelPaymentInput,
    CapturePaymentInput,
    FeeBreakdown,
    PayForActivityInput,
    PaymentPayload,
    RetryPaymentInput,
)
from schema.payment_lists import PaymentConnection, PaymentFilter, payment_connection
from schema.payment_methods import method_of
from schema.payments import Payment
from services.fees import fee_preview
from services.payments import actions, pay
from services.payments.reading import Scope

WHICH = "Which payment, and how."


@object_type
class PaymentQueries:
    """Queries about payments."""

    @field
    async def payment(self, info: Info, id: Id) -> Payment | None:
        """A payment; null for one that is not there or not for the viewer."""
        info.context.require_viewer()
        id_ = id_of("Payment", id)
        row = None if id_ is None else await info.context.loaders.visible(PaymentRow).load(id_)
        return None if row is None else Payment.of(row)

    @field
    async def payments(
        self,
        info: Info,
        filter: Annotated[PaymentFilter | None, strawberry.argument(description="Which of them.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> PaymentConnection:
        """Admin and service: all; host: those of the host's activities; guest: their own. Newest first."""
        return await payment_connection(info, Scope.VISIBLE, filter, first=first, after=after, last=last, before=before)

    @field
    async def fee_preview(
        self,
        info: Info,
        activity_id: Annotated[strawberry.ID, strawberry.argument(description="The activity.")],
        quantity: Annotated[int, strawberry.argument(description="How many seats, 1 to 1,000.")] = 1,
        currency: Annotated[
            CurrencyCode | None, strawberry.argument(description="Only the activity's own currency can be paid in.")
        ] = None,
    ) -> FeeBreakdown:
        """Who would get what of a payment for these seats."""
        info.context.require_viewer()
        fees = await fee_preview(
            info.context.services,
            activity_id=require_id("Activity", activity_id, ["activityId"]),
            quantity=quantity,
            currency_code=None if currency is None else currency.value,
        )
        return FeeBreakdown.of(fees)


@object_type
class PaymentMutations:
    """What guests and hosts do with payments."""

    @mutation
    @payload(PaymentPayload)
    async def pay_for_activity(
        self, info: Info, input: Annotated[PayForActivityInput, strawberry.argument(description="What to pay for.")]
    ) -> PaymentPayload:
        """Hold seats of an activity for the viewer and charge for them."""
        viewer = info.context.require_viewer()
        input.refuse_what_cannot_be_done()
        result = await pay.pay_for_activity(
            info.context.services,
            viewer=viewer,
            activity_id=require_id("Activity", input.activity_id, input_path("activityId")),
            quantity=input.quantity,
            payment_method=method_of(input.payment_method),
            expected_amount=money_or_none(input.expected_amount, input_path("expectedAmount")),
            capture_later=input.capture_later,
            save_payment_method=input.save_payment_method,
            return_url=input.return_url,
            payer_external_id=input.payer_external_id,
            off_session=input.off_session,
            splits=None if input.splits is None else [split.to_split() for split in input.splits],
            idempotency_key=input.idempotency_key,
        )
        if result.payer is not None:
            info.context.loaders.users.prime(result.payer.id, result.payer)
        return PaymentPayload.of(result)

    @mutation
    @payload(PaymentPayload)
    async def retry_payment(
        self, info: Info, input: Annotated[RetryPaymentInput, strawberry.argument(description=WHICH)]
    ) -> PaymentPayload:
        """Try a declined or unfinished payment with another method, while its seats are held. For its guest."""
        result = await actions.retry_payment(
            info.context.services,
            viewer=info.context.require_viewer(),
            payment_id=require_id("Payment", input.payment_id, input_path("paymentId")),
            payment_method=method_of(input.payment_method),
            return_url=input.return_url,
            idempotency_key=input.idempotency_key,
        )
        return PaymentPayload.of(result)

    @mutation
    @payload(PaymentPayload)
    async def capture_payment(
        self, info: Info, input: Annotated[CapturePaymentInput, strawberry.argument(description=WHICH)]
    ) -> PaymentPayload:
        """Take an authorized payment, whole or in part, once. For the activity's host and the platform."""
        result = await actions.capture_payment(
            info.context.services,
            viewer=info.context.require_viewer(),
            payment_id=require_id("Payment", input.payment_id, input_path("paymentId")),
            amount=money_or_none(input.amount, input_path("amount")),
            idempotency_key=input.idempotency_key,
        )
        return PaymentPayload.of(result)

    @mutation
    @payload(PaymentPayload)
    async def cancel_payment(
        self, info: Info, input: Annotated[CancelPaymentInput, strawberry.argument(description=WHICH)]
    ) -> PaymentPayload:
        """Call off a payment that has taken no money yet, and give its seats back."""
        result = await actions.cancel_payment(
            info.context.services,
            viewer=info.context.require_viewer(),
            payment_id=require_id("Payment", input.payment_id, input_path("paymentId")),
            idempotency_key=input.idempotency_key,
        )
        return PaymentPayload.of(result)
