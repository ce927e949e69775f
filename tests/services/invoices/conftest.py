"""A guest who is about to subscribe, told of by Stripe's webhooks alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.billing import Subscriber

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def subscriber(services: Services, sandbox: Sandbox, clock: Clock) -> Subscriber:
    """Pays with a Visa."""
    return await Subscriber.begin(services, sandbox, clock)
