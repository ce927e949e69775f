"""What a host is sent of a payment, in the currency that the charge settled in: no unit is made or lost by rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.money import Money, rounded_share
from models.payments import ChargeModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.payments import Payment, PaymentAllocation
    from services.transfers.parts import HostPart


@dataclass(frozen=True, slots=True)
class Sent:
    """What a host has been sent of an allocation, or is being sent, less what was taken back by reversals."""

    covers_minor: int = 0
    """Of the host's part, in the payment's currency."""
    amount_minor: int = 0
    """In the transfers' currency."""


def sent_so_far(part: HostPart) -> Sent:
    """By the transfers of one host's part and their reversals, those under way included."""
    back = [reversal for reversal in part.reversals if reversal.transfer_id is not None]
    return Sent(
        sum(row.covers_minor for row in part.transfers) - sum(row.covers_minor for row in back),
        sum(row.amount_minor for row in part.transfers) - sum(row.amount_minor for row in back),
    )


def worths(payment: Payment, allocations: Sequence[PaymentAllocation]) -> list[Money]:
    """What each allocation as a whole is worth in the currency that the charge settled in.

    Together they are the hosts' part of what settled, rounded once.

    Args:
        allocations: all of a captured payment's, whose charge has settled.
    """
    if payment.settlement_minor is None or payment.settlement_currency is None:
        raise ValueError("what a charge settled in is not known yet")
    hosts = sum(allocation.amount_minor for allocation in allocations)
    settled = Money(
        rounded_share(payment.settlement_minor, hosts, payment.captured_minor), payment.settlement_currency
    )
    if not hosts:
        return [Money.zero(settled.currency) for _ in allocations]
    return settled.split([allocation.amount_minor for allocation in allocations])


def amount_for(allocation: PaymentAllocation, worth: Money, sent: Sent, covers: Money) -> Money:
    """The transfer that sends so much more of an allocation: what that is worth with all that was sent before, less
    what was sent before. It may be nothing, where a unit of one currency is less than half of one of the other.
    """
    due = rounded_share(worth.minor, sent.covers_minor + covers.minor, allocation.amount_minor)
    return Money(due - sent.amount_minor, worth.currency)


def source_of(payment: Payment) -> str | None:
    """The charge that a transfer comes from; a destination charge has sent all that it brought, and what is owed of it
    came back since.
    """
    return payment.stripe_charge_id if payment.charge_model is ChargeModel.SEPARATE else None
