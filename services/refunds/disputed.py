"""What disputes leave of a payment to refund: nothing while one is open, and after a lost one what it did not take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.disputes import DisputeStatus
from models.money import Money
from services.errors import InvalidState

if TYPE_CHECKING:
    from asyncpg import Pool

    from models.payments import Payment
    from models.sets import AnyConnection

_LOST = """
SELECT coalesce(sum(fee_minor), 0)::bigint AS fee, coalesce(sum(host_minor), 0)::bigint AS host
FROM disputes WHERE payment_id = $1
"""
_OPEN = "SELECT EXISTS (SELECT FROM disputes WHERE payment_id = $1 AND status = ANY($2))"
# An inquiry withdraws nothing, and a refund is what ends it ("Inquiries").
_UNDECIDED = tuple(status.value for status in DisputeStatus if status.is_open and not status.is_inquiry)


@dataclass(frozen=True, slots=True)
class Lost:
    """What lost disputes took of a payment: of the platform's fee, and of the hosts' part."""

    fee: Money
    host: Money

    @property
    def amount(self) -> Money:
        """Both together."""
        return self.fee + self.host

    @classmethod
    def nothing(cls, currency: str) -> Lost:
        """No dispute was lost."""
        return cls(Money.zero(currency), Money.zero(currency))


async def lost_of(connection: AnyConnection | Pool[Any], payment: Payment) -> Lost:
    """What lost disputes took of a payment."""
    if not payment.disputed_minor:
        return Lost.nothing(payment.currency)
    record: Any = await connection.fetchrow(_LOST, payment.id)
    return Lost(Money(record["fee"], payment.currency), Money(record["host"], payment.currency))


async def require_undisputed(connection: AnyConnection | Pool[Any], payment: Payment) -> None:
    """Refuse to refund what the guest's bank holds.

    Raises: InvalidState.
    """
    if payment.disputed_minor and await connection.fetchval(_OPEN, payment.id, _UNDECIDED):
        raise InvalidState(
            "The guest disputes this payment, and their bank holds the money until it has decided. Nothing can be "
            "refunded until then: hand in evidence, or accept the dispute to leave the money to the guest.",
            state="DISPUTED",
        )
