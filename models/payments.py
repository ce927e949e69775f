"""Payments: their states and legal moves, who gets what of them, and each charge that was tried."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.activities import PayoutTiming
from models.base import Changing, Identified
from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.activities import Activity
    from models.invoices import Invoice
    from models.rsvps import Rsvp
    from models.subscriptions import BillingSubscription
    from models.users import User


class PaymentStatus(StrEnum):
    """Where a payment stands; derived from the payment intent's state and the amounts captured and refunded."""

    PENDING = "PENDING"
    REQUIRES_ACTION = "REQUIRES_ACTION"
    PROCESSING = "PROCESSING"
    AUTHORIZED = "AUTHORIZED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"

    @property
    def is_captured(self) -> bool:
        """Whether the guest's money has been taken, whatever was given back since."""
        return self in _CAPTURED

    @property
    def is_final(self) -> bool:
        """Whether the payment intent cannot move any more."""
        return self in _CAPTURED or self is PaymentStatus.CANCELED

    @property
    def can_be_canceled(self) -> bool:
        """Whether Stripe can still cancel the payment intent ("Cancel a PaymentIntent")."""
        return not self.is_final and self is not PaymentStatus.PROCESSING

    @property
    def can_be_retried(self) -> bool:
        """Whether the payment intent can be confirmed with another method."""
        return self in {PaymentStatus.FAILED, PaymentStatus.REQUIRES_ACTION, PaymentStatus.PENDING}

    def may_become(self, new: PaymentStatus) -> bool:
        """Whether this move is legal: nothing leaves CANCELED, and captured money is never uncaptured."""
        if self is PaymentStatus.CANCELED:
            return False
        if self.is_captured:
            return new.is_captured
        if self is PaymentStatus.AUTHORIZED:
            return new.is_final
        return new is not PaymentStatus.PENDING


_CAPTURED = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED})


class PaymentAdvice(StrEnum):
    """What a guest can do about a payment that was declined."""

    CONFIRM = "CONFIRM"
    CHECK_DETAILS = "CHECK_DETAILS"
    TRY_AGAIN = "TRY_AGAIN"
    TRY_LATER = "TRY_LATER"
    OTHER_METHOD = "OTHER_METHOD"
    CONTACT_BANK = "CONTACT_BANK"
    CHECK_PAYMENTS = "CHECK_PAYMENTS"


class SettlementStatus(StrEnum):
    """How far the money of a captured payment has come."""

    CAPTURED = "CAPTURED"
    SETTLED = "SETTLED"
    IN_PAYOUT = "IN_PAYOUT"
    AT_BANK = "AT_BANK"


class ChargeModel(StrEnum):
    """How a charge reaches its hosts ("Understand how charges work in a Connect integration")."""

    DESTINATION = "DESTINATION"
    SEPARATE = "SEPARATE"
    DIRECT = "DIRECT"
    PLATFORM = "PLATFORM"
    """No host has a part in it: an invoice of a subscription."""


