"""Money given back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.refunds import Refund as RefundRow
from schema import payments
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import RefundReason, RefundStatus
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money, MoneyInput
from schema.nodes import Node
from schema.pages import Connection

if TYPE_CHECKING:
    from schema.payments import Payment
    from services.refunds.preview import RefundBreakdown


@object_type
class Refund(Node):
    """Money given back of a payment. Visible to whoever may see the payment."""

    status: RefundStatus = strawberry.field(description="Where it stands.")
    reason: RefundReason | None = strawberry.field(description="Why; null where nobody said.")
    stripe_refund_id: str | None = strawberry.field(description="Stripe's id (re_…), once Stripe knows of it.")
    failure_reason: str | None = strawberry.field(description="Stripe's word for why it failed.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    row: strawberry.Private[RefundRow]

    @classmethod
    def of(cls, row: RefundRow) -> Refund:
        """From its row."""
        return cls(
            id=global_id("Refund", row.id),
            status=row.status,
            reason=row.reason,
            stripe_refund_id=row.stripe_refund_id,
            failure_reason=row.failure_reason,
            created_at=row.created_at,
            row=row,
        )

    @field
    def amount(self) -> Money:
        """What the guest gets back."""
        return Money.of(self.row.amount)

    @field
    async def payment(self, info: Info) -> Annotated[Payment, strawberry.lazy("schema.payments")]:
        """What it is given back of."""
        return payments.Payment.of(await info.context.loaders.payments.load(self.row.payment_id))


@object_type
class RefundConnection(Connection[Refund]):
    """A page of a payment's refunds, newest first."""


@object_type
class RefundPreview:
    """Who pays for a refund, before it is made."""

    guest_receives: Money = strawberry.field(description="What the guest gets back.")
    host_pays: Money = strawberry.field(description="What the host gives of it.")
    platform_pays: Money = strawberry.field(description="What the platform gives of it: its fee, in proportion.")

    @classmethod
    def of(cls, breakdown: RefundBreakdown) -> RefundPreview:
        """From the service's answer."""
        return cls(
            guest_receives=Money.of(breakdown.guest_receives),
            host_pays=Money.of(breakdown.host_pays),
            platform_pays=Money.of(breakdown.platform_pays),
        )


@input_type
class RefundPaymentInput:
    """What to give back of a payment."""

    payment_id: strawberry.ID = strawberry.field(description="The payment.")
    amount: MoneyInput | None = strawberry.field(
        default=None, description="How much, in the payment's currency; all that is left where nothing is said."
    )
    reason: RefundReason | None = strawberry.field(default=None, description="Why.")
    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")


@object_type
class RefundPayload(Payload):
    """What became of it."""

    refund: Refund | None = strawberry.field(default=None, description="The refund as it is now.")
