"""A running system for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.system import System, running_system
from tests.support.postgres import PostgresServer, create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="module")
async def crashing_system(
    postgres: PostgresServer, valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """A system for a module's tests, with a host; its API process dies where a test arms it to."""
    name = await create_database(postgres)
    async with running_system(postgres.database(name), valkey_server, tmp_path_factory.mktemp("system")) as system:
        await system.start(crashing=True)
        await system.host()
        yield system
    await drop_database(postgres, name)


@pytest.fixture
async def system(database_url: str, valkey: str, tmp_path: Path) -> AsyncIterator[System]:
    """A sandbox and a database of this test's own; API processes are started by the test."""
    async with running_system(database_url, valkey, tmp_path) as system:
        yield system
