"""A sandbox where each test's key opens a platform of its own: its books hold nothing of other tests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pydantic import SecretStr

from services import embedded
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from settings import Settings


@pytest.fixture(scope="session")
async def books_server(session_folder: Path) -> AsyncIterator[str]:
    """The URL of a sandbox with a platform for each key; refunds and debits end when a test says so."""
    options = ("--accounts-by-key", "--async-delay", "86400")
    async with embedded.sandbox(session_folder / "books", options=options) as url:
        yield url


@pytest.fixture
def settings(settings: Settings, books_server: str) -> Settings:
    """The settings of `services`, with a key of its own."""
    key = SecretStr(f"sk_test_{uuid4().hex}")
    return settings.model_copy(update={"stripe_api_base": books_server, "stripe_secret_key": key})


@pytest.fixture
async def sandbox(settings: Settings) -> AsyncIterator[Sandbox]:
    """The platform of this test alone."""
    assert settings.stripe_secret_key is not None
    async with Sandbox.open(settings.stripe_api_base, key=settings.stripe_secret_key.get_secret_value()) as sandbox:
        yield sandbox
        await sandbox.heal()
