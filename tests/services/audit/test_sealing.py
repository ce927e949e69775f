"""Entries are sealed once and in order, and none is stepped over, whenever it commits."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest
import structlog

from models.audit import AuditEntry, unpack_leaves
from models.sets import insert_rows
from services.audit.hashing import NO_SEAL
from services.audit.sealing import AuditOrderError, measure_backlog, newest_seal, seal_entries, seal_next
from services.audit.verifying import Misfit, verify
from services.event_stream import begin_epoch
from services.exclusive import exclusively
from services.jobs import periodic_jobs, seal_audit
from services.metrics import Metrics
from services.migrations import require_migrated
from settings import ConfigurationError, Settings
from tests.support.audit import entry, record, seal_all, tampering
from tests.support.postgres import create_database, drop_database, migrate_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from services.core import Services
    from services.database import Database
    from tests.support.clock import Clock
    from tests.support.postgres import PostgresServer

    Connection = asyncpg.Connection[Any]

ROOT = Path(__file__).parents[3]
_POSITION = "CREATE OR REPLACE FUNCTION audit_position(xid xid8) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {}'"


class OnlyWhatSealingNeeds:
    """As much of the services as the jobs here use."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.metrics = Metrics()
        self.settings = Settings(_env_file=None)

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"paydesk_{name}")


@pytest.fixture
def worker(database: Database, clock: Clock) -> OnlyWhatSealingNeeds:
    return OnlyWhatSealingNeeds(database, clock)


def services_of(worker: OnlyWhatSealingNeeds) -> Services:
    return cast("Services", worker)


async def sealed_ids(connection: Connection) -> list[UUID]:
    """Every entry that is sealed, in the order of the seals."""
    records = await connection.fetch("SELECT leaves FROM audit_seals ORDER BY number")
    return [id_ for record in records for id_, _ in unpack_leaves(record["leaves"])]


