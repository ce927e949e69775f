"""Who bears a refund, from what Stripe did for it: one made in Stripe's dashboard may take nothing of the host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from models.money import Money, rounded_share
from models.payments import ChargeModel
from models.refunds import RefundOrigin
from services.fees import refund_parts_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.payments import Payment
    from models.refunds import Refund
    from services.refunds.disputed import Lost
    from services.refunds.facts import RefundFacts

_TOGETHER: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Bearers:
    """Amounts in the payment's currency; fee, host and platform together are the refund's amount."""

    transfer_reversed: Money
    """What Stripe took back of the host's transfer, or of the host's balance for a direct charge."""
    application_fee_refunded: Money
    """What Stripe gave the host back of the platform's fee."""
    fee_held: Money
    """What of the fee the platform holds itself: all of an invoice's, or out of an earlier refund that failed, ..."""
    host_held: Money
    """... and what of the host's part, which the platform has held since."""
    amount: Money

    @property
    def fee(self) -> Money:
        """The platform's fee given up."""
        return self.application_fee_refunded + self.fee_held

    @property
    def host(self) -> Money:
        """What the host gives."""
        return self.transfer_reversed - self.application_fee_refunded + self.host_held

    @property
    def platform(self) -> Money:
        """What the platform gives beyond its fee."""
        return self.amount - self.fee - self.host


def lags(refund: Refund, others: Sequence[Refund], facts: RefundFacts) -> bool:
    """Whether the facts are older than what is known: they lack refunds that have been settled already."""
    return facts.charge is not None and facts.charge.refunded < _known(refund, others, facts)


def bearers_apart(payment: Payment, refund: Refund, others: Sequence[Refund], left: Money, lost: Lost) -> Bearers:
    """Who bears a refund whose hosts' part is taken back by calls of our own: Stripe took nothing of them.

    Args:
        others: the payment's other refunds.
        left: what is left of the hosts' part; what is beyond it, the platform bears.
        lost: what lost disputes took.
    """
    zero = Money.zero(payment.currency)
    fee = Money(refund.fee_minor, payment.currency)
    if refund.origin is RefundOrigin.STRIPE:
        before, fee_before = _before(payment, others, lost)
        fee, _ = refund_parts_after(payment, before, fee_before, refund.amount)
    return Bearers(zero, zero, fee_held=fee, host_held=min(refund.amount - fee, left), amount=refund.amount)


def bearers_of(
    payment: Payment, refund: Refund, others: Sequence[Refund], owed: Money, facts: RefundFacts, lost: Lost
) -> Bearers:
    """Who bears a refund that Stripe has just made.

    Args:
        others: the payment's other refunds.
        lost: what lost disputes took.
        owed: what the platform holds of the host's part, after refunds that failed; below zero what the host holds of
            the fee after one of a direct charge did.
    """
    zero = Money.zero(payment.currency)
    if payment.charge_model is ChargeModel.PLATFORM:
        return Bearers(zero, zero, fee_held=refund.amount, host_held=zero, amount=refund.amount)
    before, fee_before = _before(payment, others, lost)
    expected, _ = refund_parts_after(payment, before, fee_before, refund.amount)
    if payment.charge_model is ChargeModel.DIRECT:
        fee = expected if facts.charge is None else _fee_refunded(payment, refund, others, expected, facts)
        forgiven = min(max(expected - fee, zero), max(-owed, zero))
        return Bearers(refund.amount, fee, fee_held=forgiven, host_held=-forgiven, amount=refund.amount)
    if facts.charge is None:  # not expanded: what was asked for is all there is to know
        host = refund.amount
        fee = expected
    else:
        host = _transfer_reversed(payment, refund, facts)
        fee = _fee_refunded(payment, refund, others, expected, facts)
    gap = refund.amount - host
    fee_held = host_held = zero
    if gap > zero and owed > zero:
        fee_part, host_part = refund_parts_after(payment, before + host, fee_before + fee, gap)
        host_held = min(owed, host_part)
        rounded = (host_part - host_held).minor <= 1
        fee_held = gap - host_held if rounded else fee_part.proportion(host_held, host_part)
    return Bearers(host, fee, fee_held, host_held, refund.amount)


def _before(payment: Payment, others: Sequence[Refund], lost: Lost) -> tuple[Money, Money]:
    """What was given back before, and how much of the fee that was."""
    holding = [other for other in others if other.status.holds_money]
    return (
        sum((other.amount for other in holding), lost.amount),
        Money(sum(other.fee_minor for other in holding), payment.currency) + lost.fee,
    )


def _known(refund: Refund, others: Sequence[Refund], facts: RefundFacts) -> Money:
    """The sum of what was refunded as far as we know, this refund included."""
    made = [other.amount for other in others if other.stripe_refund_id is not None and other.status.holds_money]
    if facts.status.holds_money:
        made.append(refund.amount)
    return sum(made, Money.zero(refund.currency))


def _transfer_reversed(payment: Payment, refund: Refund, facts: RefundFacts) -> Money:
    """The reversal in the payment's currency: the refund's amount, but for rounding where currencies differ."""
    part, whole = facts.transfer_reversed, facts.charge and facts.charge.transferred
    if part is None or not whole:
        return Money.zero(payment.currency)
    if part.currency == payment.currency:
        return part
    share = Money(rounded_share(payment.captured_minor, part.minor, whole.minor), payment.currency)
    one_unit = payment.captured_minor // whole.minor + 1
    return refund.amount if abs((share - refund.amount).minor) <= one_unit else share


def _fee_refunded(
    payment: Payment, refund: Refund, others: Sequence[Refund], expected: Money, facts: RefundFacts
) -> Money:
    """What was given back of the fee for this refund.

    Stripe says it of all refunds together, and of each only when it was given: with the refund.
    """
    charge = facts.charge
    if charge is None or not charge.fee or charge.fee_refunded is None:
        return Money.zero(payment.currency)
    given = [other.application_fee_refunded_minor for other in others]
    rest = max(0, _of_fee(payment, charge.fee, charge.fee_refunded) - sum(given))
    if charge.refunded == _known(refund, others, facts):
        return Money(rest, payment.currency)
    # Others are in this sum that are not known yet: the last one to become known gets the rest.
    with_it = [made.amount for made in charge.fee_refunds if abs(made.created_at - facts.created_at) <= _TOGETHER]
    amounts = [_of_fee(payment, charge.fee, amount) for amount in with_it]
    for minor in given:
        if minor in amounts:
            amounts.remove(minor)
    likeliest = min(amounts, key=lambda minor: abs(minor - expected.minor), default=0)
    return Money(min(likeliest, rest), payment.currency)


def _of_fee(payment: Payment, fee: Money, part: Money) -> int:
    """A part of Stripe's fee as one of the payment's, in minor units of its currency."""
    if fee.currency == payment.currency:
        return part.minor
    return rounded_share(payment.platform_fee_minor, part.minor, fee.minor)
