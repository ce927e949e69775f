"""Taking hosts' parts back while other things happen to them: nothing is lost, and nothing is taken twice."""

from __future__ import annotations

import asyncio
import random
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models.operations import Operation, OperationStatus
from models.payments import PaymentStatus
from models.refunds import Refund, RefundStatus
from models.transfers import Transfer, TransferStatus
from services.disputes.settlement import settle_dispute
from services.errors import DomainError, InvalidState
from services.refunds.taking_back import TAKE_BACK
from services.transfers.debts import debts_of
from tests.services.refunds.test_separate_refunds import (
    add_protected,
    pay_out,
    pots,
    reversals_at_stripe,
    shared,
    taken,
)
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.hosts import Hosts
    from tests.support.shop import Shop


@pytest.mark.parametrize("boundary", [Boundary.RESERVED, Boundary.CALLED])
async def test_what_is_being_sent_is_taken_back_once_it_is_known(
    shop: Shop, hosts: Hosts, boundary: Boundary
) -> None:
    late = await hosts.add(ready=False)
    payment = await shared(shop, late)
    assert await taken(payment) == [(900, 0, 0), (0, 0, 900)]
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        trap.begin()
        with suppress(Crash):
            await through(hosts, services).onboard(late)
            await through(hosts, services).work()
        trap.arm(None)
    assert [row.status for row in await Transfer.filter(payment_id=payment.id).order_by("id")] == [
        TransferStatus.PAID, TransferStatus.PLANNED
    ]  # fmt: skip
    refund = await shop.refund(payment, 1000)
    assert refund.status is RefundStatus.SUCCEEDED
    assert await taken(payment) == [(900, 0, -450), (0, 0, -450)]
    assert await Operation.filter(kind=TAKE_BACK, status=OperationStatus.RUNNING).count() == 1
    assert await debts_of(shop.services, [late.id]) == []
    await shop.recover()
    assert await taken(payment) == [(900, 450, 0), (900, 450, 0)]
    assert await hosts.sent_to(payment, shop.host, late) == [450, 450]
    await hosts.check_taken(payment)


def through(hosts: Hosts, services: Services) -> Hosts:
    """The same hosts over other services."""
    return replace(hosts, shop=replace(hosts.shop, services=services))


async def test_many_refunds_at_once_take_of_each_host_what_they_add_up_to(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shared(shop, *others)
    await asyncio.gather(*(shop.refund(payment, 97) for _ in range(12)), return_exceptions=True)
    await shop.recover()
    await hosts.check_taken(payment)
    await shop.refund(payment)
    assert await hosts.sent_to(payment, shop.host, *others) == [0, 0, 0]
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    assert await pots(shop) == {}
    await hosts.check_taken(payment)


async def test_in_foul_weather_each_reversal_is_made_once(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shared(shop, *others)
    await shop.sandbox.faults(seed=7, reset_before=0.2, reset_after=0.2, rate_500=0.2, rate_429=0.1)
    await asyncio.gather(*(shop.refund(payment, minor) for minor in (100, 200, 300, 400)), return_exceptions=True)
    await shop.sandbox.heal()
    await shop.recover()
    made = await Refund.filter(status=RefundStatus.SUCCEEDED)
    assert sum(refund.amount_minor for refund in made) == 1000
    assert await reversals_at_stripe(shop, payment) == [450, 270, 180]
    await hosts.check_taken(payment)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_parts_add_up_at_each_step_and_end_at_nothing(
    shop: Shop, hosts: Hosts, seed: int
) -> None:
    chance = random.Random(seed)
    protected = await add_protected(shop)
    other = await hosts.add(country=chance.choice(["US", "GB", "JP"]))
    payment = await shared(shop, other, protected)
    disputed = False
    for _ in range(8):
        what = chance.choice(["refund", "refund", "dashboard", "fail", "pay out", "dispute", "release"])
        left = (await shop.now(payment)).refundable.minor
        if what == "refund" and left:
            # Of a charge that was charged back, if in part, Stripe refunds nothing more (charge_disputed).
            with pytest.raises(InvalidState) if disputed else nullcontext():
                await shop.refund(payment, chance.randint(1, left))
        elif what == "dashboard" and left and not disputed:
            await shop.sandbox.post(
                "/v1/refunds",
                {"payment_intent": payment.stripe_payment_intent_id, "amount": chance.randint(1, left)},
            )
            await shop.deliver_all(payment)
        elif what == "fail":
            done = await Refund.filter(payment_id=payment.id, status=RefundStatus.SUCCEEDED)
            if done:
                await shop.sandbox.act(f"refunds/{chance.choice(done).stripe_refund_id}/fail")
                await shop.deliver_all(payment)
        elif what == "pay out":
            sent = await hosts.sent_to(payment, protected)
            if sent[0]:
                with suppress(AssertionError):  # it has been paid out before
                    await pay_out(shop, hosts, protected, chance.randint(1, sent[0]))
        elif what == "dispute" and left and not disputed:
            disputed = True
            dispute = await shop.sandbox.act(
                f"charges/{payment.stripe_charge_id}/dispute", amount=chance.randint(1, left)
            )
            await settle_dispute(shop.services, payment, dispute["id"], actor="test")
            with pytest.raises(DomainError):
                await shop.refund(payment, 1)
            await shop.sandbox.act(f"disputes/{dispute['id']}/decide", outcome="lost")
            await settle_dispute(shop.services, payment, dispute["id"], actor="test")
        elif what == "release":
            await hosts.work(hours=1)
        await hosts.check_taken(payment)
    if disputed:
        return
    if (await shop.now(payment)).refundable:
        await shop.refund(payment)
    await hosts.check_taken(payment)
    parts = await taken(payment)
    assert [sent - back + owed for sent, back, owed in parts] == [0, 0, 0]
    assert await hosts.sent_to(payment, shop.host, other) == [0, 0]
