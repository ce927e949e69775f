"""Why a host's part is not sent yet, and when to look again: one rule, for sending it and for telling of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.activities import PayoutTiming
from models.disputes import DisputeStatus
from models.payments import ChargeModel
from models.transfers import TransferHold
from services.transfers.times import AGAIN_LATER, AGAIN_SOMEDAY, AGAIN_SOON, release_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Pool

    from models.connect_accounts import ConnectAccount
    from models.payments import Payment
    from models.sets import AnyConnection
    from settings import Settings

_STATES = """
SELECT p.id, coalesce(a.ends_at, a.starts_at) AS over_at, a.canceled_at,
    EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id AND d.status = ANY($2)) AS disputed
FROM payments p LEFT JOIN activities a ON a.id = p.activity_id WHERE p.id = ANY($1)
"""
_OPEN = [status.value for status in DisputeStatus if status.is_open]


@dataclass(frozen=True, slots=True)
class Held:
    """Why, and when it may be otherwise."""

    why: TransferHold
    until: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What of a payment's surroundings decides."""

    over_at: datetime | None
    canceled_at: datetime | None
    disputed: bool


async def states_of(connection: AnyConnection | Pool[Any], payment_ids: Sequence[UUID]) -> dict[UUID, State]:
    """Of these payments, as they are now."""
    records = await connection.fetch(_STATES, payment_ids, _OPEN)
    return {record["id"]: State(record["over_at"], record["canceled_at"], record["disputed"]) for record in records}


def held(payment: Payment, state: State, settings: Settings, now: datetime) -> Held | None:
    """Why no host of a payment that was made is sent anything now; None where nothing is in the way of all."""
    if state.disputed:
        return Held(TransferHold.DISPUTED, now + AGAIN_SOMEDAY)
    if state.canceled_at is not None:
        return Held(TransferHold.ACTIVITY_CANCELED, now + AGAIN_SOMEDAY)
    if payment.payout_timing is PayoutTiming.AFTER_ACTIVITY and state.over_at is not None:
        due = release_time(settings, state.over_at)
        if due > now:
            return Held(TransferHold.ACTIVITY_NOT_OVER, due)
    if payment.balance_transaction_id is None:
        return Held(TransferHold.SETTLING, now + AGAIN_SOON)
    if payment.charge_model is ChargeModel.DESTINATION and payment.refund_pending_minor:
        # It may be made out of what is owed.
        return Held(TransferHold.REFUND_UNDER_WAY, now + AGAIN_LATER)
    return None


def held_for(account: ConnectAccount | None, now: datetime) -> Held | None:
    """Why this host cannot be sent anything now."""
    if account is not None and not account.transfer_hindrances():
        return None
    return Held(TransferHold.HOST_NOT_READY, now + AGAIN_SOMEDAY)
