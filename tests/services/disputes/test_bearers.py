"""Who bears a lost dispute: several hosts, hosts abroad, hosts who were paid out, the platform where there is none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from models.activities import PayoutTiming
from models.connect_accounts import ConnectAccountType
from models.disputes import DisputeStatus
from models.operations import Operation, OperationStatus
from models.transfers import Transfer, TransferStatus
from services.disputes.hosts import SETTLE_LOST
from services.disputes.settlement import settle_dispute
from services.errors import OperationInProgress
from services.stripe_gateway import StripeError
from tests.support.billing import Subscriber
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.disputing import Disputing
from tests.support.hosts import Hosts, shares
from tests.support.rows import add_account, add_activity, add_user
from tests.support.shop import Shop

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
def hosts(shop: Shop) -> Hosts:
    """The shop's host and others."""
    return Hosts(shop)


async def test_each_host_gives_back_in_proportion_and_is_sent_it_again_where_it_is_won_after_all(
    disputing: Disputing, shop: Shop, hosts: Hosts
) -> None:
    second, third = await hosts.add(), await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (second, "0.3"), (third, "0.2")))
    assert await hosts.sent_to(payment, shop.host, second, third) == [900, 540, 360]
    dispute = await disputing.decide(await disputing.disputed(payment, amount=999), "lost")
    assert dispute.fee_minor + dispute.host_minor == 999
    assert sum(await hosts.sent_to(payment, shop.host, second, third)) == 1800 - dispute.host_minor
    await disputing.check(payment)
    await hosts.check_taken(payment)
    dispute = await disputing.decide(dispute, "won")
    await disputing.check(payment)
    await hosts.work(hours=48)
    assert await hosts.sent_to(payment, shop.host, second, third) == [900, 540, 360]
    assert await hosts.owed(payment) == [0, 0, 0]
    await hosts.check_taken(payment)


async def test_what_was_not_sent_yet_is_taken_where_it_lies(shop: Shop) -> None:
    async with shop.services.database.transaction() as connection:
        starts_at = datetime.now(UTC) + timedelta(hours=46)
        activity = await add_activity(
            connection, shop.host, payout_timing=PayoutTiming.AFTER_ACTIVITY, starts_at=starts_at
        )
    later = replace(shop, activity=activity)
    disputing, hosts = Disputing(later), Hosts(later)
    payment = await later.paid()
    dispute = await disputing.disputed(payment)
    await hosts.work(hours=24 * 9)
    assert await hosts.owed(payment) == [1800]  # nothing is sent while the bank holds it
    await disputing.decide(dispute, "lost")
    assert await hosts.owed(payment) == [0]
    assert await disputing.reversals(payment) == []
    assert await disputing.pots(payment) == {}
    await disputing.check(payment)
    await hosts.work(hours=24 * 9)
    assert await hosts.sent_to(payment, later.host) == [0]


async def test_what_is_held_is_sent_once_the_dispute_is_won(shop: Shop) -> None:
    async with shop.services.database.transaction() as connection:
        activity = await add_activity(
            connection, shop.host, payout_timing=PayoutTiming.AFTER_ACTIVITY,
            starts_at=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
    later = replace(shop, activity=activity)
    disputing, hosts = Disputing(later), Hosts(later)
    payment = await later.paid()
    dispute = await disputing.disputed(payment)
    await hosts.work(hours=24 * 9)
    await disputing.decide(dispute, "won")
    await hosts.work()
    assert await hosts.sent_to(payment, later.host) == [1800]
    await disputing.check(payment)


async def test_what_stripe_does_not_reverse_the_host_owes(disputing: Disputing, shop: Shop, hosts: Hosts) -> None:
    # Stripe never lets the balance of such an account go below zero ("Account types").
    account = (
        await shop.sandbox.post("/v1/accounts", {"type": "standard", "country": "US", "email": "host@example.com"})
    )["id"]
    await shop.sandbox.act(f"accounts/{account}/onboard")
    async with shop.services.database.transaction() as connection:
        second = await add_user(connection, stripe_customer_id=None)
        await add_account(connection, second, stripe_account_id=account)
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (second, "0.5")))
    await shop.sandbox.act("balance/settle", account=account)
    await shop.sandbox.post("/v1/payouts", {"amount": 900, "currency": "usd"}, account=account)
    dispute = await disputing.decide(await disputing.disputed(payment), "lost")
    assert dispute.host_minor == 1800
    assert sorted(row.status for row in await disputing.reversals(payment)) == [
        TransferStatus.PAID, TransferStatus.REFUSED,
    ]  # fmt: skip
    assert await hosts.owed(payment) == [0, -900]
    await disputing.check(payment)
    dispute = await disputing.decide(dispute, "won")
    assert await hosts.owed(payment) == [900, 0]
    await disputing.check(payment)


