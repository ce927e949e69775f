"""What cancelling would cost whom, and whether it is there: as it turns out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.balances import BalanceTransaction
from models.base import new_id, new_row
from models.money import Money
from models.refunds import Refund
from models.sets import insert_rows
from services.activity_cancellation.preview import Totals, cancellation_preview
from services.errors import Forbidden, NotFound
from tests.services.activity_cancellation.test_failures import dispute
from tests.support.hosts import Hosts, shares
from tests.support.shop import SERVICE, Shop, as_user

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.calling_off import CallingOff
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


def usd(minor: int) -> Money:
    return Money(minor, "USD")


async def test_guests_get_what_hosts_and_platform_give(shop: Shop, off: CallingOff) -> None:
    await shop.paid(quantity=2)
    part = await shop.paid()
    await shop.refund(part, 333)
    disputed = await shop.paid()
    await dispute(shop, disputed)
    await shop.pay(capture_later=True)
    await shop.pay("pm_card_chargeDeclined")
    await shop.pay("pm_usBankAccount_processing")
    before = await Refund.all().count()

    preview = await off.preview()
    assert (preview.payments_to_refund, preview.payments_to_cancel) == (2, 2)
    assert (preview.payments_at_banks, preview.payments_disputed) == (1, 1)
    assert preview.totals == [Totals(usd(5667), usd(5100), usd(567), usd(2000))]
    platform, host = preview.balances
    assert (platform.host_id, platform.gives) == (None, usd(567))
    assert (host.host_id, host.gives) == (shop.host.id, usd(5100))
    assert await Refund.all().count() == before

    await off.begin()
    for _ in range(2):
        await off.work()
    given = await shop.services.database.pool.fetchrow(
        """
        SELECT sum(r.amount_minor)::int AS guests, sum(r.host_minor)::int AS hosts, sum(r.fee_minor)::int AS platform
        FROM activity_cancellation_items i JOIN refunds r ON r.id = i.refund_id
        """
    )
    assert tuple(given) == (5667, 5100, 567)


async def test_payments_are_read_some_at_a_time_and_each_is_counted_once(shop: Shop, off: CallingOff) -> None:
    hosts = Hosts(shop)
    others = [await hosts.add() for _ in range(9)]
    splits = shares(*((host, "0.1") for host in (shop.host, *others)))
    for _ in range(3):
        await shop.paid(splits=splits)
    await shop.pay(capture_later=True)
    whole = await off.preview()
    assert (whole.payments_to_refund, whole.payments_to_cancel, len(whole.balances)) == (3, 1, 11)
    for page in (1, 2, 4):
        paged = await cancellation_preview(
            shop.services, viewer=SERVICE, activity_id=shop.activity.id, page=page
        )
        assert paged == whole


async def test_what_is_not_there_is_said(shop: Shop, off: CallingOff) -> None:
    """What guests paid is pending for days: nothing of it can be given back yet but from what was there before."""
    await shop.paid()
    theirs = await shop.sandbox.get("/v1/balance", account=str(shop.account.stripe_account_id))
    pending = {part["currency"]: part["amount"] for part in theirs["pending"]}
    _, host = (await off.preview()).balances
    assert host.pending == usd(pending["usd"]) == usd(1800)
    assert (host.available, host.gives, host.missing) == (usd(0), usd(1800), usd(1800))

    await shop.sandbox.act("balance/settle", account=shop.account.stripe_account_id)
    _, host = (await off.preview()).balances
    assert (host.available, host.pending, host.missing) == (usd(1800), usd(0), usd(0))


async def test_the_platform_s_balance_is_asked_of_stripe(shop: Shop, off: CallingOff) -> None:
    await shop.paid()
    ours = await shop.sandbox.get("/v1/balance")
    available = {part["currency"]: part["amount"] for part in ours["available"]}
    platform, _ = (await off.preview()).balances
    assert platform.available == usd(available["usd"])
    assert platform.missing == max(platform.gives - platform.available, usd(0))


async def test_a_host_who_cut_the_platform_off_has_nothing_that_can_be_counted_on(
    shop: Shop, off: CallingOff
) -> None:
    await shop.paid()
    await shop.sandbox.act(f"accounts/{shop.account.stripe_account_id}/deauthorize")
    preview = await off.preview()
    _, host = preview.balances
    assert (preview.payments_to_refund, host.gives, host.missing) == (1, usd(1800), usd(1800))


async def test_another_currency_is_reckoned_in_that_of_the_balances(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    shop = await Shop.open(services, sandbox, clock, country="DE", currency="EUR", price_minor=5000)
    paid = await shop.paid()
    preview = await cancellation_preview(services, viewer=SERVICE, activity_id=shop.activity.id)
    [totals] = preview.totals
    assert totals == Totals(*(Money(minor, "EUR") for minor in (5000, 4500, 500, 0)))
    places = {place.host_id: place for place in preview.balances}
    payment = await shop.now(paid)
    assert places[shop.host.id].gives.currency == payment.host_credit_currency
    assert places[None].gives.currency == payment.settlement_currency
    for place in places.values():
        assert place.gives.minor > 0
        assert place.gives.currency == place.available.currency == place.pending.currency


async def test_stripes_fees_are_lost_and_those_not_known_are_counted(shop: Shop, off: CallingOff) -> None:
    known, unknown = await shop.paid(), await shop.paid()
    charge = (await shop.now(known)).stripe_charge_id
    row = new_row(
        BalanceTransaction,
        id=new_id(), stripe_account="", stripe_balance_transaction_id="txn_1", type="charge",
        reporting_category="charge", amount_minor=2000, fee_minor=88, application_fee_minor=0, currency="USD",
        source_id=charge, stripe_created_at=shop.clock(), available_on=shop.clock(), payment_id=known.id,
    )  # fmt: skip
    async with shop.services.database.transaction() as connection:
        await connection.execute("DELETE FROM balance_transactions")
        await insert_rows(connection, BalanceTransaction, [row])
    preview = await off.preview()
    assert (preview.stripe_fees_lost, preview.payments_of_unknown_fee) == ([usd(88)], 1)
    assert unknown.id != known.id


async def test_it_is_for_the_platform_alone(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        await cancellation_preview(shop.services, viewer=as_user(shop.host), activity_id=shop.activity.id)
    with pytest.raises(NotFound):
        await cancellation_preview(shop.services, viewer=SERVICE, activity_id=shop.host.id)
