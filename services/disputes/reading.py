"""Disputes for those who may see them: the hosts, service and admin. Guests do not: their bank tells them.

Hosts who have a part of the payment bear it with the activity's host, and see it; to answer it is the latter's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.base import from_record
from models.disputes import Dispute
from models.payments import Payment
from services.errors import Forbidden, NotFound
from services.visibility import masked_email

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from models.disputes import DisputeStatus
    from models.sets import AnyConnection
    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer

_LOCK: Final = """
SELECT p.*, host.external_id AS host_external_id, pg_current_xact_id()::text::bigint AS xid,
    EXISTS (SELECT FROM payment_allocations s JOIN users other ON other.id = s.host_id
        WHERE s.payment_id = p.id AND other.external_id = $2) AS shares
FROM payments p LEFT JOIN users host ON host.id = p.host_id
WHERE p.id = (SELECT payment_id FROM disputes WHERE id = $1) FOR NO KEY UPDATE OF p
"""
_EMAIL: Final = "customer_email_address"
# Those that wait for an answer first, the most pressing of them at the top; then the newest.
_PLACE: Final = (
    "CASE WHEN {0}.status LIKE '%NEEDS_RESPONSE' THEN coalesce({0}.evidence_due_by, '9999-01-01Z') ELSE 'infinity' END",
    "-extract(epoch FROM {0}.stripe_created_at)",
    "{0}.id",
)


@dataclass(frozen=True, slots=True)
class LockedDispute:
    """A dispute and its payment, locked, and the transaction's id."""

    dispute: Dispute
    payment: Payment
    xid: int


async def lock_dispute(connection: AnyConnection, viewer: Viewer, dispute_id: UUID) -> LockedDispute:
    """A dispute for who may answer it: the activity's host, service and admin; its payment is locked.

    Raises: Forbidden for the other hosts, who only see it; NotFound for everybody else, its guest too.
    """
    record = await connection.fetchrow(_LOCK, dispute_id, viewer.external_id)
    answers = record is not None and (viewer.sees_everything or record["host_external_id"] == viewer.external_id)
    if record is not None and record["shares"] and not answers:
        raise Forbidden("The activity's host answers this dispute.")
    if record is None or not answers:
        raise NotFound("There is no such dispute.", path=["input", "disputeId"])
    found: Any = await connection.fetchrow("SELECT * FROM disputes WHERE id = $1", dispute_id)
    return LockedDispute(from_record(Dispute, found), from_record(Payment, record), record["xid"])


def visible_texts(viewer: Viewer, texts: Mapping[str, str]) -> dict[str, str]:
    """Texts of the evidence, for whoever may see the dispute: hosts see a guest's address as they do elsewhere."""
    if viewer.sees_everything:
        return dict(texts)
    return {name: masked_email(text) if name == _EMAIL else text for name, text in texts.items()}


async def list_disputes(
    services: Services, *, viewer: Viewer, status: Sequence[DisputeStatus] | None, page: PageRequest
) -> Page[Dispute]:
    """A page of the disputes that the viewer may see: those that wait for an answer by their deadlines, then the rest,
    the newest first.
    """
    values: list[Any] = []
    conditions = ["true"]
    if status is not None:
        values.append([one.value for one in status])
        conditions.append(f"d.status = ANY(${len(values)})")
    if not viewer.sees_everything:
        values.append(viewer.external_id)
        conditions.append(
            f"EXISTS (SELECT FROM payments p JOIN users me ON me.external_id = ${len(values)} WHERE p.id = d.payment_id"
            " AND (p.host_id = me.id OR EXISTS (SELECT FROM payment_allocations s"
            " WHERE s.payment_id = p.id AND s.host_id = me.id)))"
        )
    for operator, cursor in ((">", page.after), ("<", page.before)):
        if cursor is not None:
            values.append(cursor)
            there = f"(SELECT {_place('c')} FROM disputes c WHERE c.id = ${len(values)})"
            conditions.append(f"({_place('d')}) {operator} {there}")
    order = ", ".join(f"{part.format('d')} {'DESC' if page.backwards else 'ASC'}" for part in _PLACE)
    sql = f"SELECT d.* FROM disputes d WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {page.limit + 1}"
    records = await services.database.pool.fetch(sql, *values)
    return page.page([from_record(Dispute, record) for record in records])


def _place(alias: str) -> str:
    return ", ".join(part.format(alias) for part in _PLACE)