async def test_in_another_currency_all_is_taken_back_and_given_again(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, currency="EUR", price_minor=3333)
    disputing = Disputing(shop)
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    assert (dispute.amount_minor, dispute.withdrawn_minor, dispute.currency) == (3333, 3333, "EUR")
    for outcome in ("lost", "won", "lost"):
        dispute = await disputing.decide(dispute, outcome)
        await disputing.check(payment)
    assert await disputing.pots(payment) == {}


async def test_a_part_of_another_currency_is_that_part(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await Shop.open(services, sandbox, clock, currency="JPY", price_minor=10001)
    disputing = Disputing(shop)
    payment = await shop.paid()
    dispute = await disputing.disputed(payment, amount=3334)
    assert dispute.withdrawn_minor == 3334
    await disputing.decide(dispute, "lost")
    await disputing.check(payment)


async def test_a_direct_charge_s_dispute_is_its_host_s(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    shop = await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)
    disputing = Disputing(shop)
    payment = await shop.paid()
    assert payment.stripe_account == shop.account.stripe_account_id
    dispute = await disputing.disputed(payment)
    assert dispute.stripe_account == payment.stripe_account
    assert await disputing.pots(payment) == {
        "GUEST_CLEARING": -2000, "HOST_BALANCE": -200, "DISPUTES": 2000, "APPLICATION_FEES": 200,
    }  # fmt: skip
    dispute = await disputing.decide(dispute, "lost")
    assert (dispute.fee_minor, dispute.host_minor) == (0, 2000)
    assert await disputing.pots(payment) == {"HOST_BALANCE": -200, "APPLICATION_FEES": 200}
    assert await disputing.reversals(payment) == []
    await disputing.check(payment)
    dispute = await disputing.decide(dispute, "won")
    assert dispute.host_minor == 0
    await disputing.check(payment)


async def test_what_a_host_s_account_says_of_other_charges_is_passed_over(
    services: Services, sandbox: Sandbox, clock: Clock, disputing: Disputing
) -> None:
    """Neither the host's own sales, nor a platform's payment that an event of a host's account names."""
    shop = disputing.shop
    payment = await shop.paid()
    await disputing.disputed(payment)
    [event] = [one for one in await shop.events_of(payment) if one["type"] == "charge.dispute.created"]
    version = (await shop.now(payment)).version
    account = shop.account.stripe_account_id
    stolen = {**event["data"]["object"], "id": "du_stolen", "status": "lost"}
    await shop.deliver([{**event, "id": "evt_stolen", "account": account, "data": {"object": stolen}}])
    stolen["payment_intent"] = "pi_of_the_host"
    await shop.deliver([{**event, "id": "evt_other", "account": account, "data": {"object": stolen}}])
    assert (await shop.now(payment)).version == version
    await disputing.check(payment)


async def test_of_an_invoice_the_platform_bears_all(services: Services, sandbox: Sandbox, clock: Clock) -> None:
    subscriber = await Subscriber.begin(services, sandbox, clock)
    await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    [payment] = await subscriber.payments()
    theirs = await sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    for outcome, left in (("lost", 0), ("won", 1000)):
        await sandbox.act(f"disputes/{theirs['id']}/decide", outcome=outcome)
        dispute = await settle_dispute(services, payment, theirs["id"], actor="stripe:evt_test")
        assert (dispute.fee_minor, dispute.host_minor) == (1000 - left, 0)
        assert await subscriber.balance("SUBSCRIPTION_INCOME") == left
        await subscriber.check()
    assert await subscriber.balance("DISPUTES") == 0


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("calls", [0, 1])
async def test_a_process_may_end_anywhere_on_the_way_to_what_is_borne(
    disputing: Disputing, shop: Shop, hosts: Hosts, boundary: Boundary, calls: int
) -> None:
    second = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (second, "0.5")))
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "lost")
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, calls))
        trap.begin(settles=True)
        with suppress(Crash):
            await settle_dispute(services, payment, dispute.stripe_dispute_id, actor="stripe:evt_test")
        trap.arm(None)
    await disputing.hear(payment)
    await shop.recover()
    assert (await disputing.now(dispute)).status is DisputeStatus.LOST
    assert len(await disputing.reversals(payment)) == 2
    assert await hosts.sent_to(payment, shop.host, second) == [0, 0]
    await disputing.check(payment)
    await hosts.check_taken(payment)


