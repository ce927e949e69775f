"""Changes: a version and a place for each, written with what changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from models.audit import AuditEntry
from models.events import Event, EventSubject
from services.changes import ChangeSet

if TYPE_CHECKING:
    from services.database import Database


@dataclass
class Subject:
    id: UUID = field(default_factory=uuid4)
    version: int = 1
    position: int = 0


async def change(database: Database, subject: Subject, *statuses: str, actor: str | None = None) -> int:
    """Record these statuses in one transaction; its id."""
    async with database.transaction() as connection:
        xid = int(await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        changes = ChangeSet("user:alice", xid)
        for status in statuses:
            changes.record(
                EventSubject.PAYMENT, subject, f"payment.{status.lower()}",
                previous_status=None if status == "NEW" else "OLD", status=status, before={"status": "OLD"},
                after={"status": status}, payer_id=subject.id, actor=actor,
            )  # fmt: skip
        await changes.write(connection)
    return xid


async def test_a_creation_keeps_the_version_it_was_made_with_and_a_change_counts_on(database: Database) -> None:
    subject = Subject()
    first = await change(database, subject, "NEW")
    second = await change(database, subject, "PAID", "REFUNDED")
    events = await Event.filter(subject_id=subject.id).order_by("version")
    assert [(event.version, event.previous_status, event.status) for event in events] == [
        (1, None, "NEW"), (2, "OLD", "PAID"), (3, "OLD", "REFUNDED"),
    ]  # fmt: skip
    assert [event.xid for event in events] == [first, second, second]
    assert [event.position for event in events] == [first, second, second]
    assert (subject.version, subject.position) == (3, second)
    assert {event.payer_id for event in events} == {subject.id}


async def test_a_place_is_never_before_the_subject_s_last_nor_before_the_transaction(database: Database) -> None:
    """A transaction that began first may write last: it is placed after what the subject already has."""
    subject = Subject()
    async with database.transaction() as early:
        xid = int(await early.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        late = await change(database, subject, "PAID")
        assert late > xid
        changes = ChangeSet("user:alice", xid)
        changes.record(
            EventSubject.PAYMENT, subject, "payment.refunded", previous_status="PAID", status="REFUNDED", before=None,
            after={},
        )  # fmt: skip
        await changes.write(early)
    events = await Event.filter(subject_id=subject.id).order_by("version")
    assert [event.position for event in events] == [late, late]
    assert [event.xid for event in events] == [late, xid]


async def test_every_change_is_in_the_audit_with_who_and_before_and_after(database: Database) -> None:
    subject = Subject()
    await change(database, subject, "PAID")
    await change(database, subject, "REFUNDED", actor="stripe:evt_1")
    entries = await AuditEntry.filter(subject_id=subject.id).order_by("id")
    assert [(entry.actor, entry.action, entry.subject_type) for entry in entries] == [
        ("user:alice", "payment.paid", "PAYMENT"), ("stripe:evt_1", "payment.refunded", "PAYMENT"),
    ]  # fmt: skip
    assert [(entry.before, entry.after) for entry in entries] == [
        ({"status": "OLD"}, {"status": "PAID"}), ({"status": "OLD"}, {"status": "REFUNDED"}),
    ]  # fmt: skip


async def test_an_act_alone_is_audited_and_is_no_event(database: Database) -> None:
    async with database.transaction() as connection:
        changes = ChangeSet("service:platform", 1)
        changes.audit("user.created", "USER", uuid4(), before=None, after={"name": "Zoë"})
        await changes.write(connection)
    [entry] = await AuditEntry.all()
    assert (entry.action, entry.before, entry.after) == ("user.created", None, {"name": "Zoë"})
    assert await Event.all().count() == 0


async def test_what_is_rolled_back_never_happened(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            changes = ChangeSet("user:alice", 1)
            changes.audit("x", "USER", uuid4(), before=None, after=None)
            await changes.write(connection)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await AuditEntry.all().count() == 0


async def test_a_version_is_taken_once(database: Database) -> None:
    subject = Subject()
    await change(database, subject, "PAID")
    subject.version = 1
    with pytest.raises(Exception, match="events_are_one_per_version"):
        await change(database, subject, "PAID")


async def test_recorded_values_are_copies(database: Database) -> None:
    subject, after = Subject(), {"status": "PAID"}
    changes = ChangeSet("user:alice", 1)
    changes.record(
        EventSubject.PAYMENT, subject, "payment.paid", previous_status="OLD", status="PAID", before=after, after=after
    )
    after["status"] = "changed later"
    assert _details(changes) == [{"status": "PAID"}]


def _details(changes: ChangeSet) -> list[dict[str, Any]]:
    return [event.detail for event in changes.events]
