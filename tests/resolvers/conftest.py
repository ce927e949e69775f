"""The schema without a transport, on a database of the test's own; Stripe is out of reach."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from resolvers.api import build_schema
from schema.context import Context, new_context
from services.audit.reads import StoreEntries
from services.batching import Batcher
from services.completion import Operations
from services.core import Services
from services.database import Database
from services.live import LiveUpdates
from services.metrics import Metrics
from services.payments.reservation import ReservePayments
from services.payments.settlement import SettleIntents
from services.viewer import Role, Viewer
from services.webhooks.inbox import StoreEvents
from services.wiring import operation_kinds
from settings import load_settings
from tests.support.rows import add_account, add_activity, add_payment, add_rsvp, add_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import strawberry
    from strawberry.types import ExecutionResult

    from models.activities import Activity
    from models.payments import Payment
    from models.rsvps import Rsvp
    from models.users import User

# asyncpg looks up types once a connection.
_OF_THE_DRIVER = ("typeinfo", "'jit'")

SERVICE = Viewer(Role.SERVICE, "backend")
ADMIN = Viewer(Role.ADMIN, "operator")


def user(name: str) -> Viewer:
    """The bearer of a user's token."""
    return Viewer(Role.USER, name)


class NoStripe:
    """Stands where the gateway does: whoever calls it has gone too far."""

    async def send(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("Stripe was called")

    list_all = send


@dataclass
class Api:
    """The schema as a client has it."""

    schema: strawberry.Schema
    services: Services
    statements: list[str] = field(default_factory=list)
    """What was sent to the database by way of the pool."""

    def context(self, viewer: Viewer | None, accept_language: str | None = None) -> Context:
        return new_context(self.services, viewer, accept_language=accept_language)

    async def execute(
        self, query: str, viewer: Viewer | None, *, accept_language: str | None = None, **variables: Any
    ) -> ExecutionResult:
        return await self.schema.execute(
            query, variable_values=variables, context_value=self.context(viewer, accept_language)
        )

    async def data(
        self, query: str, viewer: Viewer | None, *, accept_language: str | None = None, **variables: Any
    ) -> Any:
        """What is answered where nothing goes wrong."""
        result = await self.execute(query, viewer, accept_language=accept_language, **variables)
        assert result.errors is None, result.errors
        return result.data

    async def refusal(self, query: str, viewer: Viewer | None, **variables: Any) -> Exception:
        """The one error that is answered instead of data."""
        result = await self.execute(query, viewer, **variables)
        assert result.errors is not None
        [error] = result.errors
        assert error.original_error is not None, error
        return error.original_error


@pytest.fixture(scope="session")
def schema() -> strawberry.Schema:
    return build_schema()


@pytest.fixture
async def api(database: Database, schema: strawberry.Schema) -> AsyncIterator[Api]:
    statements: list[str] = []

    def note(record: Any) -> None:
        if not any(word in record.query for word in _OF_THE_DRIVER):
            statements.append(record.query)

    async def watch(connection: Any) -> None:
        connection.add_query_logger(note)

    settings = load_settings(_env_file=None)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(database.url, min_size=1, max_size=8, init=watch, reset=_no_reset)
        )
        watched = Database(database.url, pool)
        live = LiveUpdates(watched, None)
        await live.start()
        stack.push_async_callback(live.close)
        lanes = {"lanes": 1, "batch_max": 100}
        reservations = Batcher("reservations", database.connect, ReservePayments(settings), **lanes)
        settlements = Batcher("settlements", database.connect, SettleIntents(settings, _now), **lanes)
        inbox = Batcher("inbox", database.connect, StoreEvents(), **lanes)
        admin_reads = Batcher("admin_reads", database.connect, StoreEntries(), **lanes)
        for batcher in (reservations, settlements, inbox, admin_reads):
            stack.push_async_callback(batcher.close)
        stand_in: Any = NoStripe()
        redis: Any = None
        services = Services(
            settings=settings, database=watched, redis=redis, stripe=stand_in,
            operations=Operations(operation_kinds(), lease_s=45, duplicate_wait_s=1), live=live,
            reservations=reservations, settlements=settlements, inbox=inbox, admin_reads=admin_reads,
            metrics=Metrics(), clock=_now,
        )  # fmt: skip
        yield Api(schema, services, statements)


async def _no_reset(_connection: Any) -> None:
    """As in production: a reset would be one more statement."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Market:
    """A host with an activity, and a guest who has paid 20 USD for a seat; someone else has nothing to do with it."""

    host: User
    guest: User
    stranger: User
    activity: Activity
    rsvp: Rsvp
    payment: Payment


@pytest.fixture
async def market(connection: asyncpg.Connection[Any]) -> Market:
    host = await add_user(connection, external_id="henriette")
    guest = await add_user(connection, external_id="gustav")
    stranger = await add_user(connection, external_id="stella")
    await add_account(connection, host)
    activity = await add_activity(connection, host, seats_taken=1, capacity=10)
    rsvp = await add_rsvp(connection, activity, guest, status="CONFIRMED")
    payment = await add_payment(
        connection, guest, host_id=host.id, activity_id=activity.id, rsvp_id=rsvp.id, captured=True,
        client_secret="pi_secret_of_the_guest",
        payment_method={
            "stripe_id": "pm_1", "type": "card", "brand": "visa", "last4": "4242", "exp_month": 4, "exp_year": 2031,
        },
    )  # fmt: skip
    return Market(host, guest, stranger, activity, rsvp, payment)
