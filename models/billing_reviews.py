"""Reviews of billing: each live subscription compared with Stripe, page by page."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tortoise import fields

from models.base import Changing


class BillingReview(Changing):
    """One review; it goes on after `after`, the last subscription that was compared, wherever it was broken off."""

    total = fields.IntField()
    checked = fields.IntField(default=0)
    repaired = fields.IntField(default=0)
    failed = fields.IntField(default=0)
    after: UUID | None = fields.UUIDField(null=True)
    finished_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "billing_reviews"
