"""What payments are made with, saved or not; what is sent in to save and remove it, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import strawberry

from models.payment_methods import SavedPaymentMethod, end_of_month
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.errors import Payload
from schema.ids import global_id, id_of
from schema.nodes import Node
from services.payment_methods.expiry import expires_soon

if TYPE_CHECKING:
    from uuid import UUID

    from models.payments import Payment as PaymentRow
    from models.payments import PaymentAttempt


def method_of(text: str) -> str | UUID:
    """What a client names to pay with, as services take it: the row's id of a saved method, or the text itself."""
    return id_of("PaymentMethod", text) or text


@object_type
class PaymentMethod(Node):
    """What can be paid with, or what a payment was last tried with where that was not saved. Visible to its owner."""

    stripe_payment_method_id: str = strawberry.field(description="Stripe's id (pm_…).")
    type: str = strawberry.field(description="Stripe's word for its kind: card, sepa_debit …")
    brand: str | None = strawberry.field(description="The card's brand: visa, mastercard …")
    last4: str | None = strawberry.field(description="The last four digits.")
    exp_month: int | None = strawberry.field(description="The month it expires in, 1 to 12.")
    exp_year: int | None = strawberry.field(description="The year it expires in, four digits.")
    expires_at: datetime | None = strawberry.field(
        description="When it stops working: the end of that month, in UTC. Null for what does not expire."
    )
    is_default: bool = strawberry.field(
        description="Whether the guest's subscriptions are paid with it, and payments that name `default`."
    )

    @classmethod
    def of(cls, row: SavedPaymentMethod) -> PaymentMethod:
        """From the row of a saved method."""
        return cls(
            id=global_id("PaymentMethod", row.id),
            stripe_payment_method_id=row.stripe_payment_method_id,
            type=row.type,
            brand=row.brand,
            last4=row.last4,
            exp_month=row.exp_month,
            exp_year=row.exp_year,
            expires_at=row.expires_at,
            is_default=row.is_default,
        )

    @classmethod
    def of_payment(cls, row: PaymentRow | PaymentAttempt) -> PaymentMethod | None:
        """From what the row of a payment or of a try keeps of its method, under its id; None before it has one."""
        kept: dict[str, Any] | None = row.payment_method
        if kept is None:
            return None
        month, year = kept.get("exp_month"), kept.get("exp_year")
        return cls(
            id=global_id("PaymentMethod", row.id),
            stripe_payment_method_id=kept["stripe_id"],
            type=kept.get("type") or "unknown",
            brand=kept.get("brand"),
            last4=kept.get("last4"),
            exp_month=month,
            exp_year=year,
            expires_at=end_of_month(year, month),
            is_default=False,
        )

    @field
    def expires_soon(self, info: Info) -> bool:
        """Whether it stops working within a month, or has already: ask for another one before a payment fails."""
        return expires_soon(info.context.services, self.expires_at)


@input_type
class CreateSetupIntentInput:
    """A method to be saved without a payment."""

    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")


@object_type
class CreateSetupIntentPayload(Payload):
    """What became of it."""

    client_secret: str | None = strawberry.field(
        default=None, description="What Stripe.js confirms; the method is saved once it has."
    )


@input_type
class AttachPaymentMethodInput:
    """A method to save."""

    stripe_payment_method_id: str = strawberry.field(description="Stripe's id (pm_…), as Stripe.js gives it.")
    make_default: bool = strawberry.field(
        default=False, description="Pay subscriptions with it from now on; with the first one they are in any case."
    )


@object_type
class AttachPaymentMethodPayload(Payload):
    """What became of it."""

    payment_method: PaymentMethod | None = strawberry.field(default=None, description="The saved method.")


@input_type
class DetachPaymentMethodInput:
    """A saved method to remove."""

    payment_method_id: strawberry.ID = strawberry.field(description="The saved method.")


@object_type
class DetachPaymentMethodPayload(Payload):
    """What became of it."""

    payment_method: PaymentMethod | None = strawberry.field(default=None, description="The method, not saved any more.")


@input_type
class SetDefaultPaymentMethodInput:
    """A saved method to pay subscriptions with."""

    payment_method_id: strawberry.ID = strawberry.field(description="The saved method.")


@object_type
class SetDefaultPaymentMethodPayload(Payload):
    """What became of it."""

    payment_method: PaymentMethod | None = strawberry.field(default=None, description="The method as it is now.")
