"""Natural batching: together where they meet, alone where one is bad, and never lost or answered too early."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from services.batching import Batcher, OutcomeUnknownError
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


class Writer:
    """A flush that writes numbers, and does what a test says on the way."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.before: Callable[[asyncpg.Connection[Any], Sequence[int]], Any] | None = None

    async def __call__(self, connection: asyncpg.Connection[Any], items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.before is not None:
            await self.before(connection, items)
        await connection.execute("INSERT INTO numbers SELECT unnest($1::int[])", list(items))
        return [ValueError(f"odd: {item}") if item % 2 else item * 10 for item in items]


@pytest.fixture
async def writer(connection: asyncpg.Connection[Any]) -> Writer:
    await connection.execute("CREATE TABLE numbers (value int UNIQUE CHECK (value < 1000))")
    return Writer()


@asynccontextmanager
async def batching(url: str, flush: Any, *, lanes: int = 1, batch_max: int = 100) -> AsyncIterator[Batcher[int, int]]:
    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(url)

    batcher: Batcher[int, int] = Batcher("numbers", connect, flush, lanes=lanes, batch_max=batch_max)
    yield batcher
    await batcher.close()


async def written(connection: asyncpg.Connection[Any]) -> list[int]:
    return [record["value"] for record in await connection.fetch("SELECT value FROM numbers ORDER BY value")]


async def test_a_lone_item_leaves_at_once_and_is_committed_when_it_is_answered(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async with batching(database_url, writer) as batcher:
        assert await batcher.submit(2) == 20
        assert await written(connection) == [2]


async def test_what_arrives_while_a_transaction_is_under_way_leaves_together_in_the_next(
    database_url: str, writer: Writer
) -> None:
    writer.gate.clear()
    async with batching(database_url, writer, batch_max=4) as batcher:
        first = asyncio.create_task(batcher.submit(0))
        await until(lambda: writer.batches == [[0]])
        rest = [asyncio.create_task(batcher.submit(i * 2)) for i in range(1, 7)]
        await asyncio.sleep(0)
        writer.gate.set()
        assert await asyncio.gather(first, *rest) == [i * 20 for i in range(7)]
    assert writer.batches == [[0], [2, 4, 6, 8], [10, 12]]


async def test_an_exception_among_the_outcomes_goes_to_its_caller_alone_and_all_are_committed(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async with batching(database_url, writer) as batcher:
        outcomes = await asyncio.gather(*(batcher.submit(i) for i in range(4)), return_exceptions=True)
    assert outcomes[0] == 0
    assert outcomes[2] == 20
    assert [str(outcome) for outcome in (outcomes[1], outcomes[3])] == ["odd: 1", "odd: 3"]
    assert await written(connection) == [0, 1, 2, 3]


async def test_a_row_that_the_database_refuses_fails_alone(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async with batching(database_url, writer) as batcher:
        outcomes = await asyncio.gather(*(batcher.submit(i) for i in (2, 5000, 4)), return_exceptions=True)
    assert outcomes[0] == 20
    assert isinstance(outcomes[1], asyncpg.CheckViolationError)
    assert outcomes[2] == 40
    assert await written(connection) == [2, 4]


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
async def test_a_transaction_that_met_another_is_done_again(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer, error: type[Exception]
) -> None:
    failures = iter([error("met"), error("met")])

    async def meet(_connection: Any, _items: Any) -> None:
        for failure in failures:
            raise failure

    writer.before = meet
    async with batching(database_url, writer) as batcher:
        assert await batcher.submit(2) == 20
    assert len(writer.batches) == 3
    assert await written(connection) == [2]


async def test_one_that_always_meets_another_is_given_up_and_written_nowhere(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async def meet(_connection: Any, _items: Any) -> None:
        raise asyncpg.DeadlockDetectedError("met")

    writer.before = meet
    async with batching(database_url, writer) as batcher:
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await batcher.submit(2)
    assert await written(connection) == []


async def test_a_real_deadlock_is_resolved(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("CREATE TABLE rows (id int PRIMARY KEY, n int); INSERT INTO rows VALUES (1, 0), (2, 0)")
    holds = {1: asyncio.Event(), 2: asyncio.Event()}

    async def flush(own: asyncpg.Connection[Any], items: Sequence[tuple[int, int]]) -> list[int]:
        first, second = items[0]
        await own.execute("UPDATE rows SET n = n + 1 WHERE id = $1", first)
        holds[first].set()
        await holds[second].wait()  # the other holds what is wanted next
        await own.execute("UPDATE rows SET n = n + 1 WHERE id = $1", second)
        return [1] * len(items)

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(database_url)

    batcher: Batcher[tuple[int, int], int] = Batcher("rows", connect, flush, lanes=2, batch_max=1)
    assert await asyncio.gather(batcher.submit((1, 2)), batcher.submit((2, 1))) == [1, 1]
    await batcher.close()
    assert await connection.fetch("SELECT n FROM rows") == [(2,), (2,)]


async def test_a_connection_lost_before_the_commit_costs_nothing(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    killed: list[int] = []

    async def lose(own: asyncpg.Connection[Any], _items: Any) -> None:
        if not killed:
            killed.append(own.get_server_pid())
            await connection.execute("SELECT pg_terminate_backend($1)", killed[0])

    writer.before = lose
    async with batching(database_url, writer) as batcher:
        assert await asyncio.gather(batcher.submit(2), batcher.submit(4)) == [20, 40]
    assert await written(connection) == [2, 4]


async def test_a_connection_lost_while_idle_costs_nothing(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async with batching(database_url, writer) as batcher:
        await batcher.submit(2)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert await batcher.submit(4) == 40
    assert await written(connection) == [2, 4]


class LosesCommits:
    """A connection whose commit arrives, or does not, and whose answer is lost either way."""

    def __init__(self, connection: asyncpg.Connection[Any], *, arrives: bool) -> None:
        self._connection = connection
        self._arrives = arrives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def transaction(self) -> Any:
        transaction = self._connection.transaction()
        outer = self

        class Transaction:
            start = transaction.start
            rollback = transaction.rollback

            async def commit(self) -> None:
                if outer._arrives:
                    await transaction.commit()
                outer._connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

        return Transaction()


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_connection_lost_around_the_commit_leaves_the_outcome_unknown_and_is_not_repeated(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer, arrives: bool
) -> None:
    opened: list[Any] = []

    async def connect() -> Any:
        plain = await asyncpg.connect(database_url)
        opened.append(plain if opened else LosesCommits(plain, arrives=arrives))
        return opened[-1]

    batcher: Batcher[int, int] = Batcher("numbers", connect, writer, lanes=1, batch_max=10)
    outcomes = await asyncio.gather(batcher.submit(2), batcher.submit(4), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError] * 2
    assert writer.batches == [[2, 4]]
    assert await written(connection) == ([2, 4] if arrives else [])
    assert await batcher.submit(6) == 60
    await batcher.close()


async def test_a_database_that_cannot_be_reached_is_said_to_each_and_the_next_try_finds_it_again(
    database_url: str, writer: Writer
) -> None:
    refusals = iter([OSError("refused"), TimeoutError(), asyncpg.TooManyConnectionsError("full")])

    async def connect() -> asyncpg.Connection[Any]:
        for refusal in refusals:
            raise refusal
        return await asyncpg.connect(database_url)

    batcher: Batcher[int, int] = Batcher("numbers", connect, writer, lanes=1, batch_max=10)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await batcher.submit(2)
    assert await batcher.submit(2) == 20
    await batcher.close()


async def test_a_flush_that_forgets_an_outcome_writes_nothing_and_nobody_waits_for_ever(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async def forgetful(own: asyncpg.Connection[Any], items: Sequence[int]) -> list[int | Exception]:
        return (await writer(own, items))[1:]

    async with batching(database_url, forgetful) as batcher:
        outcomes = await asyncio.gather(batcher.submit(2), batcher.submit(4), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 2
    assert await written(connection) == []


async def test_a_caller_that_goes_away_disturbs_nobody_and_its_item_is_written(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    writer.gate.clear()
    async with batching(database_url, writer) as batcher:
        callers = [asyncio.create_task(batcher.submit(i * 2)) for i in range(3)]
        await until(lambda: bool(writer.batches))
        callers[1].cancel()
        writer.gate.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert outcomes[0] == 0
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert outcomes[2] == 40
    assert await written(connection) == [0, 2, 4]


async def test_no_wake_up_is_lost_while_callers_come_and_go(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    async with batching(database_url, writer, lanes=3, batch_max=5) as batcher:
        tasks = [asyncio.create_task(batcher.submit(i * 2)) for i in range(300)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await batcher.submit(998) == 9980
    assert [task.result() for task in tasks if not task.cancelled()] == [
        number * 20 for number, task in enumerate(tasks) if not task.cancelled()
    ]
    assert set(await written(connection)) >= {number * 2 for number, task in enumerate(tasks) if not task.cancelled()}


async def test_closing_finishes_what_was_submitted_and_takes_nothing_more(
    database_url: str, connection: asyncpg.Connection[Any], writer: Writer
) -> None:
    writer.gate.clear()
    async with batching(database_url, writer, batch_max=2) as batcher:
        tasks = [asyncio.create_task(batcher.submit(i * 2)) for i in range(5)]
        await until(lambda: bool(writer.batches))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.submit(8)
        writer.gate.set()
        assert await asyncio.gather(*tasks) == [0, 20, 40, 60, 80]
        await closing
    assert await written(connection) == [0, 2, 4, 6, 8]
    assert await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state <> 'idle'"
    ) == 0
