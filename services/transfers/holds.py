"""Why a host's part is not sent yet, and when to look again: one rule, for sending it and for telling of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.activities import PayoutTiming
from models.disputes import DisputeStatus
from models.payments import ChargeModel
from models.transfers import TransferHold
from services.transfers.times import AGAIN_LATER, AGAIN_SOMEDAY, AGAIN_SOON, release_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from models.connect_accounts import ConnectAccount
    from models.payments import Payment
    from models.sets import AnyConnection
    from settings import Settings

_OPEN: Final = ", ".join(f"'{status.value}'" for status in DisputeStatus if status.is_open)
STATE: Final = f"""coalesce(a.ends_at, a.starts_at) AS over_at, a.canceled_at,
    EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id AND d.status IN ({_OPEN})) AS disputed"""
"""The columns of `State` in SQL, of a payment p and its activity a."""
_STATE_OF = f"SELECT {STATE} FROM payments p LEFT JOIN activities a ON a.id = p.activity_id WHERE p.id = $1"


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

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> State:
        """From a record with the columns of `STATE`."""
        return cls(record["over_at"], record["canceled_at"], record["disputed"])


async def state_of(connection: AnyConnection, payment_id: UUID) -> State:
    """Of a payment, as it is now."""
    return State.of((await connection.fetch(_STATE_OF, payment_id))[0])


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