async def test_while_a_transfer_is_under_way_the_rest_is_settled_and_the_hosts_follow(
    disputing: Disputing, shop: Shop, hosts: Hosts
) -> None:
    second = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (second, "0.5")))
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "lost")
    [transfer, _] = await Transfer.filter(payment_id=payment.id).order_by("id")
    pool = shop.services.database.pool
    await pool.execute(
        "UPDATE transfers SET status = 'PLANNED', stripe_transfer_id = NULL WHERE id = $1", transfer.id
    )
    await pool.execute(
        "UPDATE payment_allocations SET transferred_minor = 0 WHERE id = $1", transfer.allocation_id
    )
    with pytest.raises(OperationInProgress):
        await settle_dispute(shop.services, payment, dispute.stripe_dispute_id, actor="stripe:evt_test")
    waiting = await disputing.now(dispute)
    assert (waiting.status, waiting.fee_minor, waiting.host_minor) == (DisputeStatus.LOST, 200, 0)
    assert await disputing.reversals(payment) == []
    await pool.execute(
        "UPDATE transfers SET status = 'PAID', stripe_transfer_id = $2 WHERE id = $1", transfer.id,
        transfer.stripe_transfer_id,
    )  # fmt: skip
    await pool.execute(
        "UPDATE payment_allocations SET transferred_minor = 900 WHERE id = $1", transfer.allocation_id
    )
    await disputing.hear(payment)
    assert (await disputing.now(dispute)).host_minor == 1800
    await disputing.check(payment)
    await hosts.check_taken(payment)


async def test_while_stripe_is_away_the_hosts_follow_later(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "lost")
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.failing("reset_before", 1, 1))  # after the dispute was fetched
        dispute = await settle_dispute(services, payment, dispute.stripe_dispute_id, actor="stripe:evt_test")
    assert trap.sprung == 1
    assert (dispute.status, dispute.host_minor) == (DisputeStatus.LOST, 1800)
    operation = await Operation.get(kind=SETTLE_LOST)
    assert operation.status is OperationStatus.RUNNING
    await shop.recover()
    assert await disputing.pots(payment) == {}
    await disputing.check(payment)


async def test_stripe_being_away_changes_nothing_and_the_event_comes_again(disputing: Disputing, shop: Shop) -> None:
    payment = await shop.paid()
    dispute = await disputing.disputed(payment)
    await disputing.decide_unheard(dispute, "lost")
    await shop.sandbox.faults(reset_before=1)
    with pytest.raises(StripeError):
        await settle_dispute(shop.services, payment, dispute.stripe_dispute_id, actor="stripe:evt_test")
    await shop.sandbox.heal()
    assert (await disputing.now(dispute)).version == dispute.version
    await disputing.hear(payment)
    await disputing.check(payment)
