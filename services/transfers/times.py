"""When hosts' parts are sent, and when they are looked at again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.sets import AnyConnection
    from services.core import Services
    from settings import Settings

AGAIN_SOON: Final = timedelta(minutes=1)
"""What Stripe is just about to say."""
AGAIN_LATER: Final = timedelta(hours=1)
"""What Stripe refused: the money may be there by then."""
AGAIN_SOMEDAY: Final = timedelta(days=1)
"""What waits for a person, and is looked at again as soon as they have done something: this is for what was missed."""

_OVER = """
SELECT p.id, coalesce(a.ends_at, a.starts_at) AS over_at FROM payments p JOIN activities a ON a.id = p.activity_id
WHERE p.id = ANY($1)
"""


async def release_times(
    connection: AnyConnection, settings: Settings, payment_ids: Sequence[UUID], now: datetime
) -> dict[UUID, datetime]:
    """When the hosts' parts of payments that are released after their activity may be sent, as it is planned now."""
    records = await connection.fetch(_OVER, payment_ids)
    return {record["id"]: max(now, release_time(settings, record["over_at"])) for record in records}


def release_time(settings: Settings, over_at: datetime) -> datetime:
    """When a host is paid for an activity that is over then."""
    return over_at + timedelta(seconds=settings.release_after_s)


_PAYMENTS_OF_HOST = """
SELECT p.id FROM payments p WHERE p.id IN (
    SELECT a.payment_id FROM payment_allocations a JOIN payments q ON q.id = a.payment_id
    LEFT JOIN activities v ON v.id = q.activity_id
    WHERE a.host_id = $1 AND a.release_at > $2 AND a.payment_id > $4 AND (
        q.payout_timing IS DISTINCT FROM 'AFTER_ACTIVITY' OR coalesce(v.ends_at, v.starts_at) <= $3)
    ORDER BY a.payment_id LIMIT $5
) ORDER BY p.id FOR NO KEY UPDATE
"""
_PAYMENTS_OF_ACTIVITY = """
SELECT p.id FROM payments p WHERE p.activity_id = $1 AND p.payout_timing = 'AFTER_ACTIVITY' AND p.captured_minor > 0
ORDER BY p.id FOR NO KEY UPDATE
"""
_LOOK_AT = "UPDATE payment_allocations SET release_at = $2 WHERE payment_id = ANY($1) AND release_at IS NOT NULL"


async def look_at_host(services: Services, host_id: UUID, *, at_once: int = 200) -> None:
    """Look now at what waits for a host, since they can be sent money; what waits for its activity goes on waiting.

    Args:
        at_once: payments that are locked together: thousands may wait for a host, and guests for each of them.
    """
    now = services.clock()
    over_before = now - timedelta(seconds=services.settings.release_after_s)
    after = UUID(int=0)
    while True:
        async with services.database.transaction() as connection:
            records = await connection.fetch(_PAYMENTS_OF_HOST, host_id, now, over_before, after, at_once)
            await connection.execute(_LOOK_AT, [record["id"] for record in records], now)
        if len(records) < at_once:
            return
        after = records[-1]["id"]


async def look_at_payment(connection: AnyConnection, payment_id: UUID, now: datetime) -> None:
    """Look now at what waits of a locked payment, since what kept it has ended."""
    await connection.execute(_LOOK_AT, [payment_id], now)


async def look_at_activity(connection: AnyConnection, activity_id: UUID, at: datetime) -> None:
    """Look at that time at what hosts are owed of a locked activity, since it is over at another time."""
    records = await connection.fetch(_PAYMENTS_OF_ACTIVITY, activity_id)
    await connection.execute(_LOOK_AT, [record["id"] for record in records], at)
