"""Whatever happens, in whatever order: our places hold what Stripe's balances say, and every cent is explained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.histories import History

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

SEEDS = int(os.environ.get("HISTORIES", "4"))
STEPS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_any_history_is_explained_to_the_cent(
    services: Services, sandbox: Sandbox, clock: Clock, seed: int
) -> None:
    history = await History.begin(services, sandbox, clock, seed)
    for _ in range(3):
        for _ in range(STEPS // 3):
            await history.step()
        await history.come_to_rest()
    assert history.done["pay"] + history.done["split"] > 3
