"""Refunds as Stripe really made them: what the host, the fee and the platform gave, and what the ledger says of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from models.ledger import LedgerAccountKind
from models.payments import Payment, PaymentAllocation, PaymentStatus
from models.refunds import Refund, RefundStatus
from services.payments.actions import cancel_payment
from tests.support.shop import SERVICE, Shop, pool_fetch

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def pots(shop: Shop) -> dict[str, int]:
    """What each kind of pot holds."""
    records = await pool_fetch(
        shop.services,
        "SELECT a.kind, sum(p.amount_minor)::int AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY 1 HAVING sum(p.amount_minor) <> 0",
    )
    return {record["kind"]: record["minor"] for record in records}


async def in_the_dashboard(shop: Shop, payment: Payment, amount: int, **flags: bool) -> Any:
    """A refund that an operator makes there."""
    return await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": amount, **flags}
    )


FLAGS = {
    "nothing taken back": ({}, (0, 0, 400), {"PLATFORM_BALANCE": -400, "HOST_BALANCE": 1800, "APPLICATION_FEES": 200}),
    "all of it from the host": (
        {"reverse_transfer": True}, (0, 400, 0), {"HOST_BALANCE": 1400, "APPLICATION_FEES": 200},
    ),
    "host and fee in proportion": (
        {"reverse_transfer": True, "refund_application_fee": True}, (40, 360, 0),
        {"HOST_BALANCE": 1440, "APPLICATION_FEES": 160},
    ),
    "the fee to the host": (
        {"refund_application_fee": True}, (40, -40, 400),
        {"PLATFORM_BALANCE": -400, "HOST_BALANCE": 1840, "APPLICATION_FEES": 160},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(FLAGS))
async def test_a_refund_of_the_dashboard_is_posted_as_it_was_made(shop: Shop, what: str) -> None:
    flags, bearers, left = FLAGS[what]
    payment = await shop.paid()
    await in_the_dashboard(shop, payment, 400, **flags)
    await shop.deliver_all(payment)
    [refund] = await Refund.all()
    assert (refund.fee_minor, refund.host_minor, refund.platform_minor) == bearers
    assert await pots(shop) == {LedgerAccountKind.GUEST_CLEARING: -1600, **left}
    assert (await shop.now(payment)).fee_refunded_minor == bearers[0]
    await shop.check()


@pytest.mark.parametrize("what", sorted(FLAGS))
async def test_what_is_left_after_one_of_the_dashboard_can_be_refunded_here(shop: Shop, what: str) -> None:
    flags, _, _ = FLAGS[what]
    payment = await shop.paid()
    await in_the_dashboard(shop, payment, 400, **flags)
    await shop.deliver_all(payment)
    assert (await shop.refund(payment)).amount_minor == 1600
    now = await shop.now(payment)
    assert now.status is PaymentStatus.REFUNDED
    charge = await shop.sandbox.get(f"/v1/charges/{now.stripe_charge_id}", {"expand": ["application_fee"]})
    assert now.fee_refunded_minor == charge["application_fee"]["amount_refunded"]
    await shop.check()


async def test_a_whole_refund_from_the_host_alone_leaves_the_platform_its_fee(shop: Shop) -> None:
    payment = await shop.paid()
    await in_the_dashboard(shop, payment, 2000, reverse_transfer=True)
    await shop.deliver_all(payment)
    assert await pots(shop) == {LedgerAccountKind.APPLICATION_FEES: 200, LedgerAccountKind.HOST_BALANCE: -200}
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    await shop.check()


@pytest.mark.parametrize("again", [700, 500, 2000, None])
async def test_what_came_back_from_a_bank_can_be_refunded_again(shop: Shop, again: int | None) -> None:
    payment = await shop.paid()
    failed = await shop.refund(payment, 700)
    await shop.sandbox.act(f"refunds/{failed.stripe_refund_id}/fail")
    await shop.deliver_all(payment)
    refund = await shop.refund(payment, again)
    assert refund.status is RefundStatus.SUCCEEDED
    assert refund.platform_minor == 0
    assert refund.fee_minor == refund.amount_minor // 10
    await shop.refund(payment, 2000 - refund.amount_minor) if refund.amount_minor < 2000 else None
    assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
    [allocation] = await PaymentAllocation.all()
    assert (allocation.reversed_minor, allocation.owed_minor) == (1800, 0)
    assert await pots(shop) == {}
    await shop.check()


@pytest.mark.parametrize("country", ["US", "DE"])
async def test_the_fee_given_back_is_stripe_s_to_the_cent(
    services: Services, sandbox: Sandbox, clock: Clock, country: str
) -> None:
    currency = "USD" if country == "US" else "EUR"
    shop = await Shop.open(services, sandbox, clock, country=country, currency=currency, price_minor=10_000)
    payment = await shop.paid()
    for minor in (3333, 3333, 3333, 1):
        await shop.refund(payment, minor)
        charge = await sandbox.get(f"/v1/charges/{payment.stripe_charge_id}", {"expand": ["application_fee"]})
        assert (await shop.now(payment)).fee_refunded_minor == charge["application_fee"]["amount_refunded"]
    assert await pots(shop) == {}
    await shop.check()


async def test_refunds_made_at_once_share_the_fee_as_stripe_gave_it_back(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, price_minor=10_000)
    payment = await shop.paid()
    await asyncio.gather(*(shop.refund(payment, minor) for minor in (3333, 3333, 3333, 1)))
    refunds = await Refund.all()
    assert sum(refund.fee_minor for refund in refunds) == (await shop.now(payment)).fee_refunded_minor == 1000
    assert await pots(shop) == {}
    await shop.check()


async def test_refunds_in_another_currency_than_the_host_s_take_back_what_they_give(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, country="JP", currency="EUR", price_minor=3333)
    payment = await shop.paid()
    for minor in (1111, 7, None):
        refund = await shop.refund(payment, minor)
        assert (refund.transfer_reversed_minor, refund.platform_minor) == (refund.amount_minor, 0)
    assert await pots(shop) == {}
    await shop.check()


async def test_ours_under_way_beside_one_of_the_dashboard_counts_no_more_than_was_taken(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.sandbox.faults(reset_before=1.0)
    with pytest.raises(Exception, match="not available"):
        await shop.refund(payment)
    await shop.sandbox.heal()
    await in_the_dashboard(shop, payment, 1500, reverse_transfer=True, refund_application_fee=True)
    await shop.deliver_all(payment)
    now = await shop.now(payment)
    assert (now.refunded_minor, now.refund_pending_minor) == (1500, 500)
    await shop.recover()
    now = await shop.now(payment)
    assert (now.refunded_minor, now.refund_pending_minor, now.refundable.minor) == (1500, 0, 500)
    await shop.check()


@pytest.mark.parametrize("first", [0, 1])
async def test_the_fee_is_given_back_as_stripe_gave_it_whichever_of_two_refunds_comes_in_first(
    shop: Shop, first: int
) -> None:
    payment = await shop.paid()
    made = [await in_the_dashboard(shop, payment, 900, reverse_transfer=True, refund_application_fee=True),
            await in_the_dashboard(shop, payment, 1100, reverse_transfer=True)]  # fmt: skip
    events = await shop.events_of(payment)
    for refund in (made[first], made[1 - first]):
        await shop.deliver([event for event in events if event["data"]["object"]["id"] == refund["id"]])
    assert sorted(refund.application_fee_refunded_minor for refund in await Refund.all()) == [0, 90]
    assert await pots(shop) == {LedgerAccountKind.APPLICATION_FEES: 110, LedgerAccountKind.HOST_BALANCE: -110}
    await shop.check()


async def test_an_authorization_that_is_let_go_is_no_refund(shop: Shop) -> None:
    payment = (await shop.pay(capture_later=True)).payment
    await cancel_payment(shop.services, viewer=SERVICE, payment_id=payment.id, idempotency_key="c")
    [event] = [event for event in await shop.events_of(payment) if event["type"] == "charge.refunded"]
    await shop.deliver([event])
    assert await Refund.all().count() == 0
    await shop.check()
