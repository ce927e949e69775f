"""Live updates on a real database: nothing missed, nothing twice, in order, whatever is in the way."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from models.base import from_record, new_id
from models.events import EventSubject
from models.payments import Payment
from models.sets import update_rows
from services.changes import ChangeSet
from services.database import Database
from services.errors import InvalidInput, StaleCursor
from services.event_stream import StreamKey, begin_epoch, encode_cursor, key_of_event
from services.live import EventFilter, LiveChange, LiveUpdates, SlowReaderError
from tests.support.postgres import free_port
from tests.support.rows import add_payment, add_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    import asyncpg

    from models.users import User

    Connection = asyncpg.Connection[Any]

SOON_S = 10.0


@asynccontextmanager
async def live_updates(database: Database, redis: Redis | None = None, **options: Any) -> AsyncIterator[LiveUpdates]:
    live = LiveUpdates(database, redis, **options)
    await live.start()
    try:
        yield live
    finally:
        await live.close()


@pytest.fixture
async def live(database: Database) -> AsyncIterator[LiveUpdates]:
    async with live_updates(database, poll_s=0.05) as updates:
        yield updates


@pytest.fixture
async def payer(connection: Connection) -> User:
    return await add_user(connection)


@pytest.fixture
async def payment(connection: Connection, payer: User) -> Payment:
    return await add_payment(connection, payer)


async def change(connection: Connection, payment_id: UUID) -> int:
    """Change a payment as the services do, inside the caller's transaction; its new version."""
    record = await connection.fetchrow(
        "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE",
        payment_id,
    )
    assert record is not None
    payment = from_record(Payment, record)
    changes = ChangeSet("test", record["xid"])
    changes.record(
        EventSubject.PAYMENT, payment, "test.changed", previous_status="PENDING", status="PENDING", before={}, after={},
        payer_id=payment.payer_id, host_id=payment.host_id, activity_id=payment.activity_id,
    )  # fmt: skip
    await update_rows(connection, Payment, [payment], ("version", "position"))
    await changes.write(connection)
    return payment.version


async def committed(connection: Connection, payment_id: UUID, times: int = 1) -> None:
    for _ in range(times):
        async with connection.transaction():
            await change(connection, payment_id)


async def take(changes: AsyncIterator[LiveChange], count: int) -> list[LiveChange]:
    async with asyncio.timeout(SOON_S):
        return [await anext(changes) for _ in range(count)]


async def nothing_comes(changes: AsyncIterator[LiveChange]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(changes)


async def entered(live: LiveUpdates, count: int = 1) -> None:
    """Wait until so many subscribers stand in the index."""
    await _until(lambda: live.subscribers == count)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.002)


def versions(changes: list[LiveChange]) -> list[int]:
    return [item.event.version for item in changes]


def of(payment: Payment) -> EventFilter:
    return EventFilter(EventSubject.PAYMENT, subject_id=payment.id)


async def next_of(live: LiveUpdates, filter_: EventFilter, after: str | None = None) -> Any:
    """A follower that is entered already, and the task that waits for its first change."""
    changes = live.follow(filter_, after)
    before = live.subscribers
    first = asyncio.ensure_future(anext(changes))
    await entered(live, before + 1)
    return changes, first


