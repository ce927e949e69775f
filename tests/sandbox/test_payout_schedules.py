from __future__ import annotations

from datetime import date

import pytest
import stripe

from sandbox.app import SandboxApp
from sandbox.engine import Options
from sandbox.payouts import automatic
from sandbox.payouts.schedule import arrival, pays_on
from sandbox.resources import balance_transactions
from sandbox.resources.account_bodies import account_body
from sandbox.resources.accounts import add_external_account
from tests.sandbox.driver import CAPABILITIES
from tests.sandbox.paying_out import add_bank, contents, funded, has, pay_out, payout_of, told
from tests.sandbox.shapes import missing


async def test_an_automatic_payout_is_the_sum_of_what_it_is_made_of(by_hand):
    host = await funded(by_hand)
    await by_hand.pay(amount=3_000, transfer_data={"destination": host}, application_fee_amount=500)
    await by_hand.control("POST", "balance/settle", account=host)
    taken = await pay_out(by_hand, host, 1_000)
    await by_hand.pay(amount=7_000, transfer_data={"destination": host})
    payout = (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"][0]
    assert (payout["amount"], payout["automatic"], payout["reconciliation_status"]) == (
        11_500,
        True,
        "in_progress",
    )
    assert missing(payout) == []
    inside = await contents(by_hand, host, payout["id"])
    assert sorted(one.type for one in inside) == ["payment", "payment", "payout", "payout"]
    others = [one for one in inside if one.source.id != payout["id"]]
    assert sum(one.net for one in others) == payout["amount"]
    assert taken.id in {one.source.id for one in others}
    assert await has(by_hand, host) == (0, 7_000)
    await by_hand.control("POST", f"payouts/{payout['id']}/send")
    assert (await payout_of(by_hand, host, payout["id"])).reconciliation_status == "completed"
    assert "payout.reconciliation_completed" in await told(by_hand, host, payout["id"])
    for id_, words in ((taken.id, "not manual"), ("po_none", "No such payout")):
        with pytest.raises(stripe.InvalidRequestError, match=words):
            await contents(by_hand, host, id_)
    with pytest.raises(stripe.InvalidRequestError, match="Automatic payouts"):
        await by_hand.v1.payouts.cancel_async(payout["id"], {}, {"stripe_account": host})


async def test_what_an_automatic_payout_lost_is_in_the_next_one(by_hand):
    host = await funded(by_hand)
    first = (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"][0]
    await by_hand.control("POST", f"payouts/{first['id']}/fail", failure_code="no_account")
    assert (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"] == []
    await add_bank(by_hand, host, "000123456789")
    second = (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"][0]
    assert second["amount"] == 10_000
    assert {one.type for one in await contents(by_hand, host, second["id"])} == {"payout_failure", "payout"}


async def test_a_minimum_stays_and_every_payout_still_adds_up(by_hand):
    host = await funded(by_hand)
    settings = await by_hand.v1.balance_settings.update_async(
        {"payments": {"payouts": {"minimum_balance_by_currency": {"usd": 2_500}}}}, {"stripe_account": host}
    )
    assert missing(settings.to_dict()) == []
    for amount, left in ((7_500, 2_500), (1_000, 2_500)):
        payout = (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"][0]
        assert payout["amount"] == amount
        inside = await contents(by_hand, host, payout["id"])
        others = [one for one in inside if one.type != "payout"]
        assert sum(one.net for one in others) == amount
        assert "payout_minimum_balance_hold" in {one.type for one in others}
        assert await has(by_hand, host) == (left, 0)
        await by_hand.control("POST", f"accounts/{host}/balance_transactions", amount=1_000)


async def test_what_a_host_owes_is_taken_from_the_bank_once(by_hand):
    host = await funded(by_hand, 0)
    await by_hand.control("POST", f"accounts/{host}/balance_transactions", amount=-3_000)
    assert await has(by_hand, host) == (-3_000, 0)
    with pytest.raises(stripe.InvalidRequestError):
        await pay_out(by_hand, host, 1)
    debit = (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"][0]
    assert (debit["amount"], debit["automatic"]) == (-3_000, True)
    assert await has(by_hand, host) == (-3_000, 3_000)
    assert (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"] == []
    await by_hand.control("POST", "balance/settle", account=host)
    assert await has(by_hand, host) == (0, 0)
    await by_hand.v1.balance_settings.update_async(
        {"payments": {"debit_negative_balances": False}}, {"stripe_account": host}
    )
    await by_hand.control("POST", f"accounts/{host}/balance_transactions", amount=-500)
    assert (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"] == []
    await by_hand.pay(amount=2_000, transfer_data={"destination": host})
    await by_hand.control("POST", "balance/settle", account=host)
    assert await has(by_hand, host) == (1_500, 0)


async def test_a_platform_sees_what_it_answers_for(stripe_api):
    account = await stripe_api.v1.accounts.create_async(
        {"type": "custom", "country": "US", "capabilities": CAPABILITIES}
    )
    assert not account.settings.payouts.debit_negative_balances

    async def reserved():
        balance = await stripe_api.v1.balance.retrieve_async()
        return {entry.currency: entry.amount for entry in balance.connect_reserved}["usd"]

    before = await reserved()
    await stripe_api.control("POST", f"accounts/{account.id}/balance_transactions", amount=-700)
    assert await reserved() == before + 700


async def test_a_schedule_is_the_accounts_and_the_balance_settings_alike(stripe_api):
    host = await funded(stripe_api, 0)
    theirs = {"stripe_account": host}
    settings = await stripe_api.v1.balance_settings.retrieve_async({}, theirs)
    assert missing(settings.to_dict()) == []
    assert settings.payments.payouts.schedule.interval == "daily"
    assert (settings.payments.settlement_timing.delay_days, settings.payments.payouts.status) == (2, "enabled")
    assert "delay_days_override" not in settings.payments.settlement_timing.to_dict()
    changed = await stripe_api.v1.balance_settings.update_async(
        {
            "payments": {
                "payouts": {"schedule": {"interval": "weekly", "weekly_payout_days": ["tuesday", "friday"]}},
                "settlement_timing": {"delay_days_override": 5},
            }
        },
        theirs,
    )
    assert changed.payments.payouts.schedule.weekly_payout_days == ["tuesday", "friday"]
    timing = changed.payments.settlement_timing
    assert (timing.delay_days, timing.delay_days_override) == (5, 5)
    account = await stripe_api.v1.accounts.retrieve_async(host)
    schedule = account.settings.payouts.schedule
    assert (schedule.interval, schedule.weekly_anchor, schedule.delay_days) == ("weekly", "tuesday", 5)
    assert missing(account.to_dict()) == []
    types = {event.type for event in (await stripe_api.v1.events.list_async({"limit": 5}, theirs)).data}
    assert {"balance_settings.updated", "account.updated"} <= types
    await stripe_api.v1.accounts.update_async(
        host, {"settings": {"payouts": {"schedule": {"interval": "monthly", "monthly_anchor": 31}}}}
    )
    settings = await stripe_api.v1.balance_settings.retrieve_async({}, theirs)
    assert settings.payments.payouts.schedule.monthly_payout_days == [31]
    for wrong in (
        {"interval": "weekly"}, {"interval": "monthly", "monthly_payout_days": [32]},
        {"interval": "daily", "weekly_payout_days": ["monday"]}, {"interval": "hourly"},
    ):  # fmt: skip
        with pytest.raises(stripe.InvalidRequestError):
            await stripe_api.v1.balance_settings.update_async({"payments": {"payouts": {"schedule": wrong}}}, theirs)
    with pytest.raises(stripe.InvalidRequestError, match="below 2"):
        await stripe_api.v1.balance_settings.update_async(
            {"payments": {"settlement_timing": {"delay_days_override": 1}}}, theirs
        )


async def test_money_waits_as_long_as_its_country_and_settings_say(stripe_api):
    for country, days in (("US", 3), ("FR", 4), ("BR", 31)):
        host = await stripe_api.host(country)
        intent = await stripe_api.pay(account=host, expand=["latest_charge.balance_transaction"])
        movement = intent.latest_charge.balance_transaction
        assert (movement.available_on, movement.status) == ((movement.created // 86_400 + days) * 86_400, "pending")


@pytest.mark.parametrize(
    ("schedule", "days"),
    [
        ({"interval": "manual"}, []),
        ({"interval": "daily"}, [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16]),
        ({"interval": "weekly", "weekly_payout_days": ["wednesday"]}, [4, 11]),
        ({"interval": "weekly", "weekly_payout_days": ["saturday"]}, [2, 9, 16]),
        ({"interval": "monthly", "monthly_payout_days": [5, 8]}, [5, 9]),
        ({"interval": "monthly", "monthly_payout_days": [31]}, [2]),
    ],
)
def test_a_schedule_pays_on_its_days_and_after_weekends(schedule, days):
    # February 2026 begins on a Sunday, and January ends on a Saturday.
    assert [day for day in range(1, 17) if pays_on(schedule, date(2026, 2, day))] == days
    assert pays_on({"interval": "monthly", "monthly_payout_days": [29, 31]}, date(2026, 3, 2))
    assert not pays_on({"interval": "monthly", "monthly_payout_days": [27]}, date(2026, 3, 2))


def test_a_bank_has_a_payout_on_its_next_working_day():
    friday = 1_770_336_000 + 3_600  # 6 February 2026
    assert arrival(friday) == 1_770_336_000 + 3 * 86_400
    assert arrival(friday - 86_400) == 1_770_336_000


async def test_a_new_day_makes_money_available_and_pays_it_out(tmp_path):
    app = SandboxApp(Options(tmp_path))
    wednesday = 1_770_163_200
    async with app.engine.running():
        platform = app.engine.platform_of("sk_test_days")
        assert app.engine.store.is_planned(automatic.BEGIN_DAY, platform)

        def work_at(now, account):
            work = app.engine.work(platform, account)
            work.now = work.wall = now
            return work

        work = work_at(wednesday - 86_400, platform)
        host = account_body("acct_1HostOfDays", "US", work.now, email=None)
        host.update(_owner=platform, payouts_enabled=True)
        work.add(host)
        add_external_account(work, host, "btok_us_verified")
        balance_transactions.post(work, host["id"], "payment", 5_000, "usd", None, available_on=wednesday)
        await app.engine.finish(work)

        work = work_at(wednesday + 1, platform)
        automatic.begin_day(work, platform)
        planned = {(one.action, one.subject): one.due for one in work.appointments}
        assert planned == {
            (automatic.OPEN_ACCOUNT, host["id"]): wednesday + 1,
            (automatic.BEGIN_DAY, platform): wednesday + 86_400,
        }

        for now, types in (
            (wednesday + 1, ["balance.available", "payout.created"]),
            (wednesday + 86_401, []),
        ):
            work = work_at(now, host["id"])
            automatic.open_account(work, host["id"])
            assert [event.type for event in work.events] == types
            await app.engine.finish(work)
        payout = next(app.engine.store.rows(host["id"], "payout")).body
        assert (payout["amount"], payout["arrival_date"]) == (5_000, wednesday + 86_400)
