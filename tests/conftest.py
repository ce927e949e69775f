"""The real thing for every test: PostgreSQL, Valkey and the sandbox, once a session; a database for each test."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from services.database import Database
from tests.support.postgres import create_database, drop_database, make_template, postgres_server
from tests.support.valkey import valkey_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A folder of this session that PostgreSQL's user may enter too."""
    folder = Path(tempfile.mkdtemp(prefix="paydesk-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(session_folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server with a migrated template."""
    with postgres_server(session_folder / "postgres") as server:
        make_template(server)
        yield server


@pytest.fixture(scope="session")
def valkey(session_folder: Path) -> Iterator[str]:
    """The URL of a Valkey server."""
    with valkey_server(session_folder / "valkey") as url:
        yield url


@pytest.fixture
async def database_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    name = await create_database(postgres)
    yield postgres.database(name)
    await drop_database(postgres, name)


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
