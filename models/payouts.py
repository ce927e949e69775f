"""Payouts: money on its way from a balance at Stripe to a bank."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.base import Changing
from models.money import Money

if TYPE_CHECKING:
    from models.connect_accounts import ConnectAccount


class PayoutStatus(StrEnum):
    """Where a payout is; one that was paid can still fail, for days ("Payouts", failed payouts)."""

    PENDING = "PENDING"
    IN_TRANSIT = "IN_TRANSIT"
    PAID = "PAID"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    def may_become(self, new: PayoutStatus) -> bool:
        """Whether this move is legal: nothing leaves FAILED or CANCELED, and what was paid can only fail."""
        if self in {PayoutStatus.FAILED, PayoutStatus.CANCELED} or self is new:
            return False
        if self is PayoutStatus.PAID:
            return new is PayoutStatus.FAILED
        return new is not PayoutStatus.PENDING


class PayoutInterval(StrEnum):
    """How often an account is paid out by itself."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    MANUAL = "MANUAL"


class Weekday(StrEnum):
    """The days on which banks work."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"


class Payout(Changing):
    """One payout of a connected account, or (no account) of the platform ("The Payout object").

    `automatic` where Stripe's schedule made it; its balance transactions are known then, and with them the payments
    inside. `amount` is negative where Stripe took from the bank what the account owed. `fee_minor` is what it cost the
    account; where the platform pays Stripe's fees that is nothing. `destination` is {type, name, last4} of the bank
    account or card. `version` and `position` order its changes in the event stream. A payout that was asked for here
    and that Stripe refused has no `stripe_payout_id` and FAILED.
    """

    connect_account: fields.ForeignKeyNullableRelation[ConnectAccount] = fields.ForeignKeyField(
        "models.ConnectAccount", related_name="payouts", on_delete=fields.RESTRICT, null=True
    )
    connect_account_id: UUID | None
    stripe_account = fields.CharField(max_length=64, default="")
    stripe_payout_id = fields.CharField(max_length=64, null=True, unique=True)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    status = fields.CharEnumField(PayoutStatus, max_length=16, default=PayoutStatus.PENDING)
    instant = fields.BooleanField(default=False)
    automatic = fields.BooleanField(default=False)
    arrival_date: datetime | None = fields.DatetimeField(null=True)
    failure_code = fields.CharField(max_length=64, null=True)
    failure_message: str | None = fields.TextField(null=True)
    fee_minor: int = fields.BigIntField(default=0)
    destination: dict[str, Any] | None = fields.JSONField(null=True)
    balance_transaction_id = fields.CharField(max_length=64, null=True)
    failure_balance_transaction_id = fields.CharField(max_length=64, null=True)
    contents_known = fields.BooleanField(default=False)
    requested_by = fields.CharField(max_length=300)
    stripe_created_at: datetime | None = fields.DatetimeField(null=True)
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)

    class Meta:
        table = "payouts"

    @property
    def amount(self) -> Money:
        """What arrives at the bank."""
        return Money(self.amount_minor, self.currency)
