"""The people and the activity that a fresh folder of data starts with, so that there is something to try."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from models.activities import PayoutTiming
from models.money import Money
from models.users import User
from services.activities import upsert_activity
from services.users import upsert_user
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from services.core import Services

_SYSTEM = Viewer(role=Role.SERVICE, external_id="system:demo")
PEOPLE = (("host", "Hanna Host"), ("guest", "Gus Guest"), ("guest2", "Greta Guest"))
ACTIVITY = "kayak-at-sunset"


async def seed_demo_people(services: Services) -> bool:
    """Make them, where there is nobody yet.

    Returns: whether they were made.
    """
    if await User.exists():
        return False
    for external_id, name in PEOPLE:
        await upsert_user(
            services, viewer=_SYSTEM, external_id=external_id, email=f"{external_id}@example.com", name=name,
            country=services.settings.platform_country, locale="en-US",
        )  # fmt: skip
    await upsert_activity(
        services, viewer=_SYSTEM, external_id=ACTIVITY, title="Kayak at sunset", host_external_id="host",
        price=Money(4500, "USD"), starts_at=services.clock() + timedelta(days=30), capacity=12,
        payout_timing=PayoutTiming.IMMEDIATE,
    )  # fmt: skip
    return True
