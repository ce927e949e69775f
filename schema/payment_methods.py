"""What payments are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import strawberry

from schema.described import object_type
from schema.ids import global_id, id_of
from schema.nodes import Node

if TYPE_CHECKING:
    from uuid import UUID

    from models.payments import Payment as PaymentRow


def method_of(text: str) -> str | UUID:
    """What a client names to pay with, as services take it: the row's id of a saved method, or the text itself."""
    return id_of("PaymentMethod", text) or text


@object_type
class PaymentMethod(Node):
    """What a payment was last tried with. Its id stands for the method of that payment, not for a saved one."""

    stripe_payment_method_id: str = strawberry.field(description="Stripe's id (pm_…).")
    type: str = strawberry.field(description="Stripe's word for its kind: card, sepa_debit …")
    brand: str | None = strawberry.field(description="The card's brand: visa, mastercard …")
    last4: str | None = strawberry.field(description="The last four digits.")
    exp_month: int | None = strawberry.field(description="The month it expires in, 1 to 12.")
    exp_year: int | None = strawberry.field(description="The year it expires in, four digits.")
    is_default: bool = strawberry.field(description="Whether it is the guest's saved default.")

    @classmethod
    def of_payment(cls, row: PaymentRow) -> PaymentMethod | None:
        """From what a payment's row keeps of its method; None before it was tried with one."""
        kept: dict[str, Any] | None = row.payment_method
        if kept is None:
            return None
        return cls(
            id=global_id("PaymentMethod", row.id),
            stripe_payment_method_id=kept["stripe_id"],
            type=kept.get("type") or "unknown",
            brand=kept.get("brand"),
            last4=kept.get("last4"),
            exp_month=kept.get("exp_month"),
            exp_year=kept.get("exp_year"),
            is_default=False,
        )
