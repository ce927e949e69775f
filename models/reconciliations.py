"""Reconciliation: runs that compare Stripe's books with ours, and what they found."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from collections.abc import Mapping


class DriftKind(StrEnum):
    """How ours and Stripe's differ."""

    MISSING_HERE = "MISSING_HERE"
    MISSING_AT_STRIPE = "MISSING_AT_STRIPE"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    STATUS_DIFFERS = "STATUS_DIFFERS"


class DriftRepair(StrEnum):
    """What can safely be done about a drift."""

    SETTLE = "SETTLE"
    POST = "POST"
    MIRROR = "MIRROR"


class ReconciliationRun(Changing):
    """One comparison of a period, [from, to), of the platform and all connected accounts.

    `progress` is where it stands, so that it goes on there wherever it was broken off: `account` ('' for the platform),
    the `kind` of object that is compared, the second `until` which is left to compare, counted back from `end`, and how
    many of all accounts are done, or skipped as nothing moved there. One runs at a time.
    """

    from_at: datetime = fields.DatetimeField()
    to_at: datetime = fields.DatetimeField()
    requested_by = fields.CharField(max_length=300)
    checked: int = fields.BigIntField(default=0)
    matched: int = fields.BigIntField(default=0)
    progress: Mapping[str, Any] = fields.JSONField(default=dict)
    finished_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "reconciliation_runs"


class Drift(Changing):
    """One difference that a run found; `repair` is what can safely be done about it (null: a person has to tell).

    `detail` says in words what differs and what the repair would do, `resolution` what became of it.
    """

    run: fields.ForeignKeyRelation[ReconciliationRun] = fields.ForeignKeyField(
        "models.ReconciliationRun", related_name="drifts", on_delete=fields.RESTRICT
    )
    run_id: UUID
    kind = fields.CharEnumField(DriftKind, max_length=24)
    object_type = fields.CharField(max_length=32)
    stripe_id = fields.CharField(max_length=64)
    stripe_account = fields.CharField(max_length=64, default="")
    here_minor: int | None = fields.BigIntField(null=True)
    here_currency = fields.CharField(max_length=3, null=True)
    at_stripe_minor: int | None = fields.BigIntField(null=True)
    at_stripe_currency = fields.CharField(max_length=3, null=True)
    detail: str = fields.TextField()
    repair: DriftRepair | None = fields.CharEnumField(  # type: ignore[assignment]  # typed as never null
        DriftRepair, max_length=32, null=True
    )
    resolution: str | None = fields.TextField(null=True)
    repaired_at: datetime | None = fields.DatetimeField(null=True)
    repaired_by = fields.CharField(max_length=300, null=True)

    class Meta:
        table = "drifts"
