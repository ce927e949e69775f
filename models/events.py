"""Changes of state, a row each, written with the change itself: the source of history and of live updates."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields

from models.base import Identified


class EventSubject(StrEnum):
    """What kind of thing changed."""

    PAYMENT = "PAYMENT"
    CONNECT_ACCOUNT = "CONNECT_ACCOUNT"
    SUBSCRIPTION = "SUBSCRIPTION"
    PAYOUT = "PAYOUT"
    DISPUTE = "DISPUTE"
    ACTIVITY_CANCELLATION = "ACTIVITY_CANCELLATION"


class Event(Identified):
    """One change of one subject.

    `version` grows by one per subject. `position` is the greater of the writing transaction's id and the subject's
    last position: never below the transaction's id, so that a reader below the oldest running transaction misses
    nothing, and never falling for one subject, so that its changes stay in order. (position, version, subject) is the
    total order of the stream. `xid` is the writing transaction. `created_at` is when it occurred.
    """

    subject_type = fields.CharEnumField(EventSubject, max_length=24)
    subject_id: UUID = fields.UUIDField()
    version = fields.IntField()
    position: int = fields.BigIntField()
    xid: int = fields.BigIntField()
    previous_status = fields.CharField(max_length=24, null=True)
    status = fields.CharField(max_length=24)
    payer_id: UUID | None = fields.UUIDField(null=True)
    host_id: UUID | None = fields.UUIDField(null=True)
    activity_id: UUID | None = fields.UUIDField(null=True)
    detail: dict[str, Any] = fields.JSONField(default=dict)

    class Meta:
        table = "events"


class StreamEpoch(Identified):
    """Counts restores: transaction ids start anew after one, and cursors of an older epoch must not be believed."""

    epoch = fields.IntField(unique=True)

    class Meta:
        table = "stream_epochs"
