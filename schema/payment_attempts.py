"""The tries at a payment: each charge that was made, and why the last one did not work."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from models.money import Money as Amount
from models.payments import Payment as PaymentRow
from models.rsvps import RsvpStatus
from schema.context import Info
from schema.described import field, object_type
from schema.enums import PaymentAdvice
from schema.money import Money
from schema.payment_methods import PaymentMethod
from services.payments.declines import advice_on, explain

if TYPE_CHECKING:
    from models.payments import PaymentAttempt as PaymentAttemptRow


@object_type
class PaymentFailure:
    """Why the last try did not work, and what can be done about it."""

    code: str = strawberry.field(description="Stripe's error code: card_declined …")
    decline_code: str | None = strawberry.field(description="Stripe's decline code: insufficient_funds …")
    message: str = strawberry.field(description="Fit to be shown to the guest.")
    retryable: bool = strawberry.field(description="False where trying the same card again cannot help.")
    advice: list[PaymentAdvice] = strawberry.field(
        description="What the guest can do, what is most likely to help first."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When Paydesk tries again by itself, for a guest who was away; null where it does not."
    )
    row: strawberry.Private[PaymentRow]

    @classmethod
    def of(cls, row: PaymentRow) -> PaymentFailure | None:
        """From the payment's row; None where its last try worked, or none was made."""
        if row.failure_code is None:
            return None
        retryable = bool(row.failure_retryable)
        return cls(
            code=row.failure_code,
            decline_code=row.failure_decline_code,
            message=row.failure_message or "",
            retryable=retryable,
            advice=advice_on(row.failure_code, row.failure_decline_code, retryable=retryable),
            next_attempt_at=row.next_attempt_at,
            row=row,
        )

    @field
    async def held_until(self, info: Info) -> datetime | None:
        """Until when the seats are held, and `retryPayment` can try again; null where none are."""
        if self.row.rsvp_id is None:
            return None
        rsvp = await info.context.loaders.rsvps.load(self.row.rsvp_id)
        return rsvp.hold_expires_at if rsvp.status is RsvpStatus.HELD else None


@object_type
class PaymentAttempt:
    """One charge that was tried for a payment, as Stripe has it."""

    stripe_charge_id: str = strawberry.field(description="Stripe's id (ch_…, py_…).")
    status: str = strawberry.field(description="Stripe's word for it: succeeded, pending or failed.")
    amount: Money = strawberry.field(description="What was to be taken, or authorized.")
    payment_method: PaymentMethod | None = strawberry.field(description="What it was tried with.")
    failure_code: str | None = strawberry.field(description="Stripe's error code; null where it did not fail.")
    decline_code: str | None = strawberry.field(description="Stripe's decline code, where there is one.")
    message: str | None = strawberry.field(description="Why it failed, fit to be shown to the guest.")
    created_at: datetime = strawberry.field(description="When it was tried.")

    @classmethod
    def of(cls, row: PaymentAttemptRow) -> PaymentAttempt:
        """From its row."""
        has_failed = row.failure_code is not None
        return cls(
            stripe_charge_id=row.stripe_charge_id,
            status=row.status,
            amount=Money.of(Amount(row.amount_minor, row.currency)),
            payment_method=PaymentMethod.of_payment(row),
            failure_code=row.failure_code,
            decline_code=row.decline_code if has_failed else None,
            message=explain(row.failure_code, row.decline_code).message if has_failed else None,
            created_at=row.stripe_created_at,
        )
