"""Saved payment methods: what Stripe keeps for a guest, as tokens; no number of a card is ever here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.users import User


def end_of_month(year: int | None, month: int | None) -> datetime | None:
    """The first moment at which a card that is good through this month is so no more, in UTC; None for no month."""
    if year is None or month is None:
        return None
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


class SavedPaymentMethod(Changing):
    """One method attached to a guest's Stripe customer ("The PaymentMethod object"); kept after it was detached.

    At most one of a guest's attached methods is the default, which invoices are paid with. `expiry_noticed_at` is when
    it was made known that the card is about to expire; a card that was renewed may be made known again.
    """

    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="payment_methods", on_delete=fields.RESTRICT
    )
    user_id: UUID
    stripe_payment_method_id = fields.CharField(max_length=64, unique=True)
    stripe_customer_id = fields.CharField(max_length=64)
    type = fields.CharField(max_length=32)
    brand = fields.CharField(max_length=32, null=True)
    last4 = fields.CharField(max_length=4, null=True)
    exp_month = fields.IntField(null=True)
    exp_year = fields.IntField(null=True)
    country = fields.CharField(max_length=2, null=True)
    fingerprint = fields.CharField(max_length=64, null=True)
    is_default = fields.BooleanField(default=False)
    attached_at: datetime = fields.DatetimeField()
    detached_at: datetime | None = fields.DatetimeField(null=True)
    expiry_noticed_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "payment_methods"

    @property
    def is_attached(self) -> bool:
        """Whether it can be paid with."""
        return self.detached_at is None

    @property
    def expires_at(self) -> datetime | None:
        """When it stops working, in UTC; None for what does not expire."""
        return end_of_month(self.exp_year, self.exp_month)
