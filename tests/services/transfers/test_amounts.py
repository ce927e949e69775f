"""No unit is made or lost: shares of the hosts' part, and what they are worth in the currency that settled."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from models.base import new_id
from models.money import Money, rounded_share
from models.payments import ChargeModel, Payment, PaymentAllocation, shares_of
from models.transfers import Transfer, TransferReversal, TransferStatus
from services.fees import fee_for_capture
from services.transfers.amounts import amount_for, sent_so_far, worths
from services.transfers.parts import HostPart, Reversible

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

Row = TypeVar("Row", Payment, PaymentAllocation, Transfer, TransferReversal)

WIRE_MAX = 99_999_999
UNIT = 10**6


def row(model: type[Row], **values: Any) -> Row:
    """A row that no database knows: ids of others are columns only once the models are bound to one."""
    made = model()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@st.composite
def any_shares(draw: st.DrawFn) -> list[Decimal]:
    """Shares of up to twenty hosts that add up to one."""
    weights = draw(st.lists(st.integers(1, 1_000), min_size=1, max_size=20))
    cuts = Money(UNIT, "USD").split(weights)
    return [share for cut in cuts if (share := Decimal(cut.minor) / UNIT)]


@st.composite
def captured(draw: st.DrawFn) -> tuple[Payment, list[PaymentAllocation]]:
    """A payment of any amount and fee, captured in any part, settled in any amount of its own or another currency."""
    amount = draw(st.integers(1, WIRE_MAX))
    fee = draw(st.integers(0, amount))
    payment = row(
        Payment,
        id=new_id(), charge_model=ChargeModel.SEPARATE, currency="USD", amount_minor=amount, platform_fee_minor=fee,
        host_amount_minor=amount - fee,
    )  # fmt: skip
    taken = Money(draw(st.integers(1, amount)), "USD")
    fee_taken = fee_for_capture(payment, taken)
    payment.captured_minor, payment.platform_fee_minor = taken.minor, fee_taken.minor
    payment.host_amount_minor = (taken - fee_taken).minor
    abroad = draw(st.booleans())
    payment.settlement_currency = "JPY" if abroad else "USD"
    payment.settlement_minor = draw(st.integers(0, WIRE_MAX)) if abroad else taken.minor
    allocations = [
        row(
            PaymentAllocation,
            id=new_id(), payment_id=payment.id, host_id=uuid4(), stripe_account_id="acct", currency="USD",
            amount_minor=part.minor, owed_minor=part.minor, share=share,
        )
        for share, part in _parts(payment, draw(any_shares()))
    ]  # fmt: skip
    return payment, allocations


def _parts(payment: Payment, shares: list[Decimal]) -> list[tuple[Decimal, Money]]:
    return list(zip(shares, shares_of(payment.host_amount, shares), strict=True))


@given(captured())
def test_parts_add_up_and_none_is_off_by_a_unit(made: tuple[Payment, list[PaymentAllocation]]) -> None:
    payment, allocations = made
    assert payment.platform_fee_minor >= 0 <= payment.host_amount_minor
    assert payment.platform_fee_minor + payment.host_amount_minor == payment.captured_minor
    assert sum(part.amount_minor for part in allocations) == payment.host_amount_minor
    for part in allocations:
        assert part.amount_minor >= 0
        assert abs(part.amount_minor - payment.host_amount_minor * part.share) < 1


@given(captured())
def test_transfers_add_up_to_the_hosts_part_of_what_settled(made: tuple[Payment, list[PaymentAllocation]]) -> None:
    payment, allocations = made
    worth = worths(payment, allocations)
    settled = payment.settlement_minor or 0
    whole = rounded_share(settled, payment.host_amount_minor, payment.captured_minor)
    assert sum(its.minor for its in worth) == (whole if payment.host_amount_minor else 0) <= settled
    sent = [
        amount_for(part, its, sent_so_far(HostPart(part)), part.owed) if part.owed_minor else Money(0, its.currency)
        for part, its in zip(allocations, worth, strict=True)
    ]
    assert sent == worth
    assert all(amount.minor >= 0 for amount in sent)
    if payment.settlement_currency == payment.currency:
        assert [amount.minor for amount in sent] == [part.amount_minor for part in allocations]


@given(captured(), st.data())
def test_what_is_sent_taken_back_and_sent_again_ends_where_it_would_have(
    made: tuple[Payment, list[PaymentAllocation]], data: DataObject
) -> None:
    payment, allocations = made
    index = data.draw(st.integers(0, len(allocations) - 1))
    allocation, worth = allocations[index], worths(payment, allocations)[index]
    part, owed = HostPart(allocation), allocation.amount_minor
    for _ in range(data.draw(st.integers(1, 6))):
        if owed and (covers := data.draw(st.integers(0, owed))):
            owed -= covers
            _send(part, worth, covers)
        for sent in list(part.transfers):
            owed += _take(part, sent, data)
        assert 0 <= sent_so_far(part).amount_minor <= worth.minor
    if owed:
        _send(part, worth, owed)
    assert sent_so_far(part).covers_minor == allocation.amount_minor
    assert sent_so_far(part).amount_minor == (worth.minor if allocation.amount_minor else 0)


def _send(part: HostPart, worth: Money, covers: int) -> None:
    amount = amount_for(part.allocation, worth, sent_so_far(part), Money(covers, "USD"))
    part.transfers.append(
        row(
            Transfer,
            id=new_id(), allocation_id=part.allocation.id, amount_minor=amount.minor, currency=worth.currency,
            covers_minor=covers, status=TransferStatus.PAID, stripe_transfer_id=f"tr_{len(part.transfers)}",
        )  # fmt: skip
    )


def _take(part: HostPart, sent: Transfer, data: DataObject) -> int:
    its = [reversal for reversal in part.reversals if reversal.transfer_id == sent.id]
    left = sent.covers_minor - sum(reversal.covers_minor for reversal in its)
    covers = data.draw(st.integers(0, left))
    if not covers:
        return 0
    reversible = Reversible(
        str(sent.stripe_transfer_id), sent.id, sent.amount, sent.covers_minor, taken=sent.covers_minor - left,
        reversed=sum(reversal.amount_minor for reversal in its),
    )  # fmt: skip
    part.reversals.append(
        row(
            TransferReversal,
            id=new_id(), allocation_id=part.allocation.id, transfer_id=sent.id,
            stripe_transfer_id=sent.stripe_transfer_id, amount_minor=reversible.take(covers).minor,
            currency=sent.currency, covers_minor=covers, status=TransferStatus.PAID,
        )  # fmt: skip
    )
    return covers
