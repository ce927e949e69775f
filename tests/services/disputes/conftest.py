"""A shop whose payments are disputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.disputing import Disputing

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.fixture
def disputing(shop: Shop) -> Disputing:
    """What banks do about payments of the shop."""
    return Disputing(shop)
