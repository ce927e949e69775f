"""What games are played in: a sandbox of many platforms, and silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from services import embedded
from tests.support.games import DAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def accounts_sandbox(session_folder: Path) -> AsyncIterator[str]:
    """A sandbox where each game has an account of its own, and nothing happens by itself."""
    options = ("--accounts-by-key", "--async-delay", str(DAY))
    async with embedded.sandbox(session_folder / "games", options=options) as url:
        yield url


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of lines about faults that were wanted."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.configure(**before)
