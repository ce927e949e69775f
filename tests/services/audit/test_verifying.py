"""Whatever is done to the audit trail behind its back, the first row that does not fit is named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry, pack_leaves, unpack_leaves
from models.base import new_id
from models.merkle import merkle_root
from models.sets import insert_rows
from services.audit.hashing import ENTRY_COLUMNS, NO_SEAL, SealFacts, content_hash, record_content, seal_hash
from services.audit.verifying import AuditReport, Head, Misfit, count_sealed, verify
from tests.support.audit import entry, record, seal_all, tampering

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    Connection = asyncpg.Connection[Any]


@pytest.fixture
async def trail(connection: Connection) -> list[UUID]:
    """Twenty entries in five seals, and one that waits; their ids in order."""
    ids = await record(connection, 20)
    assert len(await seal_all(connection)) == 5
    return ids + await record(connection, 1)


async def found(connection: Connection, **options: Any) -> tuple[Misfit, str]:
    """How the first row that does not fit does not, and which."""
    report = await verify(connection, **options)
    assert report.finding is not None
    return report.finding.misfit, report.finding.subject


async def do(connection: Connection, statement: str, *values: Any) -> None:
    """Change what cannot be changed."""
    async with tampering(connection):
        assert not (await connection.execute(statement, *values)).endswith(" 0")


async def seal_of(connection: Connection, number: int) -> Any:
    return await connection.fetchrow("SELECT * FROM audit_seals WHERE number = $1", number)


async def forge(connection: Connection, number: int, **values: Any) -> None:
    """Make a seal whole again, with other values or over the entries that are there now."""
    row = await seal_of(connection, number)
    ids = [id_ for id_, _ in unpack_leaves(row["leaves"])]
    records = await connection.fetch(
        f"SELECT {ENTRY_COLUMNS} FROM audit_entries WHERE id = ANY($1) ORDER BY position, id", ids
    )
    sealed = [(record["id"], content_hash(record_content(record))) for record in records]
    seal = replace(SealFacts.of(row), root=merkle_root([hash_ for _, hash_ in sealed]), **values)
    await do(
        connection, "UPDATE audit_seals SET root = $2, leaves = $3, previous_hash = $4, hash = $5 WHERE number = $1",
        number, seal.root, pack_leaves(sealed), seal.previous_hash, seal_hash(seal.content),
    )  # fmt: skip


async def test_a_trail_that_nobody_touched_fits(connection: Connection, trail: list[UUID]) -> None:
    looked_at: list[int] = []
    report = await verify(connection, progress=looked_at.append)
    last = await seal_of(connection, 5)
    assert report == AuditReport(5, 20, Head(5, last["hash"]), 1, report.oldest_unsealed, None)
    assert report.oldest_unsealed is not None
    assert looked_at == [4, 8, 12, 16, 20]
    assert await count_sealed(connection) == 20


async def test_an_empty_trail_fits(connection: Connection) -> None:
    assert await verify(connection) == AuditReport(0, 0, None, 0, None, None)


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'user:mallory'", "action = 'payment.failed'", "subject_type = 'REFUND'", "before = NULL",
        "subject_id = gen_random_uuid()", "created_at = created_at + interval '1 microsecond'",
        """after = after || '{"number": 7000}'""", """after = after || '{"number": 1e400}'""",
        "after = (repeat('[', 300) || repeat(']', 300))::jsonb",
    ],
)  # fmt: skip
async def test_a_changed_entry_is_named(connection: Connection, trail: list[UUID], change: str) -> None:
    await do(connection, f"UPDATE audit_entries SET {change} WHERE id = $1", trail[9])
    assert await found(connection) == (Misfit.CHANGED, str(trail[9]))


async def test_the_first_of_several_is_named(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "UPDATE audit_entries SET actor = 'x' WHERE id = ANY($1)", [trail[17], trail[6], trail[7]])
    await do(connection, "DELETE FROM audit_entries WHERE id = $1", trail[10])
    report = await verify(connection)
    assert report.finding is not None
    assert (report.finding.misfit, report.finding.subject) == (Misfit.CHANGED, str(trail[6]))
    assert (report.seals, report.entries) == (1, 4)


@pytest.mark.parametrize("place", [0, 3, 4, 10, 19])
async def test_a_deleted_entry_is_named(connection: Connection, trail: list[UUID], place: int) -> None:
    await do(connection, "DELETE FROM audit_entries WHERE id = $1", trail[place])
    assert await found(connection) == (Misfit.DELETED, str(trail[place]))


async def test_of_many_deleted_entries_the_first_is_named(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "DELETE FROM audit_entries WHERE id = ANY($1)", trail[2:11])
    assert await found(connection) == (Misfit.DELETED, str(trail[2]))


async def test_an_entry_under_another_id_is_one_that_is_gone(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "UPDATE audit_entries SET id = $2 WHERE id = $1", trail[5], new_id())
    assert await found(connection) == (Misfit.DELETED, str(trail[5]))


@pytest.mark.parametrize("place", [0, 2, 3, 7, 19])
async def test_an_inserted_entry_is_named(connection: Connection, trail: list[UUID], place: int) -> None:
    position = await connection.fetchval("SELECT position FROM audit_entries WHERE id = $1", trail[place])
    one = entry()
    await insert_rows(connection, AuditEntry, [one])
    await do(connection, "UPDATE audit_entries SET position = $2 WHERE id = $1", one.id, position - 1)
    assert await found(connection) == (Misfit.INSERTED, str(one.id))


async def test_entries_that_were_inserted_by_the_thousand_are_not_read_by_the_thousand(
    connection: Connection, trail: list[UUID]
) -> None:
    position = await connection.fetchval("SELECT position FROM audit_entries WHERE id = $1", trail[5])
    ids = await record(connection, 3000, together=1000)
    await do(connection, "UPDATE audit_entries SET position = $2 WHERE id = ANY($1)", ids, position - 1)
    assert await found(connection) == (Misfit.INSERTED, str(min(ids)))


async def test_an_entry_where_none_is_ever_sealed_is_named(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "UPDATE audit_entries SET position = position + 1000000 WHERE id = $1", trail[20])
    assert await found(connection) == (Misfit.INSERTED, str(trail[20]))


async def swap(connection: Connection, one: UUID, other: UUID) -> None:
    await do(
        connection,
        "UPDATE audit_entries e SET position = o.position FROM audit_entries o"
        " WHERE (e.id, o.id) IN (($1::uuid, $2::uuid), ($2, $1))",
        one, other,
    )  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [(5, 6), (4, 7), (2, 13), (7, 8), (0, 19)])
async def test_entries_that_changed_places_are_found(
    connection: Connection, trail: list[UUID], one: int, other: int
) -> None:
    await swap(connection, trail[one], trail[other])
    misfit, subject = await found(connection)
    assert misfit is Misfit.REORDERED
    assert subject in {str(trail[one]), str(trail[other])}


@pytest.mark.parametrize(("moved", "to"), [(5, 10), (15, 2), (0, 18), (6, 8), (9, 20)])
async def test_an_entry_that_was_moved_is_named(
    connection: Connection, trail: list[UUID], moved: int, to: int
) -> None:
    position = await connection.fetchval("SELECT position FROM audit_entries WHERE id = $1", trail[to])
    await do(connection, "UPDATE audit_entries SET position = $2 WHERE id = $1", trail[moved], position)
    assert await found(connection) == (Misfit.REORDERED, str(trail[moved]))


@pytest.mark.parametrize(
    "change",
    [
        "hash = sha256('x')", "root = sha256('x')", "created_at = created_at - interval '1 day'",
        "last_position = last_position + 1", "first_id = gen_random_uuid()", "count = count + 1",
        "leaves = overlay(leaves placing '\\x00' from 20)", "leaves = overlay(leaves placing '\\x00' from 50)",
        "leaves = substr(leaves, 49)", "leaves = ''",
    ],
)  # fmt: skip
async def test_a_changed_seal_is_named(connection: Connection, trail: list[UUID], change: str) -> None:
    await do(connection, "ALTER TABLE audit_seals DROP CONSTRAINT audit_seals_keep_what_they_count")
    await do(connection, f"UPDATE audit_seals SET {change} WHERE number = 3")
    assert await found(connection) == (Misfit.SEAL_CHANGED, "3")


@pytest.mark.parametrize("number", [3, 4])
async def test_a_seal_that_was_made_anew_over_changed_entries_is_named(
    connection: Connection, trail: list[UUID], number: int
) -> None:
    await do(connection, "UPDATE audit_entries SET actor = 'x' WHERE id = $1", trail[number * 4 - 1])
    await forge(connection, number)
    assert await found(connection) == (Misfit.SEAL_CHANGED, str(number))


@pytest.mark.parametrize("number", [1, 3])
async def test_a_removed_seal_is_named(connection: Connection, trail: list[UUID], number: int) -> None:
    await do(connection, "DELETE FROM audit_seals WHERE number = $1", number)
    assert await found(connection) == (Misfit.SEAL_REMOVED, str(number))


async def test_a_re_linked_seal_is_named(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "UPDATE audit_seals SET previous_hash = sha256('x') WHERE number = 3")
    assert await found(connection) == (Misfit.SEAL_RELINKED, "3")


async def test_a_seal_that_was_linked_to_another_one_and_made_whole_again_is_named(
    connection: Connection, trail: list[UUID]
) -> None:
    before = await seal_of(connection, 1)
    await do(connection, "ALTER TABLE audit_seals DROP CONSTRAINT audit_seals_have_one_successor")
    await forge(connection, 3, previous_hash=before["hash"])
    assert await found(connection) == (Misfit.SEAL_RELINKED, "3")


async def test_a_seal_cannot_leave_the_chain_by_another_number(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "DELETE FROM audit_seals WHERE number = 3")
    await do(connection, "UPDATE audit_seals SET number = number - 1 WHERE number > 3")
    misfit, number = await found(connection)
    assert (misfit, number) == (Misfit.SEAL_RELINKED, "3")


async def test_what_was_rewritten_up_to_the_end_does_not_fit_a_head_that_was_kept_elsewhere(
    connection: Connection, trail: list[UUID]
) -> None:
    head = (await verify(connection)).head
    assert head is not None
    assert Head.parse(str(head)) == head
    assert (await verify(connection, head=head)).finding is None
    await do(connection, "UPDATE audit_entries SET actor = 'x' WHERE id = $1", trail[9])
    before = NO_SEAL
    for number in range(1, 6):
        await forge(connection, number, previous_hash=before)
        before = (await seal_of(connection, number))["hash"]
    assert (await verify(connection)).finding is None
    assert await found(connection, head=head) == (Misfit.SEAL_CHANGED, "5")


async def test_an_end_that_was_cut_off_shows_by_a_head_that_was_kept_elsewhere(
    connection: Connection, trail: list[UUID]
) -> None:
    head = (await verify(connection)).head
    await do(connection, "DELETE FROM audit_seals WHERE number > 3")
    await do(connection, "DELETE FROM audit_entries WHERE id = ANY($1)", trail[12:])
    assert (await verify(connection)).finding is None
    assert await found(connection, head=head) == (Misfit.SEAL_REMOVED, "5")


async def test_it_can_start_after_a_seal_that_is_believed(connection: Connection, trail: list[UUID]) -> None:
    await do(connection, "UPDATE audit_entries SET actor = 'x' WHERE id = ANY($1)", [trail[2], trail[13]])
    assert await found(connection) == (Misfit.CHANGED, str(trail[2]))
    assert await found(connection, from_seal=2) == (Misfit.CHANGED, str(trail[13]))
    assert await count_sealed(connection, from_seal=5) == 4
    report = await verify(connection, from_seal=5)
    assert (report.seals, report.entries, report.finding) == (1, 4, None)
    assert (await verify(connection, from_seal=6)).seals == 0
    with pytest.raises(LookupError):
        await verify(connection, from_seal=7)


async def test_what_was_dropped_for_good_before_a_seal_is_not_asked_for(
    connection: Connection, trail: list[UUID]
) -> None:
    await do(connection, "DELETE FROM audit_entries WHERE id = ANY($1)", trail[:12])
    assert (await verify(connection, from_seal=4)).finding is None


@pytest.mark.parametrize("text", ["", "5", "5:xx", "x:" + 64 * "0", "5:" + 62 * "0", "-1:" + 64 * "0"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Head.parse(text)


async def test_reading_is_enough(connection: Connection, trail: list[UUID]) -> None:
    async with connection.transaction(readonly=True):
        assert (await verify(connection)).finding is None
