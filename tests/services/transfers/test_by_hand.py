"""What a person takes back of a transfer in Stripe's dashboard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models.payments import Payment, PaymentAllocation
from models.transfers import Transfer, TransferHold, TransferReversal
from services.transfers.reading import host_shares
from services.webhooks.processing import process_due
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.hosts import Hosts, shares
from tests.support.shop import Shop, receive_signed

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def reverse(shop: Shop, payment: Payment, hosts: Hosts, *minor: int) -> None:
    """Take so much of the first host's transfer back, and hear of it twice."""
    part = (await hosts.parts(payment))[0]
    transfer = await Transfer.get(allocation_id=part.id)
    await reverse_at_stripe(shop, str(transfer.stripe_transfer_id), *minor)


async def reverse_at_stripe(shop: Shop, transfer_id: str, *minor: int) -> None:
    """Take so much of a transfer back, as far as it goes, and hear of it twice."""
    for amount in minor:
        left = await shop.sandbox.get(f"/v1/transfers/{transfer_id}")
        taken = min(amount, left["amount"] - left["amount_reversed"])
        await shop.sandbox.post(f"/v1/transfers/{transfer_id}/reversals", {"amount": taken})
    events = await shop.sandbox.events_about(transfer_id)
    reversed_ = [event for event in events if event["type"] == "transfer.reversed"]
    assert len(reversed_) == len(minor)
    await shop.deliver([*reversed_, *reversed_])


async def test_the_platform_holds_it_for_the_host_and_does_not_send_it_by_itself(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")))
    await reverse(shop, payment, hosts, 300, 100)
    part = (await hosts.parts(payment))[0]
    assert (part.transferred_minor, part.reversed_minor, part.owed_minor) == (900, 400, 400)
    await hosts.work(hours=72)
    assert await hosts.sent_to(payment, shop.host, other) == [500, 900]
    share = (await host_shares(shop.services, [payment.id]))[payment.id][0]
    assert (share.held, share.transferred, share.taken_minor) == (TransferHold.HELD_BACK, False, 0)
    await hosts.check(payment)


async def test_a_reversal_of_paydesk_is_not_taken_for_one_by_hand(shop: Shop, hosts: Hosts) -> None:
    payment = await shop.paid(splits=shares((shop.host, "1")))
    await shop.refund(payment, 1000)
    transfer = await Transfer.get(payment_id=payment.id)
    events = await shop.sandbox.events_about(str(transfer.stripe_transfer_id))
    await shop.deliver([event for event in events if event["type"] == "transfer.reversed"])
    assert await TransferReversal.filter(payment_id=payment.id).count() == 1
    assert await hosts.owed(payment) == [0]
    await shop.check()


@pytest.mark.parametrize("minor", [(300, 100), (1999,), (1, 1999)])
async def test_the_platform_holds_what_was_taken_of_a_destination_charges_own_transfer(
    shop: Shop, hosts: Hosts, minor: tuple[int, ...]
) -> None:
    payment = await shop.paid()
    part = (await hosts.parts(payment))[0]
    await reverse_at_stripe(shop, str(part.stripe_transfer_id), *minor)
    part, taken = (await hosts.parts(payment))[0], sum(minor)
    assert (part.reversed_minor, part.owed_minor) == (taken, taken)
    await hosts.work(hours=72)
    assert await hosts.owed(payment) == [taken]
    await shop.check()


async def test_a_refund_that_takes_of_the_own_transfer_is_not_taken_for_a_person(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.refund(payment, 700)
    allocation = await PaymentAllocation.get(payment_id=payment.id)
    events = await shop.sandbox.events_about(str(allocation.stripe_transfer_id))
    await shop.deliver([event for event in events if event["type"] == "transfer.reversed"])
    assert await TransferReversal.filter(payment_id=payment.id).count() == 0
    await shop.check()


async def test_a_reversal_that_overtakes_its_payment_comes_in(shop: Shop, hosts: Hosts) -> None:
    trap = Trap()
    trap.arm(Trouble.crash(Boundary.CALLED, 1))
    async with trapped(shop.services, trap, shop.sandbox) as services:
        with pytest.raises(Crash):
            await replace(shop, services=services).pay()
    transfer = (await shop.sandbox.every("/v1/transfers"))[0]
    await reverse_at_stripe(shop, transfer["id"], 500)
    payment = await Payment.get()
    assert await hosts.owed(payment) == [500]
    await shop.recover()
    assert await hosts.owed(payment) == [500]
    await shop.check()


async def test_a_reversal_that_overtakes_the_answer_to_its_transfer_waits_for_that(shop: Shop, hosts: Hosts) -> None:
    trap = Trap()
    trap.arm(Trouble.crash(Boundary.CALLED, 2))
    async with trapped(shop.services, trap, shop.sandbox) as services:
        with pytest.raises(Crash):
            await replace(shop, services=services).pay(splits=shares((shop.host, "1")))
    transfer = (await shop.sandbox.every("/v1/transfers"))[0]
    await shop.sandbox.post(f"/v1/transfers/{transfer['id']}/reversals", {"amount": 500})
    [event] = [e for e in await shop.sandbox.events_about(transfer["id"]) if e["type"] == "transfer.reversed"]
    await receive_signed(shop.services, event)
    await process_due(shop.services)
    payment = await Payment.get()
    assert await TransferReversal.exists() is False
    await shop.recover()
    shop.clock.forward(seconds=60)
    await process_due(shop.services)
    assert await hosts.owed(payment) == [500]
    await shop.check()


@pytest.mark.parametrize("minor", [(1,), (1, 2, 3), (4_000, 1)])
async def test_in_another_currency_what_is_taken_in_parts_adds_up(
    services: Services, sandbox: Sandbox, clock: Clock, minor: tuple[int, ...]
) -> None:
    shop = await Shop.open(services, sandbox, clock, currency="EUR", price_minor=9_999)
    hosts = Hosts(shop)
    payment = await shop.paid(splits=shares((shop.host, "1")))
    await reverse(shop, payment, hosts, *minor)
    rows = await TransferReversal.filter(payment_id=payment.id)
    assert sum(row.amount_minor for row in rows) == sum(minor)
    await hosts.check(payment)
