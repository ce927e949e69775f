"""When hosts are sent their parts: once they can take money, once the activity is over, and never twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.activities import Activity, PayoutTiming
from models.connect_accounts import ConnectAccount
from models.disputes import Dispute, DisputeStatus
from models.money import Money
from models.operations import Operation
from models.payments import ChargeModel, Payment, PaymentStatus
from models.sets import insert_rows
from models.transfers import Transfer, TransferStatus
from services.activities import upsert_activity
from services.errors import HostNotReady
from services.transfers.job import release_due
from services.transfers.release import release
from services.transfers.times import look_at_host
from tests.support.hosts import Hosts, shares
from tests.support.rows import add_account, add_activity
from tests.support.shop import SERVICE, Shop

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

DAY_H = 24


async def moved(shop: Shop, activity: Activity, **values: Any) -> Activity:
    """The platform says something else of an activity."""
    return await upsert_activity(
        shop.services, viewer=SERVICE, external_id=activity.external_id, title=activity.title,
        host_external_id=shop.host.external_id, price=activity.price, capacity=None,
        **{
            "starts_at": activity.starts_at, "ends_at": activity.ends_at, "payout_timing": activity.payout_timing,
            **values,
        },
    )  # fmt: skip


@pytest.fixture
async def later(shop: Shop) -> Shop:
    """A shop whose host is paid after the activity, which ends in two days; the setting adds one."""
    async with shop.services.database.transaction() as connection:
        activity = await add_activity(
            connection, shop.host, payout_timing=PayoutTiming.AFTER_ACTIVITY,
            starts_at=datetime.now(UTC) + timedelta(hours=46), ends_at=datetime.now(UTC) + timedelta(hours=48),
        )  # fmt: skip
    return replace(shop, activity=activity)


@pytest.fixture
def hosts_later(later: Shop) -> Hosts:
    """Its hosts."""
    return Hosts(later)


async def test_a_host_who_is_not_ready_is_owed_and_the_others_are_sent_theirs(shop: Shop, hosts: Hosts) -> None:
    unready, without = await hosts.add(ready=False), await hosts.add(account=False)
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (unready, "0.3"), (without, "0.2")))
    assert await hosts.sent_to(payment, shop.host, unready) == [900, 0]
    assert await hosts.owed(payment) == [0, 540, 360]
    await hosts.check(payment)
    await hosts.onboard(unready)
    await hosts.work()
    assert await hosts.sent_to(payment, shop.host, unready) == [900, 540]
    assert await hosts.owed(payment) == [0, 0, 360]
    assert (await hosts.parts(payment))[1].stripe_account_id == (await hosts.account(unready)).stripe_account_id
    await hosts.check(payment)


async def test_a_host_who_opens_an_account_after_the_payment_gets_it_there(shop: Shop, hosts: Hosts) -> None:
    without = await hosts.add(account=False)
    payment = await shop.paid(splits=shares((without, "1")))
    id_ = await shop.sandbox.onboarded_account()
    async with shop.services.database.transaction() as connection:
        await add_account(connection, without, stripe_account_id=id_)
    await hosts.hear_of(id_)
    await hosts.work()
    assert await hosts.sent(payment) == {id_: 1800}
    await hosts.check(payment)


async def test_a_host_who_is_never_ready_is_owed_for_ever_and_asked_about_once_a_day(
    shop: Shop, hosts: Hosts
) -> None:
    unready = await hosts.add(ready=False)
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (unready, "0.5")))
    for _ in range(40):
        await hosts.work(hours=DAY_H)
    assert await hosts.owed(payment) == [0, 900]
    assert await Transfer.filter(status__not=TransferStatus.PAID).count() == 0
    assert await Operation.filter(kind="send_transfer").count() == 1
    due = (await hosts.parts(payment))[1].release_at
    assert due is not None
    assert due - shop.clock() > timedelta(hours=20)
    await hosts.check(payment)


async def test_a_host_whose_event_was_lost_is_found_by_looking(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await shop.paid(splits=shares((unready, "1")))
    id_ = str((await hosts.account(unready)).stripe_account_id)
    await shop.sandbox.act(f"accounts/{id_}/onboard")
    await ConnectAccount.filter(stripe_account_id=id_).update(capabilities={"transfers": "active"})
    await hosts.work(hours=DAY_H + 1)
    assert await hosts.sent(payment) == {id_: 1800}
    await hosts.check(payment)


async def test_a_host_who_cut_the_platform_off_is_owed_until_there_is_another_account(
    shop: Shop, hosts: Hosts
) -> None:
    leaving = await hosts.add()
    account = await hosts.account(leaving)
    await ConnectAccount.filter(id=account.id).update(deauthorized_at=shop.clock())
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (leaving, "0.5")))
    assert await hosts.owed(payment) == [0, 900]
    id_ = await shop.sandbox.onboarded_account()
    async with shop.services.database.transaction() as connection:
        await add_account(connection, leaving, stripe_account_id=id_)
    await hosts.hear_of(id_)
    await hosts.work()
    assert (await hosts.sent(payment))[id_] == 900
    await hosts.check(payment)


async def test_what_stripe_refuses_is_owed_again_and_tried_ever_less_often(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    id_ = str((await hosts.account(other)).stripe_account_id)
    await shop.sandbox.act(f"accounts/{id_}/restrict")
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")))
    refused = await Transfer.get(status=TransferStatus.REFUSED)
    assert refused.failure_code == "insufficient_capabilities_for_transfer"
    assert await hosts.owed(payment) == [0, 900]
    await hosts.check(payment)
    await hosts.work(hours=1.1)
    assert await Transfer.filter(status=TransferStatus.REFUSED).count() == 2
    await hosts.work(hours=1.1)
    assert await Transfer.filter(status=TransferStatus.REFUSED).count() == 2
    await shop.sandbox.act(f"accounts/{id_}/enable")
    await hosts.work(hours=1.1)
    assert await hosts.sent_to(payment, shop.host, other) == [900, 900]
    await hosts.check(payment)


async def test_many_who_look_at_once_send_it_once(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await shop.paid(splits=shares((unready, "1")))
    await hosts.onboard(unready)
    await asyncio.gather(*(release(shop.services, payment.id) for _ in range(8)), release_due(shop.services))
    assert await hosts.sent_to(payment, unready) == [1800]
    assert await Transfer.all().count() == 1
    await hosts.check(payment)


async def test_the_part_of_an_activity_waits_for_its_end_and_the_setting(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    assert payment.charge_model is ChargeModel.SEPARATE
    assert payment.payout_timing is PayoutTiming.AFTER_ACTIVITY
    part = (await hosts_later.parts(payment))[0]
    assert (part.owed_minor, part.transferred_minor) == (1800, 0)
    assert later.activity.ends_at is not None
    assert part.release_at == later.activity.ends_at + timedelta(days=1)
    for _ in range(2):
        await hosts_later.work(hours=DAY_H)
        assert await hosts_later.sent(payment) == {}
    await hosts_later.work(hours=DAY_H - 1)
    assert await hosts_later.sent(payment) == {}
    await hosts_later.check(payment)
    await hosts_later.work(hours=2)
    assert await hosts_later.sent_to(payment, later.host) == [1800]
    await hosts_later.check(payment)


async def test_an_activity_that_does_not_say_when_it_ends_is_over_when_it_starts(shop: Shop, hosts: Hosts) -> None:
    async with shop.services.database.transaction() as connection:
        activity = await add_activity(
            connection, shop.host, payout_timing=PayoutTiming.AFTER_ACTIVITY,
            starts_at=datetime.now(UTC) - timedelta(hours=25),
        )  # fmt: skip
    payment = await shop.paid(activity_id=activity.id)
    assert await hosts.sent_to(payment, shop.host) == [1800]
    await hosts.check(payment)


async def test_an_activity_that_is_put_off_puts_off_what_its_hosts_get(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    assert later.activity.ends_at is not None
    await moved(later, later.activity, ends_at=later.activity.ends_at + timedelta(days=2))
    await hosts_later.work(hours=4 * DAY_H)
    assert await hosts_later.sent(payment) == {}
    await hosts_later.work(hours=1.1 * DAY_H)
    assert await hosts_later.sent_to(payment, later.host) == [1800]
    await hosts_later.check(payment)


async def test_an_activity_that_is_brought_forward_brings_forward_what_its_hosts_get(
    later: Shop, hosts_later: Hosts
) -> None:
    payment = await later.paid()
    at = datetime.now(UTC) - timedelta(hours=30)
    await moved(later, later.activity, starts_at=at, ends_at=at)
    await hosts_later.work()
    assert await hosts_later.sent_to(payment, later.host) == [1800]
    await hosts_later.check(payment)


async def test_a_payment_keeps_the_timing_that_it_was_made_with(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    await moved(later, later.activity, payout_timing=PayoutTiming.IMMEDIATE)
    await hosts_later.work()
    assert await hosts_later.sent(payment) == {}
    at_once = await later.paid()
    assert at_once.charge_model is ChargeModel.DESTINATION


async def test_a_host_is_paid_after_the_activity_though_not_ready_when_it_was_paid(later: Shop) -> None:
    hosts = Hosts(later)
    host = await hosts.add(ready=False)
    async with later.services.database.transaction() as connection:
        activity = await add_activity(
            connection, host, payout_timing=PayoutTiming.AFTER_ACTIVITY, starts_at=datetime.now(UTC)
        )
    payment = await later.paid(activity_id=activity.id)
    assert payment.status is PaymentStatus.SUCCEEDED
    await hosts.work(hours=26)
    assert await hosts.sent(payment) == {}
    await hosts.onboard(host)
    await hosts.work()
    assert await hosts.sent_to(payment, host) == [1800]


async def test_a_host_who_is_ready_early_is_not_paid_early(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    await hosts_later.hear_of(str(later.account.stripe_account_id))
    await hosts_later.work()
    assert await hosts_later.sent(payment) == {}
    assert later.activity.ends_at is not None
    assert (await hosts_later.parts(payment))[0].release_at == later.activity.ends_at + timedelta(days=1)


async def test_nothing_is_sent_while_it_is_disputed(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    dispute = Dispute(
        payment_id=payment.id, stripe_dispute_id="dp_1", stripe_charge_id=payment.stripe_charge_id,
        status=DisputeStatus.NEEDS_RESPONSE, reason="fraudulent", amount_minor=2000, currency="USD",
        stripe_created_at=later.clock(),
    )  # fmt: skip
    async with later.services.database.transaction() as connection:
        await insert_rows(connection, Dispute, [dispute])
    await hosts_later.work(hours=4 * DAY_H)
    assert await hosts_later.sent(payment) == {}
    await Dispute.filter(id=dispute.id).update(status=DisputeStatus.WON)
    await hosts_later.work(hours=1.1 * DAY_H)
    assert await hosts_later.sent_to(payment, later.host) == [1800]


async def test_nothing_is_sent_of_a_cancelled_activity(later: Shop, hosts_later: Hosts) -> None:
    payment = await later.paid()
    await Activity.filter(id=later.activity.id).update(canceled_at=later.clock())
    await hosts_later.work(hours=5 * DAY_H)
    assert await hosts_later.sent(payment) == {}
    assert await hosts_later.owed(payment) == [1800]


async def test_a_charge_that_settles_in_another_currency_is_sent_in_that_currency(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, currency="EUR", price_minor=9_999)
    hosts = Hosts(shop)
    others = [await hosts.add(country="GB"), await hosts.add()]
    payment = await shop.paid(splits=shares((shop.host, "0.4"), (others[0], "0.35"), (others[1], "0.25")))
    assert (payment.currency, payment.settlement_currency) == ("EUR", "USD")
    intent = await shop.intent(payment)
    settled = Money.from_wire(intent["latest_charge"]["balance_transaction"]["amount"], "USD")
    assert payment.settlement_minor == settled.minor
    sent = await hosts.sent_to(payment, shop.host, *others)
    assert sum(sent) == settled.proportion(Money(8_999, "X"), Money(9_999, "X")).minor
    assert [part.amount_minor for part in await hosts.parts(payment)] == [3599, 3150, 2250]
    await hosts.check(payment)


async def test_a_host_across_a_border_is_the_settlement_merchant_of_what_they_are_paid_later(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(
        services, sandbox, clock, country="GB", currency="EUR", payout_timing=PayoutTiming.AFTER_ACTIVITY,
        starts_at=datetime.now(UTC) - timedelta(days=3),
    )  # fmt: skip
    payment = await shop.paid()
    assert payment.on_behalf_of == shop.account.stripe_account_id
    assert payment.settlement_currency == "GBP"
    hosts = Hosts(shop)
    transfer = await Transfer.get(payment_id=payment.id)
    assert transfer.currency == "GBP"
    assert await hosts.sent_to(payment, shop.host) == [transfer.amount_minor]
    await hosts.check(payment)


async def test_parts_wait_until_stripe_says_what_the_charge_came_to(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await shop.paid(splits=shares((unready, "1")))
    await Payment.filter(id=payment.id).update(balance_transaction_id=None, settlement_minor=None)
    await hosts.onboard(unready)
    assert await release(shop.services, payment.id) == 0
    assert await hosts.sent(payment) == {}
    due = (await hosts.parts(payment))[0].release_at
    assert due is not None
    assert due - shop.clock() < timedelta(minutes=2)
    await hosts.work(hours=0.1)
    assert await hosts.sent_to(payment, unready) == [1800]
    await hosts.check(payment)


async def test_stripe_being_away_keeps_nobody_from_their_money(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payment = await shop.paid(splits=shares((unready, "1")))
    await hosts.onboard(unready)
    await shop.sandbox.faults(seed=1, rate_500=1)
    await hosts.work()
    await shop.sandbox.heal()
    await shop.recover()
    assert await hosts.sent_to(payment, unready) == [1800]
    await hosts.check(payment)


async def test_what_a_failed_refund_left_here_is_sent_to_the_host_of_a_plain_payment(
    shop: Shop, hosts: Hosts
) -> None:
    await shop.paid("pm_card_bypassPending", guest=await shop.new_guest())
    payment = await shop.paid("pm_card_refundFail")
    await shop.refund(payment, 1000)
    refunds = await shop.sandbox.every("/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id})
    await shop.sandbox.act(f"refunds/{refunds[0]['id']}/fail")
    await shop.deliver_all(payment)
    assert (await hosts.owed(payment)) == [900]
    await shop.sandbox.act("balance/settle")
    await hosts.work(hours=2)
    assert await hosts.owed(payment) == [0]
    assert await hosts.sent_to(payment, shop.host) == [900]
    transfer = await Transfer.get(payment_id=payment.id)
    assert (transfer.amount_minor, transfer.covers_minor) == (900, 900)
    await shop.check()


async def test_a_destination_has_to_be_ready(shop: Shop, hosts: Hosts) -> None:
    host = await hosts.add(ready=False)
    async with shop.services.database.transaction() as connection:
        activity = await add_activity(connection, host)
    with pytest.raises(HostNotReady):
        await shop.pay(activity_id=activity.id)


async def still(payment: Payment, hosts: Hosts) -> None:
    """Nothing more happens by itself."""
    before = await Transfer.all().count()
    await hosts.work(hours=72)
    assert await Transfer.all().count() == before
    await hosts.check(payment)


async def test_what_was_sent_stays_sent(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")))
    await shop.deliver_all(payment)
    await still(payment, hosts)


async def test_all_that_waits_for_a_host_is_looked_at_some_payments_at_a_time(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    payments = [await shop.paid(splits=shares((unready, "1"))) for _ in range(3)]
    await look_at_host(shop.services, unready.id, at_once=2)
    for payment in payments:
        [part] = await hosts.parts(payment)
        assert part.release_at is not None
        assert part.release_at <= shop.clock()
