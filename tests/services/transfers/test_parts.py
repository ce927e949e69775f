"""The arithmetic of hosts' parts: whatever is taken back and refused, parts add up to the unit and end at nothing."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import uuid4

import hypothesis.strategies as st
from hypothesis import given, settings

from models.money import Money
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.transfers import Transfer, TransferReversal, TransferStatus
from services.transfers.amounts import amount_for, sent_so_far, worths
from services.transfers.parts import HostPart, HostParts

Row = TypeVar("Row", Payment, PaymentAllocation, Transfer, TransferReversal)
AMOUNTS = st.lists(st.integers(0, 5_000), min_size=1, max_size=6).filter(any)
# Of what the whole payment settled in: less than one for one, the same, and many for one.
RATES = st.sampled_from([0.004, 0.79, 1, 1.27, 151.5])
WHAT = st.sampled_from(["back", "back", "back", "refused", "failed", "sent"])
STEPS = st.lists(st.tuples(st.integers(1, 4_000), WHAT), max_size=12)


def row_of(model: type[Row], **values: Any) -> Row:
    """A row that no database knows: ids of others are columns only once the models are bound to one."""
    row = model()
    for name, value in values.items():
        setattr(row, name, value)
    return row


class World:
    """A payment with hosts' parts, as rows; what Stripe has is reckoned beside it."""

    def __init__(self, amounts: list[int], rate: float) -> None:
        hosts = sum(amounts)
        currency = "USD" if rate == 1 else "EUR"
        self.payment = row_of(
            Payment, id=uuid4(), charge_model=ChargeModel.SEPARATE, currency="USD", amount_minor=hosts + 100,
            captured_minor=hosts + 100, platform_fee_minor=100, host_amount_minor=hosts,
            settlement_minor=round((hosts + 100) * rate), settlement_currency=currency,
        )  # fmt: skip
        self.parts = HostParts(
            self.payment,
            [
                HostPart(
                    row_of(
                        PaymentAllocation, id=uuid4(), payment_id=self.payment.id, host_id=uuid4(),
                        amount_minor=amount, currency="USD", owed_minor=amount,
                    )  # fmt: skip
                )
                for amount in amounts
            ],
        )
        self.taken = 0

    def send(self) -> None:
        """Send the hosts what they are owed."""
        worth = worths(self.payment, [part.allocation for part in self.parts.parts])
        for part, its_worth in zip(self.parts.parts, worth, strict=True):
            its = part.allocation
            if its.owed_minor <= 0:
                continue
            amount = amount_for(its, its_worth, sent_so_far(part), its.owed)
            if amount.minor > 0:
                part.transfers.append(
                    row_of(
                        Transfer, id=uuid4(), allocation_id=its.id, amount_minor=amount.minor, currency=amount.currency,
                        covers_minor=its.owed_minor, status=TransferStatus.PAID, stripe_transfer_id=f"tr_{uuid4()}",
                    )  # fmt: skip
                )
                its.transferred_minor += its.owed_minor
                its.owed_minor = 0

    def take(self, minor: int, *, refused: bool) -> None:
        """Take so much back; of each reversal that it takes Stripe says the same."""
        wanted = min(Money(minor, "USD"), self.parts.left)
        taken = self.parts.lower(wanted)
        assert sum(money.minor for money in taken.values()) == wanted.minor
        self.taken += wanted.minor
        for allocation_id, due in self.parts.to_reverse(taken).items():
            part = self.parts.part(allocation_id)
            for source, covered, amount in self.parts.draw(part, due):
                answered = refused and bool(amount)
                row = row_of(
            TransferReversal, id=uuid4(), allocation_id=allocation_id, transfer_id=source.transfer_id,
                    amount_minor=amount.minor, currency=amount.currency, covers_minor=covered,
                    status=TransferStatus.REFUSED if answered else TransferStatus.PAID,
                )  # fmt: skip
                if not answered:
                    part.reversals.append(row)
                    part.allocation.reversed_minor += covered
                    part.allocation.owed_minor += covered

    def fail(self, minor: int) -> None:
        """A refund of so much fails after all."""
        back = min(minor, self.taken)
        given = self.parts.raise_again(Money(back, "USD"), now=None)  # type: ignore[arg-type]  # looked at by nobody
        assert sum(money.minor for money in given.values()) == back
        self.taken -= back

    def check(self) -> None:
        """What holds at any time."""
        for part in self.parts.parts:
            its = part.allocation
            assert 0 <= part.taken <= its.amount_minor
            assert part.left == its.transferred_minor - its.reversed_minor + its.owed_minor >= 0
            assert 0 <= its.transferred_minor - its.reversed_minor <= its.amount_minor
            for transfer in part.transfers:
                back = [row for row in part.reversals if row.transfer_id == transfer.id]
                assert 0 <= sum(row.amount_minor for row in back) <= transfer.amount_minor
                assert sum(row.covers_minor for row in back) <= transfer.covers_minor
        assert self.parts.left.minor == self.payment.host_amount_minor - self.taken


@settings(max_examples=400, deadline=None)
@given(AMOUNTS, RATES, STEPS, st.booleans())
def test_parts_add_up_to_the_unit_whatever_is_taken_and_refused(
    amounts: list[int], rate: float, steps: list[tuple[int, str]], sent: bool
) -> None:
    world = World(amounts, rate)
    if sent:
        world.send()
    for minor, what in steps:
        if what == "failed":
            world.fail(minor)
        elif what == "sent":
            world.send()
        else:
            world.take(minor, refused=what == "refused")
        world.check()
    world.take(world.parts.left.minor, refused=False)
    world.check()
    assert [part.left for part in world.parts.parts] == [0] * len(amounts)


@settings(max_examples=400, deadline=None)
@given(AMOUNTS, RATES, st.lists(st.integers(1, 3_000), max_size=10))
def test_taking_everything_in_parts_reverses_every_transfer_whole(
    amounts: list[int], rate: float, steps: list[int]
) -> None:
    world = World(amounts, rate)
    world.send()
    for minor in steps:
        world.take(minor, refused=False)
        world.check()
    world.take(world.parts.left.minor, refused=False)
    for part in world.parts.parts:
        its = part.allocation
        assert its.owed_minor == its.transferred_minor - its.reversed_minor == 0
        for transfer in part.transfers:
            assert sum(row.amount_minor for row in part.reversals if row.transfer_id == transfer.id) == (
                transfer.amount_minor
            )


def test_no_host_gives_more_than_is_left_of_theirs() -> None:
    world = World([1, 1, 1_000], 1)
    world.send()
    taken = world.parts.lower(Money(1_001, "USD"))
    assert [money.minor for money in taken.values()] == [1, 1, 999]
