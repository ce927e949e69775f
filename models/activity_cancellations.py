"""Cancelling an activity: everybody who holds seats gets their money back."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.activities import Activity
    from models.payments import Payment


class CancellationStatus(StrEnum):
    """RUNNING until each guest has been dealt with."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"


class CancellationOutcome(StrEnum):
    """What became of one payment; PENDING is not an outcome yet."""

    PENDING = "PENDING"
    REFUNDED = "REFUNDED"
    CANCELED = "CANCELED"
    NOTHING_TO_REFUND = "NOTHING_TO_REFUND"
    FAILED = "FAILED"


class ActivityCancellation(Changing):
    """One cancellation of one activity, which goes on after any crash until it is finished.

    `version` and `position` order its progress in the event stream.
    """

    activity: fields.OneToOneRelation[Activity] = fields.OneToOneField(
        "models.Activity", related_name="cancellation", on_delete=fields.RESTRICT
    )
    activity_id: UUID
    status = fields.CharEnumField(CancellationStatus, max_length=16, default=CancellationStatus.RUNNING)
    reason: str | None = fields.TextField(null=True)
    requested_by = fields.CharField(max_length=300)
    total = fields.IntField(default=0)
    done = fields.IntField(default=0)
    failed = fields.IntField(default=0)
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)
    finished_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "activity_cancellations"


class ActivityCancellationItem(Changing):
    """One payment of a cancelled activity, and what became of it."""

    cancellation: fields.ForeignKeyRelation[ActivityCancellation] = fields.ForeignKeyField(
        "models.ActivityCancellation", related_name="items", on_delete=fields.RESTRICT
    )
    cancellation_id: UUID
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "models.Payment", related_name="cancellation_items", on_delete=fields.RESTRICT
    )
    payment_id: UUID
    outcome = fields.CharEnumField(CancellationOutcome, max_length=24, default=CancellationOutcome.PENDING)
    refund_id: UUID | None = fields.UUIDField(null=True)
    error: str | None = fields.TextField(null=True)
    attempts = fields.IntField(default=0)
    next_attempt_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "activity_cancellation_items"
