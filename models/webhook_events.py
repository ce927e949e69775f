"""The inbox: every event that Stripe sent, once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from tortoise import fields

from models.base import Identified


class WebhookEventStatus(StrEnum):
    """RECEIVED until handled; FAILED after its last try; IGNORED where no handler wants its type."""

    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    FAILED = "FAILED"
    IGNORED = "IGNORED"


class WebhookEvent(Identified):
    """One of Stripe's events; `account` is '' for the platform's own. `created_at` is when it was received."""

    stripe_event_id = fields.CharField(max_length=255)
    account = fields.CharField(max_length=64, default="")
    stripe_created_at: datetime = fields.DatetimeField()
    type = fields.CharField(max_length=128)
    api_version = fields.CharField(max_length=64, null=True)
    payload: dict[str, Any] = fields.JSONField()
    status = fields.CharEnumField(WebhookEventStatus, max_length=16, default=WebhookEventStatus.RECEIVED)
    attempts = fields.IntField(default=0)
    next_attempt_at: datetime | None = fields.DatetimeField(null=True)
    last_error: str | None = fields.TextField(null=True)
    processed_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "webhook_events"

    @property
    def actor(self) -> str:
        """In whose name it changes anything, as the audit trail has it."""
        return f"stripe:{self.stripe_event_id}"


class SweepWatermark(Identified):
    """How far the gap sweeper has seen an account's events; `account` is '' for the platform."""

    account = fields.CharField(max_length=64, unique=True)
    seen_until: datetime = fields.DatetimeField()

    class Meta:
        table = "sweep_watermarks"
