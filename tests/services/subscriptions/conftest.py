"""A guest on a test clock, and the plans there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.membership import Member

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.catalogue import Catalogue
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def member(services: Services, sandbox: Sandbox, clock: Clock) -> Member:
    return await Member.join(services, sandbox, clock)


@pytest.fixture
def catalogue(member: Member) -> Catalogue:
    return member.catalogue
