"""Invoices of subscriptions, as Stripe has them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.invoices import CreditNote as CreditNoteRow
from models.invoices import Invoice as InvoiceRow
from models.invoices import InvoiceLine as InvoiceLineRow
from models.money import Money as Amount
from schema import payments, subscriptions
from schema.context import Info
from schema.described import field, object_type
from schema.enums import CreditNoteStatus, InvoiceStatus
from schema.ids import global_id
from schema.money import Money
from schema.nodes import Node
from schema.pages import Connection
from schema.users import User

if TYPE_CHECKING:
    from schema.payments import Payment
    from schema.subscriptions import BillingSubscription


@object_type
class InvoiceLine:
    """One line of an invoice."""

    description: str | None = strawberry.field(description="What it is for, as the invoice says it.")
    amount: Money = strawberry.field(description="What it comes to, before discounts; negative where it is a credit.")
    discount: Money = strawberry.field(description="What discounts take off it.")
    quantity: int | None = strawberry.field(description="How many of it; null where it is not counted.")
    proration: bool = strawberry.field(description="Whether it settles up for a part of a period, after a change.")
    period_start: datetime = strawberry.field(description="When the time began that it is for.")
    period_end: datetime = strawberry.field(description="When that time ends.")

    @classmethod
    def of(cls, row: InvoiceLineRow) -> InvoiceLine:
        """From its row."""
        return cls(
            description=row.description,
            amount=Money.of(Amount(row.amount_minor, row.currency)),
            discount=Money.of(Amount(row.discount_minor, row.currency)),
            quantity=row.quantity,
            proration=row.proration,
            period_start=row.period_start,
            period_end=row.period_end,
        )


@object_type
class CreditNote:
    """A correction of an invoice: before it is paid, it lowers what is due; afterwards, money is given back."""

    number: str = strawberry.field(description="As it is printed on it.")
    status: CreditNoteStatus = strawberry.field(description="Whether it counts.")
    reason: str | None = strawberry.field(
        description="Stripe's word for why: duplicate, fraudulent, order_change or product_unsatisfactory."
    )
    total: Money = strawberry.field(description="What it comes to.")
    refunded: Money = strawberry.field(description="What of it was refunded: see the payment's `refunds`.")
    credited: Money = strawberry.field(description="What of it the guest's next invoice is lowered by.")
    created_at: datetime = strawberry.field(description="When it was issued.")

    @classmethod
    def of(cls, row: CreditNoteRow) -> CreditNote:
        """From its row."""
        return cls(
            number=row.number,
            status=row.status,
            reason=row.reason,
            total=Money.of(Amount(row.total_minor, row.currency)),
            refunded=Money.of(Amount(row.refunded_minor, row.currency)),
            credited=Money.of(Amount(row.credited_minor, row.currency)),
            created_at=row.stripe_created_at,
        )


@object_type
class Invoice(Node):
    """What a guest is billed. Visible to the guest and to the platform."""

    status: InvoiceStatus = strawberry.field(description="Where it stands.")
    number: str | None = strawberry.field(description="As it is printed on it; null for a draft.")
    billing_reason: str | None = strawberry.field(
        description="Stripe's word for why: subscription_create, subscription_cycle, subscription_update, manual …"
    )
    attempt_count: int = strawberry.field(description="How often it was tried to collect it.")
    next_payment_attempt: datetime | None = strawberry.field(
        description="When Stripe tries next; null where it does not. See also the subscription's own."
    )
    period_start: datetime = strawberry.field(
        description="When the time began that it looks back on. A subscription pays ahead: see the lines."
    )
    period_end: datetime = strawberry.field(description="When that time ended.")
    hosted_invoice_url: str | None = strawberry.field(
        description="Stripe's page of it, where it can be paid; null for a draft."
    )
    invoice_pdf: str | None = strawberry.field(description="The same as a file; null for a draft.")
    created_at: datetime = strawberry.field(description="When Stripe made it.")
    finalized_at: datetime | None = strawberry.field(description="When it became final; null for a draft.")
    paid_at: datetime | None = strawberry.field(description="When it was paid; null where it is not.")
    row: strawberry.Private[InvoiceRow]

    @classmethod
    def of(cls, row: InvoiceRow) -> Invoice:
        """From its row."""
        return cls(
            id=global_id("Invoice", row.id),
            status=row.status,
            number=row.number,
            billing_reason=row.billing_reason,
            attempt_count=row.attempt_count,
            next_payment_attempt=row.next_payment_attempt,
            period_start=row.period_start,
            period_end=row.period_end,
            hosted_invoice_url=row.hosted_invoice_url,
            invoice_pdf=row.invoice_pdf,
            created_at=row.stripe_created_at,
            finalized_at=row.finalized_at,
            paid_at=row.paid_at,
            row=row,
        )

    @field
    def subtotal(self) -> Money:
        """The sum of its lines, before discounts."""
        return self._money(self.row.subtotal_minor)

    @field
    def total(self) -> Money:
        """The sum of its lines, less discounts; negative where it gives a credit."""
        return Money.of(self.row.total)

    @field
    def amount_due(self) -> Money:
        """What is to be paid of it, once the guest's balance is taken off."""
        return self._money(self.row.amount_due_minor)

    @field
    def amount_paid(self) -> Money:
        """What has been paid of it."""
        return Money.of(self.row.amount_paid)

    @field
    def amount_remaining(self) -> Money:
        """What is still to be paid of it."""
        return self._money(self.row.amount_remaining_minor)

    @field
    async def lines(self, info: Info) -> list[InvoiceLine]:
        """What it is made of."""
        return [InvoiceLine.of(row) for row in await info.context.loaders.invoice_lines.load(self.row.id)]

    @field
    async def credit_notes(self, info: Info) -> list[CreditNote]:
        """Its corrections, the oldest first."""
        return [CreditNote.of(row) for row in await info.context.loaders.credit_notes.load(self.row.id)]

    @field
    async def payments(self, info: Info) -> list[Annotated[Payment, strawberry.lazy("schema.payments")]]:
        """Its payments, the oldest first: each can be refunded as any other."""
        rows = await info.context.loaders.payments_of_invoices.load(self.row.id)
        return [payments.Payment.of(row) for row in rows]

    @field
    async def user(self, info: Info) -> User:
        """Whose it is."""
        return User.of(await info.context.loaders.users.load(self.row.user_id))

    @field
    async def subscription(
        self, info: Info
    ) -> Annotated[BillingSubscription, strawberry.lazy("schema.subscriptions")] | None:
        """The subscription that it is for; null for one that was made by hand."""
        if self.row.subscription_id is None:
            return None
        row = await info.context.loaders.subscriptions.load(self.row.subscription_id)
        return subscriptions.BillingSubscription.of(row)

    def _money(self, minor: int) -> Money:
        return Money.of(Amount(minor, self.row.currency))


@object_type
class InvoiceConnection(Connection[Invoice]):
    """A page of a subscription's invoices, newest first."""
