"""Natural batching: what arrives while a transaction is under way leaves together in the next one.

There is no timer, and nothing is added when idle: a lone item leaves at once. Nobody is answered before their commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncpg
import structlog

from services.database import DATABASE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Connect = Callable[[], Awaitable[asyncpg.Connection[Any]]]

log = structlog.get_logger("batching")

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# Two transactions that met: the same work succeeds when it is done again.
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# Around a commit these leave open whether it took place: the connection went, or the server is being stopped.
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
_TRIES = 5


class OutcomeUnknownError(Exception):
    """The connection was lost around the commit: what was asked may have been written. Ask again under the same key."""


class _Waiting(Generic[Item, Outcome]):
    __slots__ = ("future", "item")

    def __init__(self, item: Item, future: asyncio.Future[Outcome]) -> None:
        self.item = item
        self.future = future

    def answer(self, outcome: Outcome | Exception) -> None:
        if self.future.done():  # its caller went away
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Batcher(Generic[Item, Outcome]):
    """Runs `flush` over batches of items, each batch in one transaction on a connection that a lane owns."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        flush: Callable[[asyncpg.Connection[Any], Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        *,
        lanes: int,
        batch_max: int,
    ) -> None:
        """
        Args:
            connect: opens a connection for a lane.
            flush: an outcome for each item, in order; an exception among them goes to that item's caller alone.
            lanes: transactions at a time.
            batch_max: items in one.
        """
        self._name = name
        self._connect = connect
        self._flush = flush
        self._batch_max = batch_max
        self._queue: deque[_Waiting[Item, Outcome]] = deque()
        self._parked: deque[asyncio.Future[None]] = deque()
        self._closing = False
        self._lanes = [asyncio.create_task(self._lane(), name=f"{name}-{i}") for i in range(lanes)]

    async def submit(self, item: Item) -> Outcome:
        """The item's outcome, once its transaction is committed.

        Raises: what `flush` answered for it; OutcomeUnknownError.
        """
        if self._closing:
            raise RuntimeError(f"{self._name} is closed")
        waiting: _Waiting[Item, Outcome] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake()
        return await waiting.future

    async def close(self) -> None:
        """Finish what was submitted, then let the connections go."""
        self._closing = True
        while self._parked:
            self._wake()
        await asyncio.gather(*self._lanes)

    def _wake(self) -> None:
        while self._parked:
            lane = self._parked.popleft()
            if not lane.done():
                lane.set_result(None)
                return

    async def _lane(self) -> None:
        lane = _Lane(self._connect)
        try:
            while True:
                if not self._queue:
                    if self._closing:
                        return
                    # Nothing may be awaited between looking at the queue and parking, or a wake-up is lost.
                    parked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._parked.append(parked)
                    await parked
                    continue
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]
                await self._run(lane, batch)
        finally:
            await lane.close()

    async def _run(self, lane: _Lane, batch: list[_Waiting[Item, Outcome]]) -> None:
        """Run a batch; where it fails as a whole its items run singly, so that a bad one fails alone."""
        try:
            outcomes = await self._transaction(lane, [waiting.item for waiting in batch])
        except (OutcomeUnknownError, ConnectionError) as error:
            for waiting in batch:
                waiting.answer(error)
        except Exception as error:  # noqa: BLE001 (its caller gets it)
            if len(batch) == 1:
                batch[0].answer(error)
                return
            log.warning("batching.singly", batch=self._name, items=len(batch), error=type(error).__name__)
            for waiting in batch:
                await self._run(lane, [waiting])
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.answer(outcome)

    async def _transaction(self, lane: _Lane, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        for attempt in range(1, _TRIES + 1):
            connection = await lane.connection()
            try:
                return await self._once(connection, items)
            except _TRANSIENT:
                if attempt == _TRIES:
                    raise
            except Exception as error:
                # Lost before the commit: nothing was written, and the same work goes to a new connection.
                if attempt == _TRIES or not connection.is_closed() or isinstance(error, OutcomeUnknownError):
                    raise
        raise AssertionError("unreachable")

    async def _once(self, connection: asyncpg.Connection[Any], items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        transaction = connection.transaction()
        await transaction.start()
        try:
            outcomes = await self._flush(connection, items)
        except BaseException:
            if not connection.is_closed():
                await transaction.rollback()
            raise
        if len(outcomes) != len(items):
            await transaction.rollback()
            raise RuntimeError(f"{self._name}: {len(outcomes)} outcomes for {len(items)} items")
        try:
            await transaction.commit()
        except _LOST as error:
            raise OutcomeUnknownError from error
        return outcomes


class _Lane:
    """A connection that is opened when it is needed, and anew when it was lost."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: asyncpg.Connection[Any] | None = None

    async def connection(self) -> asyncpg.Connection[Any]:
        """The open connection.

        Raises: ConnectionError where there is none to be had.
        """
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await self._connect()
            except DATABASE_ERRORS as error:
                raise ConnectionError("the database cannot be reached") from error
        return self._connection

    async def close(self) -> None:
        """Let it go."""
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()
