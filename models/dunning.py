"""Dunning: trying again to collect an invoice whose payment failed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.invoices import Invoice
    from models.subscriptions import BillingSubscription


class DunningStatus(StrEnum):
    """TRYING until it is paid, given up, or the invoice is closed by other means."""

    TRYING = "TRYING"
    RECOVERED = "RECOVERED"
    EXHAUSTED = "EXHAUSTED"
    CLOSED = "CLOSED"


class Dunning(Changing):
    """The tries at one invoice; `retries` counts those made after the first failure, and is the only counter.

    `last_failed_at` is when the last of those failed, or the first try. `next_attempt_at` is when the next is due; null
    while only the guest can help (another card, the bank's page), and after the last. `by_stripe` where Stripe's own
    retries act on the invoice and this only follows them: then nobody here knows when they end. `ended_as` is what
    becomes of the subscription where it is exhausted: a value of `settings.DunningEnd`.
    """

    invoice: fields.OneToOneRelation[Invoice] = fields.OneToOneField(
        "models.Invoice", related_name="dunning", on_delete=fields.RESTRICT
    )
    invoice_id: UUID
    subscription: fields.ForeignKeyRelation[BillingSubscription] = fields.ForeignKeyField(
        "models.BillingSubscription", related_name="dunnings", on_delete=fields.RESTRICT
    )
    subscription_id: UUID
    status = fields.CharEnumField(DunningStatus, max_length=16, default=DunningStatus.TRYING)
    retries = fields.IntField(default=0)
    first_failed_at: datetime = fields.DatetimeField()
    last_failed_at: datetime = fields.DatetimeField()
    next_attempt_at: datetime | None = fields.DatetimeField(null=True)
    ends_at: datetime | None = fields.DatetimeField(null=True)
    by_stripe = fields.BooleanField(default=False)
    ended_as = fields.CharField(max_length=8, null=True)
    payment_method = fields.CharField(max_length=64, null=True)
    failure_code = fields.CharField(max_length=64, null=True)
    decline_code = fields.CharField(max_length=64, null=True)
    message: str = fields.TextField(default="")
    retryable = fields.BooleanField(default=True)

    class Meta:
        table = "dunnings"