class Payment(Changing):
    """One payment of a guest, with one payment intent for its whole life.

    Amounts are minor units. `amount`, captured, refunded, fee and host amounts are in the presentment currency;
    the settlement, host-credit and fee-credit pairs are what Stripe's balance transactions say, and null until then.
    It pays for an activity, or for an invoice of a subscription, which is the platform's alone.
    `refund_pending_minor` is reserved by refunds whose outcome is not known yet; `disputed_minor` is what disputes that
    are open or lost hold of it. `stripe_account` is the connected account that a DIRECT charge is made on, '' for the
    platform; `payout_timing` is the activity's when it was reserved, null where no host has a part. A payment that was
    declined while its guest was away is tried again at `next_attempt_at`; `retries` counts those tries.
    `version` counts its changes and `position` orders them in the event stream.
    """

    payer: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="payments", on_delete=fields.RESTRICT
    )
    payer_id: UUID
    activity: fields.ForeignKeyNullableRelation[Activity] = fields.ForeignKeyField(
        "models.Activity", related_name="payments", on_delete=fields.RESTRICT, null=True
    )
    activity_id: UUID | None
    host: fields.ForeignKeyNullableRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="received_payments", on_delete=fields.RESTRICT, null=True
    )
    host_id: UUID | None
    invoice: fields.ForeignKeyNullableRelation[Invoice] = fields.ForeignKeyField(
        "models.Invoice", related_name="payments", on_delete=fields.RESTRICT, null=True
    )
    invoice_id: UUID | None
    subscription: fields.ForeignKeyNullableRelation[BillingSubscription] = fields.ForeignKeyField(
        "models.BillingSubscription", related_name="payments", on_delete=fields.RESTRICT, null=True
    )
    subscription_id: UUID | None
    rsvp: fields.OneToOneNullableRelation[Rsvp] = fields.OneToOneField(
        "models.Rsvp", related_name="payment", on_delete=fields.RESTRICT, null=True
    )
    rsvp_id: UUID | None
    charge_model = fields.CharEnumField(ChargeModel, max_length=16)
    stripe_account = fields.CharField(max_length=64, default="")
    payout_timing: PayoutTiming | None = fields.CharEnumField(  # type: ignore[assignment]  # typed as never null
        PayoutTiming, max_length=16, null=True
    )
    status = fields.CharEnumField(PaymentStatus, max_length=24, default=PaymentStatus.PENDING)
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)

    currency = fields.CharField(max_length=3)
    amount_minor: int = fields.BigIntField()
    captured_minor: int = fields.BigIntField(default=0)
    refunded_minor: int = fields.BigIntField(default=0)
    refund_pending_minor: int = fields.BigIntField(default=0)
    disputed_minor: int = fields.BigIntField(default=0)
    platform_fee_minor: int = fields.BigIntField()
    host_amount_minor: int = fields.BigIntField()
    fee_refunded_minor: int = fields.BigIntField(default=0)

    settlement_currency = fields.CharField(max_length=3, null=True)
    settlement_minor: int | None = fields.BigIntField(null=True)
    settlement_exchange_rate: Decimal | None = fields.DecimalField(max_digits=24, decimal_places=12, null=True)
    balance_transaction_id = fields.CharField(max_length=64, null=True)
    host_credit_currency = fields.CharField(max_length=3, null=True)
    host_credit_minor: int | None = fields.BigIntField(null=True)
    fee_credit_currency = fields.CharField(max_length=3, null=True)
    fee_credit_minor: int | None = fields.BigIntField(null=True)

    capture_later = fields.BooleanField(default=False)
    capture_before: datetime | None = fields.DatetimeField(null=True)
    on_behalf_of = fields.CharField(max_length=64, null=True)
    stripe_payment_intent_id = fields.CharField(max_length=64, null=True, unique=True)
    stripe_charge_id = fields.CharField(max_length=64, null=True)
    client_secret = fields.CharField(max_length=255, null=True)
    next_action: dict[str, Any] | None = fields.JSONField(null=True)
    payment_method: dict[str, Any] | None = fields.JSONField(null=True)
    failure_code = fields.CharField(max_length=64, null=True)
    failure_decline_code = fields.CharField(max_length=64, null=True)
    failure_message: str | None = fields.TextField(null=True)
    failure_retryable = fields.BooleanField(null=True)
    retries = fields.IntField(default=0)
    next_attempt_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "payments"

    @property
    def amount(self) -> Money:
        """What was asked for; authorized where it is captured later."""
        return Money(self.amount_minor, self.currency)

    @property
    def captured(self) -> Money:
        """What was taken."""
        return Money(self.captured_minor, self.currency)

    @property
    def refunded(self) -> Money:
        """What was given back for good."""
        return Money(self.refunded_minor, self.currency)

    @property
    def refundable(self) -> Money:
        """What can still be given back: captured, less refunds made and under way, and what is disputed or lost."""
        left = self.captured_minor - self.refunded_minor - self.refund_pending_minor - self.disputed_minor
        return Money(max(0, left), self.currency)

    @property
    def platform_fee(self) -> Money:
        """The platform's part, before refunds."""
        return Money(self.platform_fee_minor, self.currency)

    @property
    def host_amount(self) -> Money:
        """The hosts' part, before refunds."""
        return Money(self.host_amount_minor, self.currency)


class PaymentAllocation(Identified):
    """One host's part of a payment; a payment of a single host has one too.

    Minor units of the payment's currency: `amount` is the host's part net of the platform's fee, `transferred` what of
    it was sent, `reversed` what was taken back of it (negative where a refund only gave the fee back), `owed` what the
    platform holds of it, as before it is released and after a refund that failed (negative where the host owes the
    platform). `share` is the host's share of the hosts' part; all of a payment's add up to one. `release_at` is when to
    look next whether what is owed can be sent; null: there is nothing to send. `stripe_account_id` is '' where the host
    has no account yet.
    """

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="allocations", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    host: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="allocations", on_delete=fields.RESTRICT
    )
    host_id: UUID
    stripe_account_id = fields.CharField(max_length=64)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    share: Decimal = fields.DecimalField(max_digits=20, decimal_places=18, default=Decimal(1))
    release_at: datetime | None = fields.DatetimeField(null=True)
    stripe_transfer_id = fields.CharField(max_length=64, null=True)
    transferred_minor: int = fields.BigIntField(default=0)
    reversed_minor: int = fields.BigIntField(default=0)
    owed_minor: int = fields.BigIntField(default=0)

    class Meta:
        table = "payment_allocations"

    @property
    def amount(self) -> Money:
        """The host's part."""
        return Money(self.amount_minor, self.currency)

    @property
    def owed(self) -> Money:
        """What the platform holds of it; below zero what the host owes the platform."""
        return Money(self.owed_minor, self.currency)


class PaymentAttempt(Identified):
    """One charge that was tried for a payment: a row for each of Stripe's charges."""

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="attempts", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    stripe_charge_id = fields.CharField(max_length=64, unique=True)
    status = fields.CharField(max_length=24)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    payment_method: dict[str, Any] | None = fields.JSONField(null=True)
    failure_code = fields.CharField(max_length=64, null=True)
    decline_code = fields.CharField(max_length=64, null=True)
    stripe_created_at = fields.DatetimeField()

    class Meta:
        table = "payment_attempts"


def shares_of(whole: Money, shares: Sequence[Decimal]) -> list[Money]:
    """What each share is of an amount: they add up to the whole, by the largest-remainder method."""
    digits = max(0, *(-int(share.as_tuple().exponent) for share in shares))
    return whole.split([int(share.scaleb(digits)) for share in shares])
