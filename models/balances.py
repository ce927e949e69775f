"""Stripe's own books, mirrored: each balance transaction of each account, and its counterpart in the ledger."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tortoise import fields

from models.base import Changing, Identified


class BalanceTransaction(Identified):
    """One movement on one account's balance at Stripe ("The Balance Transaction object").

    `stripe_account` is '' for the platform. `settles_id` is the ledger transaction that says why the money moved, in
    the currency that was meant; `posting_id` the one that brings the account's pots to what Stripe says: the conversion
    into the currency that was settled in, and Stripe's fee. Each is null where there is none, or none yet; where they
    are the same, nobody here meant that movement, and it was posted as Stripe says. `application_fee_minor` is the part
    of `fee_minor` that is the platform's, not Stripe's, and `fee_settles_id` the ledger transaction that moved it.
    `source_id` is the object that moved the money, `related_id` the one that this object came of: a payment's transfer,
    a reversal's refund.
    """

    stripe_account = fields.CharField(max_length=64, default="")
    stripe_balance_transaction_id = fields.CharField(max_length=64)
    type = fields.CharField(max_length=64)
    reporting_category = fields.CharField(max_length=64)
    amount_minor: int = fields.BigIntField()
    fee_minor: int = fields.BigIntField()
    application_fee_minor: int = fields.BigIntField(default=0)
    currency = fields.CharField(max_length=3)
    exchange_rate: Decimal | None = fields.DecimalField(max_digits=24, decimal_places=12, null=True)
    source_id = fields.CharField(max_length=64, null=True)
    related_id = fields.CharField(max_length=64, null=True)
    description: str | None = fields.TextField(null=True)
    stripe_created_at: datetime = fields.DatetimeField()
    available_on: datetime = fields.DatetimeField()
    payment_id: UUID | None = fields.UUIDField(null=True)
    payout_id: UUID | None = fields.UUIDField(null=True)
    settles_id: UUID | None = fields.UUIDField(null=True)
    fee_settles_id: UUID | None = fields.UUIDField(null=True)
    posting_id: UUID | None = fields.UUIDField(null=True)

    class Meta:
        table = "balance_transactions"


class BalanceWatermark(Changing):
    """How far an account's balance transactions have been mirrored; `due_at` is when to look again, null: not soon."""

    stripe_account = fields.CharField(max_length=64, unique=True)
    seen_until: datetime | None = fields.DatetimeField(null=True)
    due_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "balance_watermarks"
