"""What one transaction changes beside its rows: the event of each change of state, and the audit entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from models.audit import AuditEntry
from models.base import new_id, new_row
from models.events import Event, EventSubject
from models.sets import Writes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from models.sets import AnyConnection


class Subject(Protocol):
    """A row whose changes are followed: it counts them, and knows its place in the stream."""

    id: UUID
    version: int
    position: int


class ChangeSet:
    """Collects events and audit entries, and writes each kind in one statement.

    Usage: lock the subjects with `pg_current_xact_id()` selected, change them, `record` each change, write the rows,
    then `write`.
    """

    def __init__(self, actor: str, xid: int) -> None:
        """
        Args:
            actor: who makes the change: a viewer's caller ("user:alice"), "stripe:evt_…" or "system:job".
            xid: the id of the transaction that writes it, `pg_current_xact_id()`.
        """
        self.actor = actor
        self.xid = xid
        self.events: list[Event] = []
        self.entries: list[AuditEntry] = []

    def record(
        self,
        subject_type: EventSubject,
        subject: Subject,
        action: str,
        *,
        previous_status: str | None,
        status: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        payer_id: UUID | None = None,
        host_id: UUID | None = None,
        activity_id: UUID | None = None,
        actor: str | None = None,
    ) -> None:
        """Record a change of a subject that is followed: its version and position move on, and the caller writes them.

        A creation has no `previous_status` and keeps the version it was made with.
        """
        if previous_status is not None:
            subject.version += 1
        subject.position = max(self.xid, subject.position)
        self.events.append(
            new_row(
                Event,
                id=new_id(), subject_type=subject_type, subject_id=subject.id, version=subject.version,
                position=subject.position, xid=self.xid, previous_status=previous_status, status=status,
                payer_id=payer_id, host_id=host_id, activity_id=activity_id, detail=dict(after),
            )  # fmt: skip
        )
        self.audit(action, subject_type.value, subject.id, before=before, after=after, actor=actor)

    def audit(
        self,
        action: str,
        subject_type: str,
        subject_id: UUID,
        *,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        actor: str | None = None,
    ) -> None:
        """Record an act alone; `actor` where it is not the change set's own."""
        self.entries.append(
            new_row(
                AuditEntry,
                id=new_id(), actor=actor or self.actor, action=action, subject_type=subject_type, subject_id=subject_id,
                before=None if before is None else dict(before), after=None if after is None else dict(after),
            )  # fmt: skip
        )

    def add_to(self, writes: Writes) -> None:
        """Write what was recorded together with the rows that it is about."""
        writes.insert(Event, self.events)
        writes.insert(AuditEntry, self.entries)

    async def write(self, connection: AnyConnection) -> None:
        """Write what was recorded, inside the transaction."""
        writes = Writes()
        self.add_to(writes)
        await writes.run(connection)
