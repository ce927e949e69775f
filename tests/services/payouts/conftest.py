"""A host with 100 dollars, whose payouts stay where they are until a test says what the bank does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.payouts import Earner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def patient_sandbox(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """Payouts do not go on by themselves."""
    await sandbox.act("payouts", progress=False, schedules=False)
    yield sandbox
    await sandbox.act("payouts", progress=True, schedules=True)


@pytest.fixture
async def earner(services: Services, patient_sandbox: Sandbox, clock: Clock) -> Earner:
    """The host."""
    return await Earner.open(services, patient_sandbox, clock)
