"""Whoever has been sent what: hosts who share, parts that the platform still holds, charges on a host's own account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from models.activities import PayoutTiming
from models.activity_cancellations import CancellationOutcome
from models.connect_accounts import ConnectAccountType
from models.money import Money
from models.payments import ChargeModel, PaymentStatus
from services.activity_cancellation.preview import Totals
from tests.support.calling_off import CallingOff
from tests.support.hosts import Hosts, shares
from tests.support.shop import Shop

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


def usd(minor: int) -> Money:
    return Money(minor, "USD")


async def test_each_host_gives_back_what_they_were_sent(shop: Shop, off: CallingOff) -> None:
    hosts = Hosts(shop)
    second, unready = await hosts.add(), await hosts.add(ready=False)
    splits = shares((shop.host, "0.5"), (second, "0.3"), (unready, "0.2"))
    payments = [await shop.paid("pm_card_bypassPending", splits=splits) for _ in range(2)]
    for host in (shop.host, second):
        await shop.sandbox.act("balance/settle", account=(await hosts.account(host)).stripe_account_id)
    preview = await off.preview()
    assert preview.totals == [Totals(usd(4000), usd(3600), usd(400), usd(0))]
    gives = {place.host_id: place.gives for place in preview.balances}
    # The platform gives its fee, and what it holds for the host who is not ready.
    assert gives == {None: usd(400 + 720), shop.host.id: usd(1800), second.id: usd(1080)}
    assert [place.missing for place in preview.balances if place.host_id is not None] == [usd(0), usd(0)]

    await off.begin()
    ended = await off.finish()
    assert ended.failed == 0
    for payment in payments:
        assert (await shop.now(payment)).status is PaymentStatus.REFUNDED
        assert await off.outcome(payment) is CancellationOutcome.REFUNDED
        assert await hosts.sent_to(payment, shop.host, second, unready) == [0, 0, 0]
        assert await hosts.owed(payment) == [0, 0, 0]
        assert await off.refunds_at_stripe(payment) == [2000]
        await hosts.check_taken(payment)


async def test_what_is_held_until_after_the_activity_is_given_back_whole_and_never_sent(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(
        services, sandbox, clock, payout_timing=PayoutTiming.AFTER_ACTIVITY,
        starts_at=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    off, hosts = CallingOff(shop), Hosts(shop)
    payment = await shop.paid()
    assert payment.charge_model is ChargeModel.SEPARATE
    [platform] = (await off.preview()).balances
    assert (platform.host_id, platform.gives) == (None, usd(2000))
    await off.begin()
    await hosts.work(hours=24 * 30)  # nothing is sent once it is off, however late it is refunded
    assert await hosts.sent(payment) == {}
    ended = await off.finish()
    assert (ended.failed, (await shop.now(payment)).status) == (0, PaymentStatus.REFUNDED)
    assert await hosts.owed(payment) == [0]
    await hosts.work(hours=24 * 30)
    assert await hosts.sent(payment) == {}
    await hosts.check_taken(payment)


async def test_a_charge_on_a_host_s_own_account_is_given_back_there(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)
    off = CallingOff(shop)
    paid = await shop.paid()
    unpaid = (await shop.pay("pm_card_authenticationRequired")).payment
    assert paid.charge_model is ChargeModel.DIRECT
    preview = await off.preview()
    assert preview.totals == [Totals(usd(2000), usd(1800), usd(200), usd(0))]
    assert {place.host_id: place.gives for place in preview.balances} == {None: usd(200), shop.host.id: usd(1800)}
    await off.begin()
    ended = await off.finish()
    assert (ended.done, ended.failed) == (2, 0)
    assert (await shop.now(paid)).status is PaymentStatus.REFUNDED
    assert (await shop.now(unpaid)).status is PaymentStatus.CANCELED
    made = await sandbox.every(
        "/v1/refunds", {"payment_intent": paid.stripe_payment_intent_id}, account=paid.stripe_account
    )
    assert [refund["amount"] for refund in made] == [2000]
