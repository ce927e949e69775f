"""The real thing for every test: PostgreSQL, Valkey and the sandbox, once a session; a database for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services import embedded
from services.database import Database
from services.wiring import open_services
from settings import Settings
from tests.support.clock import Clock
from tests.support.postgres import SETTINGS, Databases, PostgresServer, make_template
from tests.support.sandbox import Sandbox
from tests.support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.core import Services

WEBHOOK_SECRET = "whsec_platform"
CONNECT_WEBHOOK_SECRET = "whsec_connect"


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A folder of this session that PostgreSQL's user may enter too."""
    folder = Path(tempfile.mkdtemp(prefix="paydesk-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def postgres(session_folder: Path) -> AsyncIterator[PostgresServer]:
    """A PostgreSQL server with a migrated template."""
    async with embedded.postgres(session_folder / "postgres", durable=False, settings=SETTINGS) as url:
        server = PostgresServer(url)
        await make_template(server)
        yield server


@pytest.fixture(scope="session")
async def valkey_server(session_folder: Path) -> AsyncIterator[str]:
    """The URL of a Valkey server."""
    async with embedded.valkey(session_folder / "valkey") as url:
        yield url


@pytest.fixture
async def valkey(valkey_server: str) -> str:
    """The URL of an empty Valkey."""
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
    return valkey_server


@pytest.fixture(scope="session")
async def sandbox_server(session_folder: Path) -> AsyncIterator[str]:
    """The URL of the sandbox; its objects stay, so that tests go by their own.

    TEST_SANDBOX_PORTS say where they listen, one for each process that runs tests, and TEST_SANDBOX_URLS where they
    are found, for recorders in between.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = os.environ.get("TEST_SANDBOX_PORTS", "").split()
    recorded = worker < len(ports)
    async with embedded.sandbox(session_folder / "sandbox", port=int(ports[worker]) if recorded else None) as url:
        yield os.environ["TEST_SANDBOX_URLS"].split()[worker] if recorded else url


@pytest.fixture
async def sandbox(sandbox_server: str) -> AsyncIterator[Sandbox]:
    """What people, banks and faults do at Stripe; no fault outlives its test."""
    async with Sandbox.open(sandbox_server) as sandbox:
        yield sandbox
        await sandbox.heal()


@pytest.fixture(scope="session")
async def databases(postgres: PostgresServer) -> Databases:
    """The databases that tests take turns with."""
    return Databases(postgres)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of a migrated, empty database that nobody else uses during the test."""
    name = await databases.take()
    yield databases.server.database(name)
    await databases.give_back(name)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """One plain connection."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database as the services use it: the pool and the ORM."""
    async with Database.open(database_url, pool_size=8, orm_pool_size=4) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    """The services' clock."""
    return Clock()


@pytest.fixture
def settings(database_url: str, valkey: str, sandbox_server: str) -> Settings:
    """The settings of `services`: everything real, patience short."""
    return Settings(
        _env_file=None,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(valkey),
        stripe_secret_key=SecretStr(embedded.SECRET_KEY),
        stripe_api_base=sandbox_server,
        stripe_webhook_secret=(SecretStr(WEBHOOK_SECRET),),
        stripe_connect_webhook_secret=(SecretStr(CONNECT_WEBHOOK_SECRET),),
        stripe_rate=2000,
        return_urls=("https://front.example/",),
        stripe_deadline_s=0.5,
        duplicate_wait_s=10,
        breaker_failures=10_000,
    )


@pytest.fixture
async def services(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    """Everything that a use case needs, connected."""
    async with open_services(settings, clock=clock) as services:
        yield services


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host who can be paid by guests for an activity without limit."""
    return await Shop.open(services, sandbox, clock)
