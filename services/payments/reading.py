"""Payments as lists: what each viewer may see of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.payments import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.payments import PaymentStatus
    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer


class Scope(Enum):
    """Whose payments."""

    VISIBLE = "VISIBLE"
    """All that the viewer may see: a user those that they make or host, service and admin all."""
    PAID = "PAID"
    """Those that the viewer makes."""


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments; None leaves a property open. `created_from` is included, `created_to` is not."""

    status: Sequence[PaymentStatus] | None = None
    activity_id: UUID | None = None
    payer_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    subscription_id: UUID | None = None


class _Conditions:
    """Conditions in SQL, with their parameters."""

    def __init__(self) -> None:
        self.sql = ""
        self.values: list[Any] = []

    def add(self, condition: str, value: Any) -> None:
        """Add one, with `{}` where its parameter goes."""
        self.values.append(value)
        self.sql += " AND " + condition.format(f"${len(self.values)}")


def _conditions(wanted: PaymentFilter) -> _Conditions:
    conditions = _Conditions()
    for condition, value in (
        ("p.status = ANY({})", None if wanted.status is None else [status.value for status in wanted.status]),
        ("p.activity_id = {}", wanted.activity_id),
        ("p.payer_id = {}", wanted.payer_id),
        ("p.subscription_id = {}", wanted.subscription_id),
        ("p.created_at >= {}", wanted.created_from),
        ("p.created_at < {}", wanted.created_to),
    ):
        if value is not None:
            conditions.add(condition, value)
    return conditions


def _parties(viewer: Viewer, scope: Scope) -> tuple[str, ...]:
    """The columns of which one must name the viewer; none where all may be seen."""
    if scope is Scope.PAID:
        return ("payer_id",)
    return () if viewer.sees_everything else ("payer_id", "host_id")


async def list_payments(
    services: Services, *, viewer: Viewer, wanted: PaymentFilter, page: PageRequest, scope: Scope = Scope.VISIBLE
) -> Page[Payment]:
    """A page of payments, newest first."""
    conditions = _conditions(wanted)
    keys, values = page.conditions("p.id", len(conditions.values) + 1)
    conditions.sql += keys
    conditions.values += values
    parties = _parties(viewer, scope)
    if not parties:
        sql = f"SELECT p.* FROM payments p WHERE true{conditions.sql}{page.order('p.id')}"
        records = await services.database.pool.fetch(sql, *conditions.values)
        return page.page([from_record(Payment, record) for record in records])
    me = f"(SELECT id FROM users WHERE external_id = ${len(conditions.values) + 1})"
    # Each party's index gives its newest in order; an OR over two columns could use neither.
    branches = " UNION ".join(
        f"(SELECT p.id FROM payments p WHERE p.{party} = {me}{conditions.sql}{page.order('p.id')})" for party in parties
    )
    sql = f"SELECT p.* FROM payments p JOIN ({branches}) k ON k.id = p.id{page.order('p.id')}"
    records = await services.database.pool.fetch(sql, *conditions.values, viewer.external_id)
    return page.page([from_record(Payment, record) for record in records])


async def count_payments(
    services: Services, *, viewer: Viewer, wanted: PaymentFilter, scope: Scope = Scope.VISIBLE
) -> int:
    """How many payments `list_payments` would list on all its pages."""
    conditions = _conditions(wanted)
    parties = _parties(viewer, scope)
    values = conditions.values
    whose = "true"
    if parties:
        values = [*values, viewer.external_id]
        me = f"(SELECT id FROM users WHERE external_id = ${len(values)})"
        whose = "(" + " OR ".join(f"p.{party} = {me}" for party in parties) + ")"
    sql = f"SELECT count(*) FROM payments p WHERE {whose}{conditions.sql}"
    return int(await services.database.pool.fetchval(sql, *values))
