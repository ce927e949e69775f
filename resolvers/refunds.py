"""Refunds."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers.arguments import input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.ids import require_id
from schema.money import MoneyInput, money_or_none
from schema.refunds import Refund, RefundPayload, RefundPaymentInput, RefundPreview
from services.refunds.creation import refund_payment
from services.refunds.preview import refund_preview


@object_type
class RefundQueries:
    """Queries about refunds."""

    @field
    async def refund_preview(
        self,
        info: Info,
        payment_id: Annotated[strawberry.ID, strawberry.argument(description="The payment.")],
        amount: Annotated[
            MoneyInput | None, strawberry.argument(description="How much; all that is left where nothing is said.")
        ] = None,
    ) -> RefundPreview:
        """Who would pay for a refund. For whoever may see the payment."""
        viewer = info.context.require_viewer()
        breakdown = await refund_preview(
            info.context.services,
            viewer=viewer,
            payment_id=require_id("Payment", payment_id, ["paymentId"]),
            amount=money_or_none(amount, ["amount"]),
        )
        return RefundPreview.of(breakdown)


@object_type
class RefundMutations:
    """What hosts and the platform give back."""

    @mutation
    @payload(RefundPayload)
    async def refund_payment(
        self, info: Info, input: Annotated[RefundPaymentInput, strawberry.argument(description="What to give back.")]
    ) -> RefundPayload:
        """Give back all or part of a captured payment. For the activity's host and the platform."""
        row = await refund_payment(
            info.context.services,
            viewer=info.context.require_viewer(),
            payment_id=require_id("Payment", input.payment_id, input_path("paymentId")),
            amount=money_or_none(input.amount, input_path("amount")),
            reason=input.reason,
            idempotency_key=input.idempotency_key,
        )
        return RefundPayload(refund=Refund.of(row))