async def test_without_a_cursor_only_what_commits_afterwards_comes(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    await committed(connection, payment.id, 3)
    changes, first = await next_of(live, of(payment))
    await committed(connection, payment.id)
    assert (await asyncio.wait_for(first, SOON_S)).event.version == 5
    await changes.aclose()
    assert live.subscribers == 0


async def test_what_was_in_flight_when_the_subscription_came_is_delivered(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await change(connection, payment.id)
    changes, first = await next_of(live, of(payment))
    await transaction.commit()
    live.wake()
    assert (await asyncio.wait_for(first, SOON_S)).event.version == 2
    await changes.aclose()


async def test_a_moment_taken_earlier_gets_what_committed_since(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    await committed(connection, payment.id)
    moment = await live.moment()
    await committed(connection, payment.id, 2)
    async with aclosing(live.follow(of(payment), moment=moment)) as changes:
        assert versions(await take(changes, 2)) == [3, 4]
        await nothing_comes(changes)


async def test_a_cursor_gets_everything_after_it_and_then_goes_on_live(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    async with aclosing(live.follow(of(payment), await cursor_now(live))) as changes:
        await committed(connection, payment.id, 3)
        first, *_ = await take(changes, 3)
    await committed(connection, payment.id, 2)
    async with aclosing(live.follow(of(payment), first.cursor)) as changes:
        assert versions(await take(changes, 4)) == [3, 4, 5, 6]
        await committed(connection, payment.id)
        assert versions(await take(changes, 1)) == [7]


async def cursor_now(live: LiveUpdates) -> str:
    moment = await live.moment()
    return encode_cursor(StreamKey.before(moment.xmin), moment.epoch)


async def test_a_transaction_that_commits_late_is_not_skipped(
    live: LiveUpdates, database: Database, connection: Connection, payer: User, payment: Payment
) -> None:
    late = await add_payment(connection, payer)
    slow = await database.connect()
    transaction = slow.transaction()
    await transaction.start()
    await change(slow, late.id)  # has its id, and holds it
    changes, first = await next_of(live, EventFilter(EventSubject.PAYMENT, payer_id=payer.id))
    await committed(connection, payment.id, 2)  # of later transactions, committed earlier
    live.wake()
    await asyncio.sleep(0.2)
    assert not first.done()
    await transaction.commit()
    live.wake()
    got = [await asyncio.wait_for(first, SOON_S), *await take(changes, 2)]
    assert [item.event.subject_id for item in got] == [late.id, payment.id, payment.id]
    assert got == sorted(got, key=lambda item: key_of_event(item.event))
    await changes.aclose()
    await slow.close()


async def test_a_row_above_its_own_transaction_waits_for_those_between(
    live: LiveUpdates, database: Database, connection: Connection, payer: User, payment: Payment
) -> None:
    """The early transaction gets its id first and the lock last: its row's position is that of the one before it."""
    between_payment = await add_payment(connection, payer)
    early, between = await database.connect(), await database.connect()
    early_transaction, between_transaction = early.transaction(), between.transaction()
    await early_transaction.start()
    early_id = await early.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await between_transaction.start()
    await change(between, between_payment.id)
    await committed(connection, payment.id)
    changes, first = await next_of(live, EventFilter(EventSubject.PAYMENT, payer_id=payer.id))
    await change(early, payment.id)
    await early_transaction.commit()
    live.wake()
    await asyncio.sleep(0.2)
    assert not first.done()  # its xid is below every running one, its position is not
    await between_transaction.commit()
    live.wake()
    # What was committed before the subscription stays out; the order is the stream's.
    got = [await asyncio.wait_for(first, SOON_S), *await take(changes, 1)]
    assert [item.event.subject_id for item in got] == [between_payment.id, payment.id]
    assert got[1].event.xid == early_id < got[0].event.xid < got[1].event.position
    await changes.aclose()
    await early.close()
    await between.close()


async def test_filters_choose_by_payer_host_party_and_activity(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    host, other = await add_user(connection), await add_user(connection)
    mine = await add_payment(connection, other, host_id=host.id)
    payer_id = payment.payer_id
    expected = {
        EventFilter(EventSubject.PAYMENT): [payment.id, mine.id],
        EventFilter(EventSubject.PAYMENT, payer_id=payer_id): [payment.id],
        EventFilter(EventSubject.PAYMENT, host_id=host.id): [mine.id],
        EventFilter(EventSubject.PAYMENT, party_id=host.id): [mine.id],
        EventFilter(EventSubject.PAYMENT, party_id=other.id): [mine.id],
        EventFilter(EventSubject.PAYMENT, subject_id=payment.id): [payment.id],
    }
    none = [
        EventFilter(EventSubject.CONNECT_ACCOUNT),
        EventFilter(EventSubject.PAYMENT, activity_id=new_id()),
        EventFilter(EventSubject.PAYMENT, payer_id=payer_id, host_id=host.id),
    ]
    start = await cursor_now(live)
    followers = [live.follow(filter_, start) for filter_ in [*expected, *none]]
    firsts = [asyncio.ensure_future(anext(follower)) for follower in followers]
    await entered(live, len(followers))
    await committed(connection, payment.id)
    await committed(connection, mine.id)
    live.wake()
    for first, follower, ids in zip(firsts, followers, expected.values(), strict=False):
        got = [await asyncio.wait_for(first, SOON_S), *await take(follower, len(ids) - 1)]
        assert [item.event.subject_id for item in got] == ids
    # The same from the table alone.
    for filter_, ids in expected.items():
        async with aclosing(live.follow(filter_, start)) as changes:
            assert [item.event.subject_id for item in await take(changes, len(ids))] == ids
    await asyncio.sleep(0.1)
    assert not any(first.done() for first in firsts[len(expected) :])
    for first in firsts[len(expected) :]:
        first.cancel()
    await asyncio.gather(*firsts, return_exceptions=True)
    for follower in followers:
        await follower.aclose()
    assert live.subscribers == 0


async def test_someone_who_pays_himself_gets_each_change_once(
    live: LiveUpdates, connection: Connection, payer: User
) -> None:
    own = await add_payment(connection, payer, host_id=payer.id)
    start = await cursor_now(live)
    async with aclosing(live.follow(EventFilter(EventSubject.PAYMENT, party_id=payer.id), start)) as changes:
        await committed(connection, own.id, 2)
        assert versions(await take(changes, 2)) == [2, 3]
        await committed(connection, own.id, 2)
        live.wake()
        assert versions(await take(changes, 2)) == [4, 5]
        await nothing_comes(changes)


async def _writer(database: Database, payments: list[UUID], live: LiveUpdates, seed: int, changes: int) -> None:
    """Commit changes in a random order, some of them held open for a while, some of them rolled back."""
    chance = random.Random(seed)
    connection = await database.connect()
    for _ in range(changes):
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("SELECT pg_current_xact_id()")
        await asyncio.sleep(chance.random() * 0.01)
        for payment_id in sorted(chance.sample(payments, 2)):
            await change(connection, payment_id)
        await asyncio.sleep(chance.random() * 0.01)
        if chance.random() < 0.1:
            await transaction.rollback()
            continue
        await transaction.commit()
        if chance.random() < 0.7:
            live.wake()
    await connection.close()


async def _cut_and_resumed(
    live: LiveUpdates, filter_: EventFilter, cursor: str, seed: int, count: int
) -> list[LiveChange]:
    """What a follower gets who is cut off again and again, and resumes from the last cursor."""
    chance = random.Random(seed)
    got: list[LiveChange] = []
    while len(got) < count:
        lives = chance.randint(1, 40)
        changes = live.follow(filter_, cursor)
        try:
            async with asyncio.timeout(0.02 + chance.random() * 0.2):
                for _ in range(lives):
                    got.append(await anext(changes))
                    cursor = got[-1].cursor
        except TimeoutError:
            pass
        finally:
            await changes.aclose()
    return got


async def test_cut_off_at_random_each_change_comes_once_and_in_order(
    live: LiveUpdates, database: Database, connection: Connection, payer: User
) -> None:
    payments = [(await add_payment(connection, payer)).id for _ in range(6)]
    start = await cursor_now(live)
    writers = [_writer(database, payments, live, seed, 40) for seed in range(5)]
    everything = EventFilter(EventSubject.PAYMENT, payer_id=payer.id)
    # Versions start at 1: what was committed is the sum of what they grew by, known only afterwards.
    readers = [asyncio.create_task(_cut_and_resumed(live, everything, start, seed, 280)) for seed in range(4)]
    await asyncio.gather(*writers)
    written = await connection.fetch(
        "SELECT subject_id, version FROM events WHERE payer_id = $1 ORDER BY position, version, subject_id", payer.id
    )
    expected = [(row["subject_id"], row["version"]) for row in written]
    assert len(expected) >= 280
    for reader in readers:
        got = [(item.event.subject_id, item.event.version) for item in await asyncio.wait_for(reader, 60)]
        assert got == expected[: len(got)]
    assert live.subscribers == 0


async def test_many_pages_of_the_table_join_the_tail_without_a_gap(
    database: Database, connection: Connection, payment: Payment
) -> None:
    async with live_updates(database, poll_s=0.02, buffer=10) as live:
        start = await cursor_now(live)
        await connection.execute(
            """
            INSERT INTO events (id, subject_type, subject_id, version, position, xid, status, detail)
            SELECT gen_random_uuid(), 'PAYMENT', $1, v, x.xid, x.xid, 'PENDING', '{}'
            FROM generate_series(2, 1501) v, (SELECT pg_current_xact_id()::text::bigint AS xid) x
            """,
            payment.id,
        )
        await connection.execute("UPDATE payments SET version = 1501 WHERE id = $1", payment.id)
        async with aclosing(live.follow(of(payment), start)) as changes:
            got = await take(changes, 700)
            # More than the buffer holds while the table is still being read: it comes from the table.
            await committed(connection, payment.id, 25)
            got += await take(changes, 825)
            await committed(connection, payment.id, 2)
            got += await take(changes, 2)
    assert versions(got) == list(range(2, 1529))


async def test_a_slow_reader_is_cut_off_and_resumes_where_it_was(
    database: Database, connection: Connection, payment: Payment
) -> None:
    async with live_updates(database, poll_s=0.02, buffer=5, patience_s=0.2) as live:
        changes, first = await next_of(live, of(payment))
        await committed(connection, payment.id)
        last = await asyncio.wait_for(first, SOON_S)
        await committed(connection, payment.id, 20)
        async with aclosing(live.follow(of(payment), last.cursor)) as witness:
            await take(witness, 20)
        await asyncio.sleep(0.25)
        with pytest.raises(SlowReaderError, match="last cursor"):
            await take(changes, 20)
        assert live.subscribers == 0
        async with aclosing(live.follow(of(payment), last.cursor)) as resumed:
            assert versions(await take(resumed, 20)) == list(range(3, 23))


async def test_a_burst_larger_than_the_buffer_cuts_nobody_off(
    database: Database, connection: Connection, payment: Payment
) -> None:
    async with live_updates(database, poll_s=0.02, buffer=5) as live:
        changes, first = await next_of(live, of(payment))
        async with connection.transaction():
            for _ in range(50):
                await change(connection, payment.id)
        got = [await asyncio.wait_for(first, SOON_S), *await take(changes, 49)]
        assert versions(got) == list(range(2, 52))
        await nothing_comes(changes)
        await changes.aclose()


async def test_redis_carries_the_wake_up_to_another_process(
    database: Database, connection: Connection, payment: Payment, valkey: str
) -> None:
    async with (
        Redis.from_url(valkey, socket_timeout=2) as redis,
        live_updates(database, redis, channel="one", poll_s=600) as here,
        live_updates(database, redis, channel="one", poll_s=600) as there,
    ):
        changes, first = await next_of(there, of(payment))
        await _until_heard(redis, "one", 2)
        await asyncio.sleep(0.05)  # the look that entering asks for
        await committed(connection, payment.id)
        here.wake()
        assert (await asyncio.wait_for(first, SOON_S)).event.version == 2
        await changes.aclose()


async def _until_heard(redis: Redis, channel: str, listeners: int) -> None:
    async with asyncio.timeout(SOON_S):
        while dict(await redis.pubsub_numsub(channel)).get(channel.encode()) != listeners:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_without_redis_the_table_is_looked_at(
    database: Database, connection: Connection, payment: Payment
) -> None:
    nowhere = Redis.from_url(f"redis://127.0.0.1:{free_port()}", socket_connect_timeout=0.5)
    async with nowhere, live_updates(database, nowhere, poll_s=0.05) as live:
        changes, first = await next_of(live, of(payment))
        await committed(connection, payment.id)
        live.wake()
        assert (await asyncio.wait_for(first, SOON_S)).event.version == 2
        await committed(connection, payment.id)  # nobody wakes anyone
        assert versions(await take(changes, 1)) == [3]
        await changes.aclose()


async def test_a_lost_database_is_found_again_and_nothing_is_missed(
    live: LiveUpdates, database: Database, connection: Connection, payment: Payment
) -> None:
    changes, first = await next_of(live, of(payment))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await committed(connection, payment.id, 2)
    assert (await asyncio.wait_for(first, SOON_S)).event.version == 2
    assert versions(await take(changes, 1)) == [3]
    await changes.aclose()


NO_CURSORS = ("", "x", "====", "MS4yLjM", "é", "MS4x" * 500, encode_cursor(StreamKey(1, 1, new_id()), 1)[:-3])


async def test_what_is_no_cursor_is_refused(live: LiveUpdates, payment: Payment) -> None:
    for cursor in NO_CURSORS:
        with pytest.raises(InvalidInput) as refusal:
            await take(live.follow(of(payment), cursor), 1)
        assert refusal.value.path == ["after"]
    assert live.subscribers == 0


async def test_a_cursor_of_before_a_restore_is_stale(
    live: LiveUpdates, connection: Connection, payment: Payment
) -> None:
    # As after a restore into a new cluster: positions that its transaction ids will not reach for long.
    await connection.execute("UPDATE payments SET position = 1000000000 WHERE id = $1", payment.id)
    await committed(connection, payment.id)
    cursor = await cursor_now(live)
    changes, first = await next_of(live, of(payment), cursor)
    assert await begin_epoch(connection) == 2
    live.wake()
    with pytest.raises(StaleCursor):
        await asyncio.wait_for(first, SOON_S)
    with pytest.raises(StaleCursor):
        await take(live.follow(of(payment), cursor), 1)
    await changes.aclose()
    # From now on the new stream is followed.
    changes, first = await next_of(live, of(payment))
    await committed(connection, payment.id)
    assert (await asyncio.wait_for(first, SOON_S)).event.version == 3
    await changes.aclose()


async def test_a_cursor_from_a_future_that_was_undone_is_stale(live: LiveUpdates, payment: Payment) -> None:
    moment = await live.moment()
    cursor = encode_cursor(StreamKey(moment.xmax + 1000, 1, payment.id), moment.epoch)
    with pytest.raises(StaleCursor):
        await take(live.follow(of(payment), cursor), 1)


async def test_closing_ends_every_follower(database: Database, payment: Payment) -> None:
    live = LiveUpdates(database, None)
    await live.start()
    changes = live.follow(of(payment))
    rest: Awaitable[Any] = asyncio.ensure_future(anext(changes, None))
    await entered(live)
    await live.close()
    assert await asyncio.wait_for(rest, SOON_S) is None
    assert live.subscribers == 0
