"""Saved payment methods: what Stripe keeps for a guest, as tokens; no number of a card is ever here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.users import User


class SavedPaymentMethod(Changing):
    """One method attached to a guest's Stripe customer ("The PaymentMethod object"); kept after it was detached.

    At most one of a guest's attached methods is the default, which invoices are paid with.
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
