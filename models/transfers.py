"""Transfers of hosts' parts from the platform's balance to their accounts, and what was taken back of them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing
from models.money import Money

if TYPE_CHECKING:
    from models.payments import Payment, PaymentAllocation


class TransferStatus(StrEnum):
    """PLANNED until Stripe has answered; REFUSED is final: what it was to bring is owed again."""

    PLANNED = "PLANNED"
    PAID = "PAID"
    REFUSED = "REFUSED"


class Transfer(Changing):
    """One transfer of (part of) a host's part ("The Transfer object").

    `amount` is in the currency of the transfer, which is the one that the charge settled in; `covers_minor` is how much
    of the host's part it pays, in the payment's currency. A destination charge's own transfer has no row here: its id
    is in the allocation.
    """

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="transfers", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    allocation: fields.ForeignKeyRelation[PaymentAllocation] = fields.ForeignKeyField(
        "models.PaymentAllocation", related_name="transfers", on_delete=fields.RESTRICT
    )
    allocation_id: UUID
    operation_id: UUID = fields.UUIDField()
    stripe_account_id = fields.CharField(max_length=64)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    covers_minor: int = fields.BigIntField()
    status = fields.CharEnumField(TransferStatus, max_length=16, default=TransferStatus.PLANNED)
    stripe_transfer_id = fields.CharField(max_length=64, null=True, unique=True)
    failure_code = fields.CharField(max_length=64, null=True)

    class Meta:
        table = "transfers"

    @property
    def amount(self) -> Money:
        """What the host's account is sent."""
        return Money(self.amount_minor, self.currency)


class TransferReversal(Changing):
    """What was taken back of a transfer, for a refund, a lost dispute, or a debt ("The Transfer Reversal object").

    `transfer` is null where the transfer is a destination charge's own. `amount` is in the transfer's currency,
    `covers_minor` in the payment's. REFUSED: the host's balance did not have it, and the host owes it to the platform.
    """

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="transfer_reversals", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    allocation: fields.ForeignKeyRelation[PaymentAllocation] = fields.ForeignKeyField(
        "models.PaymentAllocation", related_name="transfer_reversals", on_delete=fields.RESTRICT
    )
    allocation_id: UUID
    transfer: fields.ForeignKeyNullableRelation[Transfer] = fields.ForeignKeyField(
        "models.Transfer", related_name="reversals", on_delete=fields.RESTRICT, null=True
    )
    transfer_id: UUID | None
    refund_id: UUID | None = fields.UUIDField(null=True)
    dispute_id: UUID | None = fields.UUIDField(null=True)
    operation_id: UUID = fields.UUIDField()
    stripe_transfer_id = fields.CharField(max_length=64)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    covers_minor: int = fields.BigIntField()
    status = fields.CharEnumField(TransferStatus, max_length=16, default=TransferStatus.PLANNED)
    stripe_reversal_id = fields.CharField(max_length=64, null=True, unique=True)
    failure_code = fields.CharField(max_length=64, null=True)

    class Meta:
        table = "transfer_reversals"

    @property
    def amount(self) -> Money:
        """What the host's account gives back."""
        return Money(self.amount_minor, self.currency)


class TransferHold(StrEnum):
    """Why a host has not been sent what the platform holds for them."""

    ACTIVITY_NOT_OVER = "ACTIVITY_NOT_OVER"
    ACTIVITY_CANCELED = "ACTIVITY_CANCELED"
    DISPUTED = "DISPUTED"
    HOST_NOT_READY = "HOST_NOT_READY"
    REFUND_UNDER_WAY = "REFUND_UNDER_WAY"
    SETTLING = "SETTLING"
    """Stripe has not said yet what the charge came to."""
    REFUSED = "REFUSED"
    """Stripe refused the last transfer; it is tried again."""
    UNDER_WAY = "UNDER_WAY"
    """It is being sent."""
    HELD_BACK = "HELD_BACK"
    """A person took it back at Stripe, or it is worth less than the smallest unit: it is not sent by itself."""
