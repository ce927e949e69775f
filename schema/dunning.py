"""Failed renewals: what is being done about them, and what the guest can do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema import invoices
from schema.context import Info
from schema.described import field, object_type
from schema.enums import DunningEnd
from services.dunning.reading import Recovery

if TYPE_CHECKING:
    from schema.invoices import Invoice


@object_type
class PaymentRecovery:
    """An invoice that could not be collected, and what comes next. It ends when the invoice is paid."""

    attempt: int = strawberry.field(description="How often it was tried by the schedule, the first failure included.")
    attempts_left: int | None = strawberry.field(
        description="How often it will be tried yet, if the payment method may do; null where Stripe decides."
    )
    next_attempt: datetime | None = strawberry.field(
        description="When the next try is due; null while only the guest can help, and after the last."
    )
    ends_at: datetime | None = strawberry.field(
        description="When it is given up if it is not paid by then; null where Stripe decides."
    )
    ends_as: DunningEnd | None = strawberry.field(
        description="What becomes of the subscription then; null where Stripe decides."
    )
    message: str = strawberry.field(description="Why it failed, and what to do, in words for the guest.")
    needs_new_payment_method: bool = strawberry.field(
        description="Whether the method will not do any more: it is tried again once there is another default."
    )
    needs_confirmation: bool = strawberry.field(
        description="Whether the bank wants to hear it from the guest: `retryPayment` with the invoice's payment."
    )
    recovery: strawberry.Private[Recovery]

    @classmethod
    def of(cls, recovery: Recovery) -> PaymentRecovery:
        """From the service's answer."""
        return cls(
            attempt=recovery.attempt,
            attempts_left=recovery.attempts_left,
            next_attempt=recovery.next_attempt_at,
            ends_at=recovery.ends_at,
            ends_as=recovery.ends_as,
            message=recovery.message,
            needs_new_payment_method=recovery.needs_new_method,
            needs_confirmation=recovery.needs_confirmation,
            recovery=recovery,
        )

    @field
    async def invoice(self, info: Info) -> Annotated[Invoice, strawberry.lazy("schema.invoices")]:
        """What is to be paid."""
        return invoices.Invoice.of(await info.context.loaders.invoices.load(self.recovery.invoice_id))
