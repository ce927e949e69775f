"""A shop whose activity is canceled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.calling_off import CallingOff

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.fixture
def off(shop: Shop) -> CallingOff:
    """The platform, as it calls the shop's activity off."""
    return CallingOff(shop)
