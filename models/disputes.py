"""Disputes: a guest's bank takes a payment back, or asks about it; and warnings of fraud that precede them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.base import Changing, Identified
from models.money import Money

if TYPE_CHECKING:
    from models.payments import Payment


class DisputeStatus(StrEnum):
    """Stripe's states ("The Dispute object", status)."""

    WARNING_NEEDS_RESPONSE = "WARNING_NEEDS_RESPONSE"
    WARNING_UNDER_REVIEW = "WARNING_UNDER_REVIEW"
    WARNING_CLOSED = "WARNING_CLOSED"
    NEEDS_RESPONSE = "NEEDS_RESPONSE"
    UNDER_REVIEW = "UNDER_REVIEW"
    WON = "WON"
    LOST = "LOST"
    PREVENTED = "PREVENTED"

    @property
    def is_open(self) -> bool:
        """Whether it is not decided."""
        return self in _OPEN

    @property
    def is_inquiry(self) -> bool:
        """Whether the bank only asks: nothing is withdrawn, and a refund ends it ("Inquiries")."""
        return self in _INQUIRIES

    @property
    def is_lost(self) -> bool:
        """Whether what was withdrawn is the guest's."""
        return self in {DisputeStatus.LOST, DisputeStatus.PREVENTED}

    @property
    def takes_evidence(self) -> bool:
        """Whether it waits for an answer."""
        return self in {DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.NEEDS_RESPONSE}


_INQUIRIES = frozenset(
    {DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.WARNING_CLOSED}
)
_OPEN = frozenset(
    {
        DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_UNDER_REVIEW, DisputeStatus.NEEDS_RESPONSE,
        DisputeStatus.UNDER_REVIEW,
    }
)  # fmt: skip


class EvidenceFileField(StrEnum):
    """What a file of the evidence is, by Stripe's names ("The Dispute object", evidence)."""

    CANCELLATION_POLICY = "cancellation_policy"
    CUSTOMER_COMMUNICATION = "customer_communication"
    CUSTOMER_SIGNATURE = "customer_signature"
    DUPLICATE_CHARGE_DOCUMENTATION = "duplicate_charge_documentation"
    RECEIPT = "receipt"
    REFUND_POLICY = "refund_policy"
    SERVICE_DOCUMENTATION = "service_documentation"
    SHIPPING_DOCUMENTATION = "shipping_documentation"
    UNCATEGORIZED_FILE = "uncategorized_file"


class Dispute(Changing):
    """One dispute of a payment, in the payment's currency ("The Dispute object").

    `withdrawn_minor` is what the bank holds of the payment now, by the dispute's balance transactions; `host_minor` and
    `fee_minor` what was taken back of the hosts and given up of the platform's fee for one that was lost, zero
    otherwise. `evidence` is what Stripe has of it so far, by its names of the fields, staged or handed in; files stand
    beside it. `notes` are the platform's messages with the guest and what it knows beside: {at, author, text}.
    """

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="disputes", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    stripe_dispute_id = fields.CharField(max_length=64, unique=True)
    stripe_charge_id = fields.CharField(max_length=64)
    stripe_account = fields.CharField(max_length=64, default="")
    status = fields.CharEnumField(DisputeStatus, max_length=24)
    reason = fields.CharField(max_length=64)
    network_reason_code = fields.CharField(max_length=32, null=True)
    amount_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    withdrawn_minor: int = fields.BigIntField(default=0)
    fee_minor: int = fields.BigIntField(default=0)
    host_minor: int = fields.BigIntField(default=0)
    evidence_due_by: datetime | None = fields.DatetimeField(null=True)
    evidence: dict[str, Any] = fields.JSONField(default=dict)
    notes: list[dict[str, Any]] = fields.JSONField(default=list)
    submission_count = fields.IntField(default=0)
    is_charge_refundable = fields.BooleanField(default=False)
    stripe_created_at: datetime = fields.DatetimeField()
    closed_at: datetime | None = fields.DatetimeField(null=True)
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)

    class Meta:
        table = "disputes"

    @property
    def amount(self) -> Money:
        """What is disputed."""
        return Money(self.amount_minor, self.currency)

    @property
    def holds(self) -> Money:
        """What of the payment cannot be refunded for it: all that is disputed, or what the bank has taken and keeps.

        An inquiry holds nothing back, and neither does a dispute that was lost over what had been refunded before.
        """
        at_stake = self.status.is_open and not self.status.is_inquiry
        return Money(max(self.amount_minor, self.withdrawn_minor) if at_stake else self.withdrawn_minor, self.currency)


class EvidenceFile(Identified):
    """A file that stands in a dispute's evidence ("The File object"); its content is kept until Stripe has it.

    `size` is in bytes.
    """

    dispute: fields.ForeignKeyRelation[Dispute] = fields.ForeignKeyField(
        "models.Dispute", related_name="files", on_delete=fields.CASCADE
    )
    dispute_id: UUID
    field = fields.CharField(max_length=64)
    filename = fields.CharField(max_length=255)
    media_type = fields.CharField(max_length=64)
    content: bytes | None = fields.BinaryField(null=True)
    size: int = fields.IntField()
    stripe_file_id = fields.CharField(max_length=64, null=True)

    class Meta:
        table = "evidence_files"


class FraudWarning(Changing):
    """A bank's warning that a charge may be fraudulent ("The Early Fraud Warning object")."""

    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="fraud_warnings", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    stripe_warning_id = fields.CharField(max_length=64, unique=True)
    stripe_charge_id = fields.CharField(max_length=64)
    fraud_type = fields.CharField(max_length=64)
    actionable = fields.BooleanField()
    refund_id: UUID | None = fields.UUIDField(null=True)
    stripe_created_at: datetime = fields.DatetimeField()

    class Meta:
        table = "fraud_warnings"
