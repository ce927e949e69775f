"""The audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import orjson
import strawberry

from schema.described import object_type
from schema.ids import global_id
from schema.nodes import Node
from schema.pages import Connection
from services.audit import entry_hash

if TYPE_CHECKING:
    from models.audit import AuditEntry as AuditEntryRow


def subject_type(name: str) -> str:
    """The type here of what an entry calls "CONNECT_ACCOUNT": ConnectAccount."""
    # "Subscription" is GraphQL's own.
    return "BillingSubscription" if name == "SUBSCRIPTION" else name.title().replace("_", "")


@object_type
class AuditEntry(Node):
    """One recorded act. Visible to admins."""

    actor: str = strawberry.field(description="Who: `user:alice`, `stripe:evt_…` or a job.")
    action: str = strawberry.field(description="What: `payment.succeeded` …")
    subject: strawberry.ID = strawberry.field(description="The id of what it was done to.")
    detail: str = strawberry.field(description="What it changed: JSON of the subject `before` and `after`.")
    hash: str = strawberry.field(description="SHA-256, in hexadecimal, of all that the entry says.")
    occurred_at: datetime = strawberry.field(description="When.")

    @classmethod
    def of(cls, row: AuditEntryRow) -> AuditEntry:
        """From its row."""
        return cls(
            id=global_id("AuditEntry", row.id),
            actor=row.actor,
            action=row.action,
            subject=global_id(subject_type(row.subject_type), row.subject_id),
            detail=orjson.dumps({"before": row.before, "after": row.after}, option=orjson.OPT_SORT_KEYS).decode(),
            hash=entry_hash(row),
            occurred_at=row.created_at,
        )


@object_type
class AuditEntryConnection(Connection[AuditEntry]):
    """A page of the audit trail, newest first."""
