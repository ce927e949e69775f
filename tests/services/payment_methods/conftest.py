"""A guest who has saved nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def wallet(services: Services, sandbox: Sandbox, clock: Clock) -> Wallet:
    return await Wallet.open(services, sandbox, clock)
