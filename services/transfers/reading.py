"""Hosts' parts as they are read: what has left, what was taken back, and why the rest has not been sent yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from models.base import from_record
from models.connect_accounts import ConnectAccount
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.sets import from_joined, joined_columns
from models.transfers import TransferHold
from services.transfers.holds import STATE, Held, State, held, held_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from services.core import Services

_KNOWN = frozenset({TransferHold.ACTIVITY_NOT_OVER, TransferHold.REFUSED})
"""Of these it is known when they end."""


@cache
def _parts() -> str:
    return f"""
    SELECT t.*, {joined_columns(Payment, "p")}, {joined_columns(ConnectAccount, "c")}, {STATE},
        coalesce(sent.under_way, 0)::bigint AS under_way, coalesce(sent.refused, 0) > 0 AS refused
    FROM payment_allocations t JOIN payments p ON p.id = t.payment_id
    LEFT JOIN activities a ON a.id = p.activity_id
    LEFT JOIN connect_accounts c ON c.user_id = t.host_id AND c.deauthorized_at IS NULL
    LEFT JOIN LATERAL (
        SELECT sum(covers_minor) FILTER (WHERE status = 'PLANNED') AS under_way,
            count(*) FILTER (WHERE status = 'REFUSED') AS refused
        FROM transfers WHERE allocation_id = t.id
    ) sent ON true
    WHERE t.payment_id = ANY($1) ORDER BY t.id
    """


@dataclass(frozen=True, slots=True)
class HostShare:
    """One host's part of a payment; amounts in minor units of its currency."""

    allocation: PaymentAllocation
    transferred: bool
    """Whether all that is the host's has left for their account."""
    taken_minor: int
    """What was taken back of it, where it had been sent and where it had not."""
    held: TransferHold | None
    release_at: datetime | None
    """When it will be sent, where that is known."""


async def host_shares(services: Services, payment_ids: Sequence[UUID]) -> dict[UUID, list[HostShare]]:
    """Who has which part of these payments, in the order of their splits; in one statement."""
    now = services.clock()
    found: dict[UUID, list[HostShare]] = {id_: [] for id_ in payment_ids}
    for record in await services.database.pool.fetch(_parts(), payment_ids):
        payment = from_joined(Payment, record, "p")
        assert payment is not None  # a payment that is joined to itself
        found[payment.id].append(_share(services, payment, record, now))
    return found


def _share(services: Services, payment: Payment, record: Mapping[str, Any], now: datetime) -> HostShare:
    columns = PaymentAllocation._meta.fields_db_projection.values()
    its = from_record(PaymentAllocation, {column: record[column] for column in columns})
    under_way: int = record["under_way"]
    if payment.charge_model is not ChargeModel.SEPARATE:
        transferred = its.stripe_transfer_id is not None or 0 < its.amount_minor <= its.transferred_minor
        taken = its.reversed_minor
    elif not payment.status.is_captured:
        transferred, taken = False, 0
    else:
        left = its.transferred_minor - its.reversed_minor + under_way + its.owed_minor
        transferred = its.transferred_minor > 0 >= its.owed_minor + under_way
        taken = its.amount_minor - left
    hold = _held(services, payment, its, record, now)
    why, until = (hold.why, hold.until) if hold else (None, None)
    return HostShare(its, transferred, taken, why, until if why in _KNOWN else None)


def _held(
    services: Services, payment: Payment, its: PaymentAllocation, record: Mapping[str, Any], now: datetime
) -> Held | None:
    if record["under_way"]:
        return Held(TransferHold.UNDER_WAY, now)
    if its.owed_minor <= 0 or not payment.status.is_captured:
        return None
    state = State.of(record)
    hold = held(payment, state, services.settings, now) or held_for(from_joined(ConnectAccount, record, "c"), now)
    if hold is not None:
        return hold
    if its.release_at is None:
        return Held(TransferHold.HELD_BACK, now)
    if record["refused"] and its.release_at > now:
        return Held(TransferHold.REFUSED, its.release_at)
    return Held(TransferHold.UNDER_WAY, now)
