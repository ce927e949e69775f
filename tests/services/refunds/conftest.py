"""Hosts who share payments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hosts import Hosts

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.fixture
def hosts(shop: Shop) -> Hosts:
    """The shop's host and others."""
    return Hosts(shop)
