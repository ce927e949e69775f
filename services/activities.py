"""Activities, as the platform's backend tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.activities import Activity
from models.base import from_record, new_id
from models.currencies import currency
from models.money import WIRE_AMOUNT_MAX, Money
from services.changes import ChangeSet
from services.errors import InvalidInput, InvalidState
from services.text import check_text
from services.transfers.times import look_at_activity, release_time
from services.viewer import Role

if TYPE_CHECKING:
    from datetime import datetime

    from models.activities import PayoutTiming
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

CAPACITY_MAX = 1_000_000

_UPSERT = """
INSERT INTO activities (id, external_id, title, host_id, price_minor, currency, starts_at, ends_at, capacity,
    payout_timing)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (external_id) DO UPDATE SET title = excluded.title, host_id = excluded.host_id,
    price_minor = excluded.price_minor, currency = excluded.currency, starts_at = excluded.starts_at,
    ends_at = excluded.ends_at, capacity = excluded.capacity, payout_timing = excluded.payout_timing, updated_at = now()
RETURNING *, pg_current_xact_id()::text::bigint AS xid
"""


async def upsert_activity(
    services: Services, *, viewer: Viewer, external_id: str, title: str, host_external_id: str, price: Money,
    starts_at: datetime, capacity: int | None, payout_timing: PayoutTiming, ends_at: datetime | None = None,
) -> Activity:  # fmt: skip
    """Create or update an activity by the platform's own id; payments made before keep their price and payout timing.

    Hosts who are paid after the activity are paid by when it is over as it is planned now.

    Raises: Forbidden for users; InvalidInput; InvalidState where more seats are taken than the new capacity has, or
        the host would change under payments.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    check_text("externalId", external_id, length_max=255)
    check_text("title", title, length_max=255)
    if capacity is not None and not 1 <= capacity <= CAPACITY_MAX:
        raise InvalidInput("capacity", f"Between 1 and {CAPACITY_MAX} seats, or none for no limit.")
    for name, at in (("startsAt", starts_at), ("endsAt", ends_at)):
        if at is not None and at.tzinfo is None:
            raise InvalidInput(name, "A time needs its offset from UTC: 2030-06-01T18:00:00Z.")
    if ends_at is not None and ends_at < starts_at:
        raise InvalidInput("endsAt", "An activity ends after it has started.")
    _check_price(price)
    async with services.database.transaction() as connection:
        host_id = await connection.fetchval("SELECT id FROM users WHERE external_id = $1", host_external_id)
        if host_id is None:
            raise InvalidInput("hostExternalId", "There is no such user. Send the host first.")
        before = await connection.fetchrow(
            "SELECT * FROM activities WHERE external_id = $1 FOR NO KEY UPDATE", external_id
        )
        if before is not None:
            await _check_change(connection, from_record(Activity, before), host_id, capacity)
        record: Any = await connection.fetchrow(
            _UPSERT, new_id(), external_id, title, host_id, price.minor, price.currency, starts_at, ends_at,
            capacity, payout_timing.value,
        )  # fmt: skip
        changes = ChangeSet(viewer.caller, record["xid"])
        activity = from_record(Activity, record)
        known = None if before is None else _facts(from_record(Activity, before))
        if known != _facts(activity):
            changes.audit("activity.upserted", "ACTIVITY", activity.id, before=known, after=_facts(activity))
        if known is not None and (known["starts_at"], known["ends_at"]) != _times(activity):
            over = release_time(services.settings, activity.ends_at or activity.starts_at)
            await look_at_activity(connection, activity.id, max(over, services.clock()))
        await changes.write(connection)
    return activity


def _check_price(price: Money) -> None:
    facts = currency(price.currency)
    if price.minor < facts.minimum_charge_minor:
        least = Money(facts.minimum_charge_minor, price.currency)
        raise InvalidInput("price", f"Stripe takes no less than {least}.")
    if price.wire > WIRE_AMOUNT_MAX:
        raise InvalidInput("price", "This is more than one payment can be.")


async def _check_change(connection: AnyConnection, activity: Activity, host_id: Any, capacity: int | None) -> None:
    if capacity is not None and capacity < activity.seats_taken:
        raise InvalidState(
            f"{activity.seats_taken} seats are taken already.", state="SEATS_TAKEN", path=["input", "capacity"]
        )
    if host_id == activity.host_id:
        return
    if await connection.fetchval("SELECT EXISTS (SELECT FROM payments WHERE activity_id = $1)", activity.id):
        raise InvalidState(
            "The host cannot change once there are payments.", state="HAS_PAYMENTS", path=["input", "hostExternalId"]
        )


def _times(activity: Activity) -> tuple[str, str | None]:
    ends_at = activity.ends_at
    return activity.starts_at.isoformat(), None if ends_at is None else ends_at.isoformat()


def _facts(activity: Activity) -> dict[str, Any]:
    starts_at, ends_at = _times(activity)
    return {
        "external_id": activity.external_id,
        "title": activity.title,
        "host_id": str(activity.host_id),
        "price_minor": activity.price_minor,
        "currency": activity.currency,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "capacity": activity.capacity,
        "payout_timing": activity.payout_timing.value,
    }
