"""Invoices of subscriptions, their lines and credit notes, as Stripe has them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing, Identified
from models.money import Money

if TYPE_CHECKING:
    from models.subscriptions import BillingSubscription
    from models.users import User


class InvoiceStatus(StrEnum):
    """Stripe's own ("How invoicing works"); an uncollectible one can still be paid or voided."""

    DRAFT = "DRAFT"
    OPEN = "OPEN"
    PAID = "PAID"
    UNCOLLECTIBLE = "UNCOLLECTIBLE"
    VOID = "VOID"

    @property
    def is_final(self) -> bool:
        """Whether it cannot change any more."""
        return self in {InvoiceStatus.PAID, InvoiceStatus.VOID}

    def may_become(self, new: InvoiceStatus) -> bool:
        """Whether this move is legal: forward only."""
        return new is not self and not self.is_final and _RANK[new] > _RANK[self]


_RANK = {
    InvoiceStatus.DRAFT: 0,
    InvoiceStatus.OPEN: 1,
    InvoiceStatus.UNCOLLECTIBLE: 2,
    InvoiceStatus.PAID: 3,
    InvoiceStatus.VOID: 3,
}


class Invoice(Changing):
    """One invoice ("The Invoice object"). Amounts are minor units of its currency.

    `receivable_minor` is what the ledger has for it among what guests owe, `written_off_minor` among what was given up
    as uncollectible. `version` counts what changed of it, its lines, credit notes and payments.
    """

    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="invoices", on_delete=fields.RESTRICT
    )
    user_id: UUID
    subscription: fields.ForeignKeyNullableRelation[BillingSubscription] = fields.ForeignKeyField(
        "models.BillingSubscription", related_name="invoices", on_delete=fields.RESTRICT, null=True
    )
    subscription_id: UUID | None
    stripe_invoice_id = fields.CharField(max_length=64, unique=True)
    version: int = fields.IntField(default=1)
    number = fields.CharField(max_length=64, null=True)
    status = fields.CharEnumField(InvoiceStatus, max_length=16)
    billing_reason = fields.CharField(max_length=40, null=True)
    currency = fields.CharField(max_length=3)
    subtotal_minor: int = fields.BigIntField()
    total_minor: int = fields.BigIntField()
    amount_due_minor: int = fields.BigIntField()
    amount_paid_minor: int = fields.BigIntField()
    amount_remaining_minor: int = fields.BigIntField()
    receivable_minor: int = fields.BigIntField(default=0)
    written_off_minor: int = fields.BigIntField(default=0)
    attempt_count = fields.IntField(default=0)
    auto_advance = fields.BooleanField(default=True)
    next_payment_attempt: datetime | None = fields.DatetimeField(null=True)
    period_start: datetime = fields.DatetimeField()
    period_end: datetime = fields.DatetimeField()
    hosted_invoice_url: str | None = fields.TextField(null=True)
    invoice_pdf: str | None = fields.TextField(null=True)
    stripe_created_at: datetime = fields.DatetimeField()
    finalized_at: datetime | None = fields.DatetimeField(null=True)
    paid_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "invoices"

    @property
    def total(self) -> Money:
        """The sum of its lines, less discounts; negative where it gives a credit."""
        return Money(self.total_minor, self.currency)

    @property
    def amount_paid(self) -> Money:
        """What has been paid of it."""
        return Money(self.amount_paid_minor, self.currency)


class InvoiceLine(Identified):
    """One line of an invoice ("The Invoice Line Item object"); `proration` where it settles up for part of a period."""

    invoice: fields.ForeignKeyRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", related_name="lines", on_delete=fields.CASCADE
    )
    invoice_id: UUID
    stripe_line_id = fields.CharField(max_length=80)
    position = fields.IntField()
    description: str | None = fields.TextField(null=True)
    amount_minor: int = fields.BigIntField()
    discount_minor: int = fields.BigIntField(default=0)
    currency = fields.CharField(max_length=3)
    quantity = fields.IntField(null=True)
    proration = fields.BooleanField(default=False)
    stripe_price_id = fields.CharField(max_length=64, null=True)
    period_start: datetime = fields.DatetimeField()
    period_end: datetime = fields.DatetimeField()

    class Meta:
        table = "invoice_lines"


class CreditNoteStatus(StrEnum):
    """Whether it counts."""

    ISSUED = "ISSUED"
    VOID = "VOID"


class CreditNote(Changing):
    """A correction of a finalized invoice ("The Credit Note object"); amounts are minor units of its currency.

    Before payment it lowers what is owed; after it, it is refunded, credited to the guest's balance or settled
    elsewhere.
    """

    invoice: fields.ForeignKeyRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", related_name="credit_notes", on_delete=fields.RESTRICT
    )
    invoice_id: UUID
    stripe_credit_note_id = fields.CharField(max_length=64, unique=True)
    number = fields.CharField(max_length=64)
    status = fields.CharEnumField(CreditNoteStatus, max_length=8)
    type = fields.CharField(max_length=16)
    reason = fields.CharField(max_length=32, null=True)
    currency = fields.CharField(max_length=3)
    total_minor: int = fields.BigIntField()
    refunded_minor: int = fields.BigIntField(default=0)
    credited_minor: int = fields.BigIntField(default=0)
    stripe_created_at: datetime = fields.DatetimeField()

    class Meta:
        table = "credit_notes"
