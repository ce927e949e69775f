"""A platform at Stripe of each test's own: a reconciliation looks at all that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pydantic import SecretStr

from models.reconciliations import Drift, ReconciliationRun
from services import embedded
from services.reconciliation.runs import begin, reconcile
from tests.support.sandbox import Sandbox
from tests.support.shop import Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.core import Services
    from settings import Settings
    from tests.support.clock import Clock


@pytest.fixture(scope="session")
async def platforms_server(session_folder: Path) -> AsyncIterator[str]:
    """A sandbox in which each secret key opens an account of its own."""
    async with embedded.sandbox(session_folder / "platforms", options=["--accounts-by-key"]) as url:
        yield url


@pytest.fixture
def platform_key() -> str:
    """The secret key of this test's platform."""
    return f"sk_test_{uuid4().hex}"


@pytest.fixture
def settings(settings: Settings, platforms_server: str, platform_key: str) -> Settings:
    """As everywhere, with the test's own platform."""
    return settings.model_copy(
        update={"stripe_api_base": platforms_server, "stripe_secret_key": SecretStr(platform_key)}
    )


@pytest.fixture
async def sandbox(platforms_server: str, platform_key: str) -> AsyncIterator[Sandbox]:
    """The test's own platform, as people and banks see it."""
    async with Sandbox.open(platforms_server, key=platform_key) as sandbox:
        yield sandbox
        await sandbox.heal()


class Books:
    """Reconciling, and what came of it."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self.services = services
        self.clock = clock
        self.begun = clock()

    async def reconcile(self, *, hours: float = 2) -> ReconciliationRun:
        """Let everything settle, and compare all that there is."""
        self.clock.forward(hours=hours)
        now = self.clock()
        assert await begin(self.services, self.begun.replace(year=self.begun.year - 1), now, requested_by="test")
        run = await reconcile(self.services)
        assert run is not None
        return run

    async def drifts(self) -> list[Drift]:
        """Those of a new run, in a fixed order."""
        run = await self.reconcile()
        found = await self.found(run)
        assert run.checked - run.matched == len({(drift.object_type, drift.stripe_id) for drift in found})
        return found

    async def found(self, run: ReconciliationRun) -> list[Drift]:
        """Those of a run, in a fixed order."""
        return await Drift.filter(run_id=run.id).order_by("object_type", "kind", "stripe_id")

    async def agree(self) -> int:
        """That nothing drifts, and how much was compared."""
        run = await self.reconcile()
        found = await Drift.filter(run_id=run.id)
        assert [(drift.object_type, drift.kind.value, drift.stripe_id, drift.detail) for drift in found] == []
        assert run.finished_at is not None
        assert run.checked == run.matched
        return run.checked


@pytest.fixture
def books(services: Services, clock: Clock) -> Books:
    """Ours and Stripe's."""
    return Books(services, clock)


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host who can be paid by guests for an activity without limit."""
    return await Shop.open(services, sandbox, clock)
