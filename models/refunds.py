"""Refunds: money given back to a guest, and who gave it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing
from models.money import Money

if TYPE_CHECKING:
    from models.payments import Payment


class RefundStatus(StrEnum):
    """Where a refund stands; one that succeeded can still fail (Stripe's "Handle failed refunds")."""

    PENDING = "PENDING"
    REQUIRES_ACTION = "REQUIRES_ACTION"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def holds_money(self) -> bool:
        """Whether its amount counts against what is left to refund."""
        return self not in _GIVEN_UP

    def may_become(self, new: RefundStatus) -> bool:
        """Whether this move is legal: nothing leaves FAILED or CANCELED, and success is only left by failing."""
        if self in _GIVEN_UP:
            return False
        if self is RefundStatus.SUCCEEDED:
            return new is RefundStatus.FAILED
        return new is not self


_GIVEN_UP = frozenset({RefundStatus.FAILED, RefundStatus.CANCELED})


class RefundReason(StrEnum):
    """Why; the first three are Stripe's own."""

    REQUESTED_BY_CUSTOMER = "REQUESTED_BY_CUSTOMER"
    DUPLICATE = "DUPLICATE"
    FRAUDULENT = "FRAUDULENT"
    ACTIVITY_CANCELED = "ACTIVITY_CANCELED"


class RefundOrigin(StrEnum):
    """Where it was asked for."""

    PAYDESK = "PAYDESK"
    STRIPE = "STRIPE"


class Refund(Changing):
    """One refund of a payment, in the payment's currency.

    Who bears it: `fee_minor` the platform's fee given back, `host_minor` the host, `platform_minor` the platform beyond
    its fee (a refund made at Stripe without taking the host's part back); together the amount, and what is expected
    until Stripe has made it. What Stripe did: `transfer_reversed_minor` was taken back of the host's transfer, and
    `application_fee_refunded_minor` of the fee given back to the host.
    """

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="refunds", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    fee_minor: int = fields.BigIntField(default=0)
    host_minor: int = fields.BigIntField(default=0)
    platform_minor: int = fields.BigIntField(default=0)
    transfer_reversed_minor: int = fields.BigIntField(default=0)
    application_fee_refunded_minor: int = fields.BigIntField(default=0)
    status = fields.CharEnumField(RefundStatus, max_length=24, default=RefundStatus.PENDING)
    reason: RefundReason | None = fields.CharEnumField(  # type: ignore[assignment]  # typed as never null
        RefundReason, max_length=32, null=True
    )
    origin = fields.CharEnumField(RefundOrigin, max_length=16, default=RefundOrigin.PAYDESK)
    stripe_refund_id = fields.CharField(max_length=64, null=True, unique=True)
    failure_reason = fields.CharField(max_length=255, null=True)
    requested_by = fields.CharField(max_length=300)

    class Meta:
        table = "refunds"

    @property
    def amount(self) -> Money:
        """What the guest gets back."""
        return Money(self.amount_minor, self.currency)
