"""Who did what, and what it changed: append only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tortoise import fields

from models.base import Identified


class AuditEntry(Identified):
    """One recorded act; `created_at` is when, `actor` a caller ("user:alice"), Stripe's event or a job."""

    actor = fields.CharField(max_length=300)
    action = fields.CharField(max_length=64)
    subject_type = fields.CharField(max_length=32)
    subject_id: UUID = fields.UUIDField()
    before: dict[str, Any] | None = fields.JSONField(null=True)
    after: dict[str, Any] | None = fields.JSONField(null=True)

    class Meta:
        table = "audit_entries"
