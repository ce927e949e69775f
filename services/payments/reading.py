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


def _branches(viewer: Viewer, scope: Scope, me: str, conditions: str) -> list[tuple[str, str]]:
    """The ids of the viewer's payments in SQL, and the column of each that they are in the order of; none where all may
    be seen. Each party's index gives its newest in order; an OR could use none of them.
    """
    if scope is Scope.VISIBLE and viewer.sees_everything:
        return []
    parties = ("payer_id",) if scope is Scope.PAID else ("payer_id", "host_id")
    branches = [(f"SELECT p.id FROM payments p WHERE p.{party} = {me}{conditions}", "p.id") for party in parties]
    if scope is Scope.VISIBLE:
        shared = f"""SELECT s.payment_id FROM payment_allocations s JOIN payments p ON p.id = s.payment_id
            WHERE s.host_id = {me}{conditions.replace("p.id", "s.payment_id")}"""
        branches.append((shared, "s.payment_id"))
    return branches


async def list_payments(
    services: Services, *, viewer: Viewer, wanted: PaymentFilter, page: PageRequest, scope: Scope = Scope.VISIBLE
) -> Page[Payment]:
    """A page of payments, newest first."""
    conditions = _conditions(wanted)
    keys, values = page.conditions("p.id", len(conditions.values) + 1)
    conditions.sql += keys
    conditions.values += values
    me = f"(SELECT id FROM users WHERE external_id = ${len(conditions.values) + 1})"
    branches = _branches(viewer, scope, me, conditions.sql)
    if not branches:
        sql = f"SELECT p.* FROM payments p WHERE true{conditions.sql}{page.order('p.id')}"
        records = await services.database.pool.fetch(sql, *conditions.values)
        return page.page([from_record(Payment, record) for record in records])
    theirs = " UNION ".join(f"({branch}{page.order(column)})" for branch, column in branches)
    sql = f"SELECT p.* FROM payments p JOIN ({theirs}) k ON k.id = p.id{page.order('p.id')}"
    records = await services.database.pool.fetch(sql, *conditions.values, viewer.external_id)
    return page.page([from_record(Payment, record) for record in records])


async def count_payments(
    services: Services, *, viewer: Viewer, wanted: PaymentFilter, scope: Scope = Scope.VISIBLE
) -> int:
    """How many payments `list_payments` would list on all its pages."""
    conditions = _conditions(wanted)
    me = f"(SELECT id FROM users WHERE external_id = ${len(conditions.values) + 1})"
    branches = _branches(viewer, scope, me, conditions.sql)
    if not branches:
        sql = f"SELECT count(*) FROM payments p WHERE true{conditions.sql}"
        return int(await services.database.pool.fetchval(sql, *conditions.values))
    theirs = " UNION ".join(branch for branch, _ in branches)
    sql = f"SELECT count(*) FROM ({theirs}) k"
    return int(await services.database.pool.fetchval(sql, *conditions.values, viewer.external_id))