async def assert_whole(connection: Connection) -> None:
    """The trail fits, and nothing is left over."""
    report = await verify(connection)
    assert (report.finding, report.unsealed) == (None, 0)
    assert report.entries == await connection.fetchval("SELECT count(*) FROM audit_entries")


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[tuple[Connection, Any]]:
    """A connection of somebody else's, in a transaction that has not been committed."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection, transaction
    await connection.close()


async def test_each_seal_holds_the_one_before_it(connection: Connection) -> None:
    ids = await record(connection, 10)
    seals = await seal_all(connection)
    assert [(seal.number, seal.count) for seal in seals] == [(1, 4), (2, 4), (3, 2)]
    assert [seal.previous_hash for seal in seals] == [NO_SEAL, seals[0].hash, seals[1].hash]
    assert [(seal.first_id, seal.last_id) for seal in seals] == [(ids[0], ids[3]), (ids[4], ids[7]), (ids[8], ids[9])]
    assert await newest_seal(connection) == seals[-1]
    assert await sealed_ids(connection) == ids
    assert await seal_all(connection) == []


async def test_entries_of_one_transaction_may_lie_in_several_seals(connection: Connection) -> None:
    ids = await record(connection, 30, together=15)
    assert len(await seal_all(connection, batch=7)) == 5
    assert await sealed_ids(connection) == ids
    await assert_whole(connection)


async def test_nothing_is_sealed_from_where_a_transaction_still_runs(
    connection: Connection, database_url: str
) -> None:
    [first] = await record(connection, 1)
    early = entry()  # its id and its time are given long before it is committed
    async with writing(database_url) as (other, transaction):
        await insert_rows(other, AuditEntry, [early])
        later = await record(connection, 3)
        assert [seal.count for seal in await seal_all(connection)] == [1]
        assert await sealed_ids(connection) == [first]
        assert (await verify(connection)).unsealed == 3
        await transaction.commit()
    await seal_all(connection)
    assert await sealed_ids(connection) == [first, early.id, *later]
    await assert_whole(connection)


async def test_an_entry_with_an_older_id_than_those_sealed_is_sealed_after_them(
    connection: Connection, database_url: str
) -> None:
    early = entry()
    async with writing(database_url) as (other, transaction):
        assert await other.fetchval("SELECT now()")  # it has begun, and no transaction id is given yet
        ids = await record(connection, 3)
        await seal_all(connection)
        await insert_rows(other, AuditEntry, [early])
        await transaction.commit()
    assert early.id < ids[0]
    await seal_all(connection)
    assert await sealed_ids(connection) == [*ids, early.id]
    await assert_whole(connection)


async def test_what_is_rolled_back_holds_nothing_up(connection: Connection, database_url: str) -> None:
    async with writing(database_url) as (other, transaction):
        await insert_rows(other, AuditEntry, [entry()])
        ids = await record(connection, 2)
        assert await seal_all(connection) == []
        await transaction.rollback()
    await seal_all(connection)
    assert await sealed_ids(connection) == ids


async def test_entries_of_savepoints_stand_with_their_transaction(connection: Connection) -> None:
    ids = []
    async with connection.transaction():
        for _ in range(3):
            async with connection.transaction():
                ids += await record(connection, 1)
    await seal_all(connection)
    assert await sealed_ids(connection) == ids
    assert await connection.fetchval("SELECT count(DISTINCT position) FROM audit_entries") == 1


async def test_nothing_is_missed_or_sealed_twice_while_many_write(connection: Connection, database_url: str) -> None:
    chance = random.Random(7)
    written: list[UUID] = []

    async def write() -> None:
        own = await asyncpg.connect(database_url)
        for _ in range(25):
            transaction = own.transaction()
            await transaction.start()
            mine = [entry() for _ in range(chance.randint(1, 4))]
            await asyncio.sleep(chance.random() / 300)
            await insert_rows(own, AuditEntry, mine[:1])
            await asyncio.sleep(chance.random() / 300)
            await insert_rows(own, AuditEntry, mine[1:])
            await asyncio.sleep(chance.random() / 100)
            if chance.random() < 0.1:
                await transaction.rollback()
            else:
                await transaction.commit()
                written.extend(one.id for one in mine)
        await own.close()

    writers = asyncio.gather(*(write() for _ in range(12)))
    seals = 0
    while not writers.done():
        seals += len(await seal_all(connection, batch=5))
        assert (await verify(connection)).finding is None
        await asyncio.sleep(0)
    await writers
    seals += len(await seal_all(connection, batch=5))
    assert seals > 50
    found = await sealed_ids(connection)
    assert len(found) == len(written)
    assert set(found) == set(written)
    await assert_whole(connection)


async def test_two_who_seal_at_once_make_one_chain(connection: Connection, database_url: str) -> None:
    await record(connection, 60)
    others = [await asyncpg.connect(database_url) for _ in range(4)]

    async def seal(own: Connection) -> None:
        while True:
            try:
                if await seal_next(own, lambda: datetime.now(UTC), batch=4) is None:
                    return
            except asyncpg.UniqueViolationError:
                continue

    await asyncio.gather(*map(seal, others))
    for other in others:
        await other.close()
    assert await connection.fetchval("SELECT count(*) FROM audit_seals") == 15
    await assert_whole(connection)


async def test_a_killed_process_leaves_whole_seals_and_no_lock(
    connection: Connection, database: Database, database_url: str
) -> None:
    ids = await record(connection, 3000, together=100)
    for _ in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.services.audit.sealer", database_url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"mine\n"
        for _ in range(20):
            assert await process.stdout.readline()
        process.kill()
        await process.communicate()
        async with asyncio.timeout(10):
            while not await is_free(database):  # noqa: ASYNC110 - until PostgreSQL sees that its client is gone
                await asyncio.sleep(0.01)
        assert (await verify(connection)).finding is None
    assert 60 <= await connection.fetchval("SELECT count(*) FROM audit_seals") < 3000 / 8
    await seal_all(connection, batch=100)
    assert await sealed_ids(connection) == ids
    await assert_whole(connection)


async def is_free(database: Database) -> bool:
    async with exclusively(database, "paydesk:seal_audit") as mine:
        return mine


async def test_the_job_seals_all_there_is_and_counts_it(
    worker: OnlyWhatSealingNeeds, connection: Connection
) -> None:
    await record(connection, 1500, together=500)
    with structlog.testing.capture_logs() as logs:
        await seal_audit(services_of(worker))
    newest = await newest_seal(connection)
    assert newest is not None
    assert [(line["event"], line["number"], line["entries"]) for line in logs] == [
        ("audit.sealed", 1, 1024), ("audit.sealed", 2, 476),
    ]  # fmt: skip
    assert logs[-1]["hash"] == newest.hash.hex()
    assert worker.metric("audit_sealed_total") == 1500
    await assert_whole(connection)


async def test_the_job_leaves_it_to_the_process_that_is_at_it(
    worker: OnlyWhatSealingNeeds, connection: Connection, database: Database
) -> None:
    await record(connection, 1)
    async with exclusively(database, "paydesk:seal_audit") as mine:
        assert mine
        await seal_audit(services_of(worker))
        assert await newest_seal(connection) is None
    await seal_audit(services_of(worker))
    assert await newest_seal(connection) is not None


async def test_it_is_done_as_often_as_the_settings_say(worker: OnlyWhatSealingNeeds) -> None:
    worker.settings = replace_setting(worker.settings, 7.0)
    jobs = {job.name: job.every_s for job in periodic_jobs(services_of(worker))}
    assert jobs["seal_audit"] == 7.0
    assert "measure_audit" in jobs


def replace_setting(settings: Settings, every_s: float) -> Settings:
    return settings.model_copy(update={"audit_seal_every_s": every_s})


async def test_what_waits_is_measured(worker: OnlyWhatSealingNeeds, connection: Connection, clock: Clock) -> None:
    services = services_of(worker)
    await measure_backlog(services)
    assert (worker.metric("audit_unsealed"), worker.metric("audit_unsealed_oldest_seconds")) == (0, 0)
    await record(connection, 2)
    await seal_entries(services)
    await record(connection, 3)
    clock.forward(seconds=90)
    await measure_backlog(services)
    assert worker.metric("audit_unsealed") == 3
    assert 90 <= (worker.metric("audit_unsealed_oldest_seconds") or 0) < 120


async def test_entries_of_before_there_were_seals_are_sealed_first(postgres: PostgresServer) -> None:
    name = await create_database(postgres, template="template0")
    await migrate_database(postgres.database(name), target="models.0006_subscription_invariants")
    connection = await asyncpg.connect(postgres.database(name))
    old = await record(connection, 25)
    await migrate_database(postgres.database(name))
    new = await record(connection, 5)
    assert [seal.count for seal in await seal_all(connection, batch=10)] == [10, 10, 10]
    assert await sealed_ids(connection) == [*sorted(old), *new]
    await assert_whole(connection)
    await connection.close()
    await drop_database(postgres, name)


async def put_far_ahead(connection: Connection) -> None:
    """As after a restore into a new cluster, whose transaction ids begin below those of the old one."""
    async with tampering(connection):
        await connection.execute("UPDATE audit_entries SET position = position + 1000000000")


async def test_after_a_restore_nothing_is_sealed_until_new_entries_come_last_again(
    connection: Connection, database_url: str
) -> None:
    await record(connection, 4)
    await put_far_ahead(connection)
    async with tampering(connection):  # sealed there, and two entries more that were not
        await connection.execute(_POSITION.format("xid::text::bigint + 2000000000"))
        await seal_all(connection)
        await connection.execute(_POSITION.format("xid::text::bigint + 0"))
    with pytest.raises(AuditOrderError, match="restored"):
        await seal_all(connection)
    with pytest.raises(ConfigurationError, match="restored"):  # nor does a server start that would write
        await require_migrated(database_url)
    await begin_epoch(connection)
    await require_migrated(database_url)
    ids = await record(connection, 3)
    await seal_all(connection)
    assert (await sealed_ids(connection))[-3:] == ids
    await assert_whole(connection)
    assert await connection.fetchval("SELECT min(position) > 1000000000 FROM audit_entries WHERE id = ANY($1)", ids)


async def test_entries_that_were_written_too_early_after_a_restore_are_not_passed_over_in_silence(
    connection: Connection,
) -> None:
    await record(connection, 4)
    await put_far_ahead(connection)
    await begin_epoch(connection)
    await seal_all(connection)
    [early] = await record(connection, 1)
    async with tampering(connection):
        await connection.execute("UPDATE audit_entries SET position = 5 WHERE id = $1", early)
    report = await verify(connection)
    assert report.finding is not None
    assert (report.finding.misfit, report.finding.subject) == (Misfit.INSERTED, str(early))


async def test_an_epoch_without_a_restore_leaves_positions_alone(connection: Connection) -> None:
    source = "SELECT prosrc FROM pg_proc WHERE proname = 'audit_position'"
    before = await connection.fetchval(source)
    await record(connection, 2)
    await begin_epoch(connection)
    assert await connection.fetchval(source) == before


async def test_a_seal_says_when_it_was_made(connection: Connection) -> None:
    at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    await record(connection, 1)
    seal = await seal_next(connection, lambda: at)
    assert seal is not None
    stored = await newest_seal(connection)
    assert stored == replace(seal, sealed_at=at)
    assert b'"sealed_at":"2031-05-06T07:08:09.000000Z"' in seal.content
