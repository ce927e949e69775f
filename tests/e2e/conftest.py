"""A running system for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.system import System, running_system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def system(database_url: str, valkey: str, tmp_path: Path) -> AsyncIterator[System]:
    """A sandbox and a database of this test's own; API processes are started by the test."""
    async with running_system(database_url, valkey, tmp_path) as system:
        yield system
