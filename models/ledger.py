"""The double-entry ledger: pots of money, and postings between them that sum to zero."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from tortoise import fields

from models.base import Changing, Identified


class LedgerAccountKind(StrEnum):
    """The chart of accounts; each is a pot of money, positive where it holds some."""

    GUEST_CLEARING = "GUEST_CLEARING"
    """The guests' side: negative by what they have paid and not got back, and by what they owe."""
    PLATFORM_BALANCE = "PLATFORM_BALANCE"
    HOST_BALANCE = "HOST_BALANCE"
    HOST_OWED = "HOST_OWED"
    APPLICATION_FEES = "APPLICATION_FEES"
    SUBSCRIPTION_INCOME = "SUBSCRIPTION_INCOME"
    RECEIVABLES = "RECEIVABLES"
    """What guests owe for open invoices."""
    UNCOLLECTIBLE = "UNCOLLECTIBLE"
    """What of that was given up."""
    STRIPE_FEES = "STRIPE_FEES"
    REFUNDS = "REFUNDS"
    """Refunds on their way to the guest."""
    DISPUTES = "DISPUTES"
    """Held by guests' banks while a dispute is open."""
    PAYOUTS_IN_TRANSIT = "PAYOUTS_IN_TRANSIT"
    BANK = "BANK"
    """Bank accounts: what payouts brought there, less what came from there."""
    ADJUSTMENTS = "ADJUSTMENTS"
    """What Stripe moved for reasons of its own."""
    FX_LIQUIDITY = "FX_LIQUIDITY"
    FX_GAIN_LOSS = "FX_GAIN_LOSS"


class LedgerPlace(StrEnum):
    """Where a pot's money lies: Stripe's balance of an account is the sum of the pots that lie there."""

    PLATFORM = "PLATFORM"
    """The platform's balance at Stripe."""
    HOST = "HOST"
    """The balance at Stripe of the pot's owner."""
    ELSEWHERE = "ELSEWHERE"
    """Guests, banks, Stripe itself, and money on its way between them."""


_PLATFORM_POTS = frozenset(
    {
        LedgerAccountKind.PLATFORM_BALANCE, LedgerAccountKind.APPLICATION_FEES, LedgerAccountKind.SUBSCRIPTION_INCOME,
        LedgerAccountKind.HOST_OWED,
    }
)  # fmt: skip


def place_of(kind: LedgerAccountKind) -> LedgerPlace:
    """Where a pot of this kind lies; what hosts are owed is the platform's balance until it is sent."""
    if kind is LedgerAccountKind.HOST_BALANCE:
        return LedgerPlace.HOST
    return LedgerPlace.PLATFORM if kind in _PLATFORM_POTS else LedgerPlace.ELSEWHERE


class LedgerTransactionKind(StrEnum):
    """What moved money."""

    CHARGE = "CHARGE"
    TRANSFER = "TRANSFER"
    APPLICATION_FEE = "APPLICATION_FEE"
    INVOICE_INCOME = "INVOICE_INCOME"
    INVOICE_DUE = "INVOICE_DUE"
    INVOICE_CLOSED = "INVOICE_CLOSED"
    INVOICE_UNCOLLECTIBLE = "INVOICE_UNCOLLECTIBLE"
    REFUND = "REFUND"
    REFUND_PAID = "REFUND_PAID"
    REFUND_FAILED = "REFUND_FAILED"
    TRANSFER_REVERSAL = "TRANSFER_REVERSAL"
    APPLICATION_FEE_REFUND = "APPLICATION_FEE_REFUND"
    ALLOCATION = "ALLOCATION"
    """Hosts' parts are set aside on the platform until they are released."""
    DISPUTE = "DISPUTE"
    DISPUTE_WON = "DISPUTE_WON"
    DISPUTE_LOST = "DISPUTE_LOST"
    DEBT_RECOVERY = "DEBT_RECOVERY"
    """What a host owed for one payment was set off against what another was to bring: nothing moves at Stripe."""
    PAYOUT = "PAYOUT"
    PAYOUT_PAID = "PAYOUT_PAID"
    PAYOUT_FAILED = "PAYOUT_FAILED"
    TOP_UP = "TOP_UP"
    STRIPE_FEE = "STRIPE_FEE"
    SETTLEMENT = "SETTLEMENT"
    """Stripe's balance transaction for another movement: the conversion into what was settled, and Stripe's fee."""
    ADJUSTMENT = "ADJUSTMENT"


class LedgerAccount(Identified):
    """One pot: of the platform (no owner) or of a user, of one kind, in one currency."""

    owner_id: UUID | None = fields.UUIDField(null=True)
    kind = fields.CharEnumField(LedgerAccountKind, max_length=24)
    currency = fields.CharField(max_length=3)

    class Meta:
        table = "ledger_accounts"


class LedgerTransaction(Identified):
    """One movement of money.

    `reference` names what caused it, once and for ever ("charge:ch_…"); with `occurred_at`, Stripe's own time of that
    object, it is unique, so that a fact that comes in twice is posted once.
    """

    kind = fields.CharEnumField(LedgerTransactionKind, max_length=32)
    reference = fields.CharField(max_length=255)
    occurred_at: datetime = fields.DatetimeField()
    payment_id: UUID | None = fields.UUIDField(null=True)
    refund_id: UUID | None = fields.UUIDField(null=True)
    stripe_account = fields.CharField(max_length=64, default="")
    stripe_object_id = fields.CharField(max_length=64, null=True)

    class Meta:
        table = "ledger_transactions"


class LedgerPosting(Identified):
    """One side of a transaction: so many minor units into (or, negative, out of) an account."""

    transaction_id: UUID = fields.UUIDField()
    account_id: UUID = fields.UUIDField()
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)

    class Meta:
        table = "ledger_postings"


class LedgerDay(Identified):
    """What moved on one day (UTC, by `occurred_at`) through all pots of a kind and currency, as far as it is added up.

    Days are added up by the ids of their postings, which carry the time of posting: `LedgerRollup` says up to which.
    """

    day: date = fields.DateField()
    kind = fields.CharEnumField(LedgerAccountKind, max_length=24)
    currency = fields.CharField(max_length=3)
    amount_minor: int = fields.BigIntField()

    class Meta:
        table = "ledger_days"


class LedgerRollup(Changing):
    """Up to which posting days are added up: all whose ids are below `through_id`; one row at most."""

    through_id: UUID = fields.UUIDField()

    class Meta:
        table = "ledger_rollups"
