"""A process that ends at a boundary, and calls to Stripe that go wrong, where a test says so."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from services.batching import Batcher
from services.payments.reservation import ReservePayments
from services.payments.settlement import SettleIntents
from services.stripe_gateway import Priority, StripeGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.core import Services
    from services.database import Database
    from services.stripe_requests import StripeRequest
    from tests.support.sandbox import Sandbox


class Boundary(StrEnum):
    """Where a process can end between reserve, call and settle."""

    RESERVED = "the call has not left"
    CALLED = "Stripe has done it and its answer is not looked at"
    SETTLING = "inside the transaction that settles"
    SETTLED = "it is settled and nobody has been answered"


class Crash(BaseException):
    """The process is no more."""


class _RolledBackError(Exception):
    """Ends a batch's transaction; it turns into a crash where the batch was awaited."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A crash at a boundary of a call, or a fault of a call; `calls` go well before it."""

    boundary: Boundary | None
    fault: dict[str, Any] | None
    calls: int

    @classmethod
    def crash(cls, boundary: Boundary, writes: int) -> Trouble:
        """The process ends there."""
        return cls(boundary, None, writes)

    @classmethod
    def failing(cls, fault: str, seed: int, requests: int) -> Trouble:
        """One of the sandbox's faults."""
        return cls(None, {fault: 1, "seed": seed}, requests)


@dataclass(slots=True)
class Trap:
    """What goes wrong next, once."""

    _trouble: Trouble | None = None
    _calls: int = 0
    _has_called: bool = False
    sprung: int = 0

    def arm(self, trouble: Trouble | None) -> None:
        """Let this go wrong, or nothing any more."""
        self._trouble = trouble
        self._calls = trouble.calls if trouble else 0

    def begin(self, *, settles: bool = False) -> None:
        """Something is asked for; `settles` where settling is all there is to it, as with webhooks."""
        self._has_called = settles

    def at(self, boundary: Boundary) -> None:
        """End here, where that was wanted.

        Raises: Crash.
        """
        if self._springs(boundary):
            raise Crash(boundary)

    def rolls_back(self) -> None:
        """As `at` SETTLING, inside a batch."""
        if self._springs(Boundary.SETTLING):
            raise _RolledBackError

    def drawn_fault(self) -> dict[str, Any] | None:
        """The fault of this request."""
        fault = self._trouble.fault if self._trouble else None
        return fault if fault is not None and self._is_due() else None

    def _springs(self, boundary: Boundary) -> bool:
        if boundary is Boundary.CALLED:
            self._has_called = True
        if boundary in {Boundary.SETTLING, Boundary.SETTLED} and not self._has_called:
            return False
        return self._trouble is not None and self._trouble.boundary is boundary and self._is_due()

    def _is_due(self) -> bool:
        self._calls -= 1
        if self._calls >= 0:
            return False
        self._trouble = None
        self.sprung += 1
        return True


class _Gateway:
    """The gateway, with what goes wrong around it."""

    def __init__(self, gateway: StripeGateway, trap: Trap, sandbox: Sandbox) -> None:
        self._gateway = gateway
        self._trap = trap
        self._sandbox = sandbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def in_background(self) -> _Gateway:
        """Whoever goes first, the same goes wrong."""
        return self

    async def send(self, request: StripeRequest, *, priority: Priority = Priority.INTERACTIVE) -> Any:
        writes = request.method != "get"
        if writes:
            self._trap.at(Boundary.RESERVED)
        try:
            return await self._sent(request, priority)
        finally:
            if writes:
                self._trap.at(Boundary.CALLED)

    async def _sent(self, request: StripeRequest, priority: Priority) -> Any:
        fault = self._trap.drawn_fault()
        if fault is None:
            return await self._gateway.send(request, priority=priority)
        await self._sandbox.faults(**fault)
        try:
            return await self._gateway.send(request, priority=priority)
        finally:
            await self._sandbox.heal()

    def list_all(self, request: StripeRequest, *, priority: Priority = Priority.BACKGROUND) -> Any:
        return StripeGateway.list_all(cast("StripeGateway", self), request, priority=priority)


class _Database:
    """The database, whose transactions can be the last thing that a process does."""

    def __init__(self, database: Database, trap: Trap) -> None:
        self._database = database
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._database.transaction() as connection:
            yield connection
            self._trap.at(Boundary.SETTLING)
        self._trap.at(Boundary.SETTLED)


class _Batches:
    """A batcher of its own, whose caller can end with its transaction."""

    def __init__(self, batcher: Batcher[Any, Any], trap: Trap) -> None:
        self._batcher = batcher
        self._trap = trap

    async def submit(self, item: Any) -> Any:
        try:
            outcome = await self._batcher.submit(item)
        except _RolledBackError:
            raise Crash(Boundary.SETTLING) from None
        self._trap.at(Boundary.SETTLED)
        return outcome


@asynccontextmanager
async def trapped(services: Services, trap: Trap, sandbox: Sandbox) -> AsyncIterator[Services]:
    """The same services, with the trap around Stripe and around what settles."""
    settle = SettleIntents(services.settings, services.clock)

    async def settle_or_end(connection: Any, items: Sequence[Any]) -> Any:
        outcomes = await settle(connection, items)
        trap.rolls_back()
        return outcomes

    reservations = Batcher(
        "reservations", services.database.connect, ReservePayments(services.settings), lanes=1, batch_max=100
    )
    settlements = Batcher("settlements", services.database.connect, settle_or_end, lanes=1, batch_max=100)
    try:
        yield replace(
            services,
            stripe=cast("Any", _Gateway(services.stripe, trap, sandbox)),
            database=cast("Any", _Database(services.database, trap)),
            reservations=cast("Any", _Batches(reservations, trap)),
            settlements=cast("Any", _Batches(settlements, trap)),
        )
    finally:
        await reservations.close()
        await settlements.close()


