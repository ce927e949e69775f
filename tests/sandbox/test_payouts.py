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
from tests.sandbox.shapes import missing

BANK = {"object": "bank_account", "country": "US", "currency": "usd"}


@pytest.fixture
async def by_hand(stripe_api):
    """Payouts go on only where the test says so."""
    await stripe_api.control("POST", "payouts", progress=False)
    yield stripe_api
    await stripe_api.control("POST", "payouts", progress=True)


async def funded(stripe_api, amount=10_000, *, bank=None, country="US", settled=True):
    """A host with money, and where it goes."""
    host = await stripe_api.host(country)
    if bank is not None:
        await add_bank(stripe_api, host, bank)
    if amount:
        await stripe_api.pay(amount=amount, transfer_data={"destination": host})
    if settled:
        await stripe_api.control("POST", "balance/settle", account=host)
    return host


async def add_bank(stripe_api, host, number, **fields):
    return await stripe_api.v1.accounts.external_accounts.create_async(
        host, {"external_account": {**BANK, "account_number": number, **fields}, "default_for_currency": True}
    )


async def pay_out(stripe_api, host, amount=4_000, **params):
    return await stripe_api.v1.payouts.create_async(
        {"amount": amount, "currency": "usd", **params}, {"stripe_account": host} if host else {}
    )


async def payout_of(stripe_api, host, id_, **params):
    return await stripe_api.v1.payouts.retrieve_async(id_, params, {"stripe_account": host})


async def has(stripe_api, host=None, currency="usd"):
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host} if host else {})
    available = {entry.currency: entry.amount for entry in balance.available}
    pending = {entry.currency: entry.amount for entry in balance.pending}
    return available.get(currency, 0), pending.get(currency, 0)


async def told(stripe_api, host, *ids):
    return [event.type for event in await stripe_api.events_of(*ids, account=host)]


async def test_a_payout_leaves_the_balance_at_once_and_arrives_later(by_hand):
    host = await funded(by_hand)
    payout = await pay_out(by_hand, host, description="May", metadata={"a": "b"}, statement_descriptor="DIVES")
    assert missing(payout.to_dict()) == []
    assert (payout.status, payout.method, payout.type, payout.automatic) == (
        "pending",
        "standard",
        "bank_account",
        False,
    )
    assert (payout.reconciliation_status, payout.trace_id.status) == ("not_applicable", "pending")
    assert (payout.description, payout.statement_descriptor) == ("May", "DIVES")
    assert payout.arrival_date % 86_400 == 0
    assert await has(by_hand, host) == (6_000, 0)

    await by_hand.control("POST", f"payouts/{payout.id}/send")
    assert (await payout_of(by_hand, host, payout.id)).status == "in_transit"
    await by_hand.control("POST", f"payouts/{payout.id}/pay")
    paid = await payout_of(by_hand, host, payout.id, expand=["balance_transaction", "destination"])
    assert (paid.status, paid.trace_id.status) == ("paid", "supported")
    assert missing(paid.to_dict()) == []
    movement = paid.balance_transaction
    assert (movement.type, movement.reporting_category, movement.amount) == ("payout", "payout", -4_000)
    assert (movement.fee, movement.description, movement.source) == (0, "STRIPE PAYOUT", payout.id)
    assert paid.destination.last4 == "6789"
    assert await told(by_hand, host, payout.id) == [
        "payout.created", "payout.updated", "payout.paid", "payout.updated",
    ]  # fmt: skip
    status, _ = await by_hand.refused_control("POST", f"payouts/{payout.id}/send")
    assert status == 400


async def test_a_payout_goes_all_the_way_by_itself(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async(
        {"url": listener.url, "enabled_events": ["payout.paid"], "connect": True}
    )
    host = await funded(stripe_api)
    payout = await pay_out(stripe_api, host)
    event = await listener.hear("payout.paid", id=payout.id)
    assert (event["account"], event["data"]["object"]["status"]) == (host, "paid")


async def test_more_than_is_available_is_refused_and_nothing_moves(stripe_api):
    host = await funded(stripe_api, settled=False)
    assert await has(stripe_api, host) == (0, 10_000)
    with pytest.raises(stripe.InvalidRequestError, match="insufficient funds") as refusal:
        await pay_out(stripe_api, host, 1)
    assert refusal.value.code == "balance_insufficient"
    await stripe_api.control("POST", "balance/settle", account=host)
    for amount, params in ((10_001, {}), (1, {"source_type": "bank_account"})):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            await pay_out(stripe_api, host, amount, **params)
        assert refusal.value.code == "balance_insufficient"
    assert await has(stripe_api, host) == (10_000, 0)
    assert (await stripe_api.v1.payouts.list_async({}, {"stripe_account": host})).data == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("000111111116", "no_account"), ("000111111113", "account_closed"), ("000222222227", "insufficient_funds"),
        ("000333333335", "debit_not_authorized"), ("000444444440", "invalid_currency"),
    ],
)  # fmt: skip
async def test_a_test_bank_sends_a_payout_back(stripe_api, listener, number, code):
    await stripe_api.v1.webhook_endpoints.create_async(
        {"url": listener.url, "enabled_events": ["payout.failed"], "connect": True}
    )
    host = await funded(stripe_api, bank=number)
    payout = await pay_out(stripe_api, host)
    await listener.hear("payout.failed", id=payout.id)
    failed = await payout_of(stripe_api, host, payout.id, expand=["failure_balance_transaction"])
    assert (failed.status, failed.failure_code) == ("failed", code)
    assert missing(failed.to_dict()) == []
    assert failed.failure_message
    back = failed.failure_balance_transaction
    assert (back.type, back.reporting_category, back.amount) == ("payout_failure", "payout_reversal", 4_000)
    assert await has(stripe_api, host) == (10_000, 0)
    types = await told(stripe_api, host, payout.id, payout.destination)
    assert types[-3:] == ["account.external_account.updated", "payout.failed", "payout.updated"]


async def test_a_payout_may_fail_after_it_was_paid_and_its_bank_is_used_no_more(by_hand):
    host = await funded(by_hand)
    payout = await pay_out(by_hand, host)
    await by_hand.control("POST", f"payouts/{payout.id}/send")
    await by_hand.control("POST", f"payouts/{payout.id}/pay")
    failed = await by_hand.control("POST", f"payouts/{payout.id}/fail", failure_code="account_frozen")
    assert (failed["status"], failed["failure_code"]) == ("failed", "account_frozen")
    assert await has(by_hand, host) == (10_000, 0)
    status, _ = await by_hand.refused_control("POST", f"payouts/{payout.id}/fail")
    assert status == 400
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(by_hand, host)
    assert refusal.value.code == "bank_account_unusable"
    assert (await by_hand.control("POST", f"accounts/{host}/pay_out"))["data"] == []
    bank = await by_hand.v1.accounts.external_accounts.retrieve_async(host, payout.destination)
    assert bank.status == "errored"
    await by_hand.v1.accounts.external_accounts.update_async(host, bank.id, {"account_holder_name": "Ada"})
    assert (await pay_out(by_hand, host)).status == "pending"


async def test_a_payout_is_called_back_while_it_is_pending(by_hand):
    host = await funded(by_hand)
    payout = await pay_out(by_hand, host)
    canceled = await by_hand.v1.payouts.cancel_async(payout.id, {}, {"stripe_account": host})
    assert (canceled.status, canceled.failure_code) == ("canceled", None)
    back = await by_hand.v1.balance_transactions.retrieve_async(
        canceled.failure_balance_transaction, {}, {"stripe_account": host}
    )
    assert (back.type, back.reporting_category, back.amount) == ("payout_cancel", "payout_reversal", 4_000)
    assert await has(by_hand, host) == (10_000, 0)
    assert "payout.canceled" in await told(by_hand, host, payout.id)
    gone = await pay_out(by_hand, host)
    await by_hand.control("POST", f"payouts/{gone.id}/send")
    with pytest.raises(stripe.InvalidRequestError, match="only be canceled while they are pending"):
        await by_hand.v1.payouts.cancel_async(gone.id, {}, {"stripe_account": host})
    assert await has(by_hand, host) == (6_000, 0)


async def test_a_payout_is_taken_back_from_the_bank(by_hand):
    host = await funded(by_hand)
    payout = await pay_out(by_hand, host)
    theirs = {"stripe_account": host}
    with pytest.raises(stripe.InvalidRequestError, match="cancel it instead"):
        await by_hand.v1.payouts.reverse_async(payout.id, {}, theirs)
    await by_hand.control("POST", f"payouts/{payout.id}/send")
    await by_hand.control("POST", f"payouts/{payout.id}/pay")
    reversal = await by_hand.v1.payouts.reverse_async(payout.id, {"metadata": {"why": "twice"}}, theirs)
    assert (reversal.amount, reversal.original_payout, reversal.status) == (-4_000, payout.id, "pending")
    assert (await payout_of(by_hand, host, payout.id)).reversed_by == reversal.id
    assert await has(by_hand, host) == (6_000, 4_000)
    with pytest.raises(stripe.InvalidRequestError):
        await by_hand.v1.payouts.reverse_async(payout.id, {}, theirs)
    await by_hand.control("POST", f"payouts/{reversal.id}/fail", failure_code="debit_not_authorized")
    assert sum(await has(by_hand, host)) == 6_000
    with pytest.raises(stripe.InvalidRequestError, match="connected accounts"):
        await by_hand.v1.payouts.reverse_async((await pay_out_platform(by_hand)).id)


async def pay_out_platform(stripe_api, amount=100):
    await stripe_api.pay("pm_card_bypassPending", amount=amount + 1_000)
    return await stripe_api.v1.payouts.create_async({"amount": amount, "currency": "usd"})


async def test_the_platform_pays_itself_out_as_well(by_hand):
    await by_hand.pay("pm_card_bypassPending", amount=50_000)
    before = await has(by_hand)
    payout = await by_hand.v1.payouts.create_async({"amount": 20_000, "currency": "usd"})
    assert missing(payout.to_dict()) == []
    assert (await has(by_hand))[0] == before[0] - 20_000
    failed = await by_hand.control("POST", f"payouts/{payout.id}/fail", failure_code="no_account")
    assert failed["status"] == "failed"
    assert (await has(by_hand))[0] == before[0]
    mine = await by_hand.v1.accounts.retrieve_current_async()
    await by_hand.control("POST", f"accounts/{mine.id}/bank_account", account_number="000123456789", currency="usd")
    again = await by_hand.v1.payouts.create_async({"amount": 100, "currency": "usd"})
    assert again.destination != payout.destination


async def test_an_instant_payout_takes_what_is_pending_and_costs_the_platform(by_hand):
    host = await funded(by_hand, settled=False)
    balance = await by_hand.v1.balance.retrieve_async(
        {"expand": ["instant_available.net_available"]}, {"stripe_account": host}
    )
    assert missing(balance.to_dict()) == []
    instant = balance.instant_available[0]
    assert (instant.amount, instant.net_available[0].amount) == (10_000, 10_000)
    before = sum(await has(by_hand))
    payout = await pay_out(by_hand, host, 8_000, method="instant", destination=instant.net_available[0].destination)
    assert (payout.method, payout.status) == ("instant", "pending")
    assert payout.arrival_date == payout.created
    assert sum(await has(by_hand, host)) == 2_000
    assert sum(await has(by_hand)) == before - 120
    fee = (await by_hand.v1.balance_transactions.list_async({"type": "stripe_fee", "limit": 1})).data[0]
    assert (fee.amount, fee.source, fee.reporting_category) == (-120, None, "fee")
    await by_hand.control("POST", f"payouts/{payout.id}/fail", failure_code="could_not_process")
    assert (sum(await has(by_hand, host)), sum(await has(by_hand))) == (10_000, before)
    with pytest.raises(stripe.InvalidRequestError):
        await by_hand.v1.balance.retrieve_async({"expand": ["instant_available.net_available"]})


async def test_who_pays_stripe_itself_pays_for_instant_payouts_too(by_hand):
    account = await by_hand.v1.accounts.create_async(
        {"type": "standard", "country": "US", "capabilities": CAPABILITIES, "email": "host@example.com"}
    )
    await by_hand.control("POST", f"accounts/{account.id}/onboard")
    await by_hand.pay(account=account.id, amount=10_000)
    theirs = {"stripe_account": account.id}
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(by_hand, account.id, 9_600, method="instant")
    assert refusal.value.code == "balance_insufficient"
    payout = await by_hand.v1.payouts.create_async(
        {"amount": 2_000, "currency": "usd", "method": "instant", "expand": ["balance_transaction"]}, theirs
    )
    assert (payout.balance_transaction.fee, payout.balance_transaction.net) == (50, -2_050)
    assert sum(await has(by_hand, account.id)) == 9_680 - 2_050
    back = await by_hand.control("POST", f"payouts/{payout.id}/fail", failure_code="declined")
    movement = await by_hand.v1.balance_transactions.retrieve_async(back["failure_balance_transaction"], {}, theirs)
    assert (movement.amount, movement.fee, movement.net) == (2_000, -50, 2_050)


async def test_only_some_banks_and_cards_are_paid_within_minutes(stripe_api):
    host = await funded(stripe_api, bank="000888888883")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(stripe_api, host, method="instant")
    assert refusal.value.code == "instant_payouts_unsupported"
    assert await has(stripe_api, host) == (10_000, 0)
    added = []
    for token in (
        "tok_visa_debit_us_transferSuccess",
        "tok_visa_debit_us_instantPayoutUnsupported",
        "tok_visa_debit_us_transferFail",
    ):
        card = await stripe_api.v1.accounts.external_accounts.create_async(host, {"external_account": token})
        assert missing(card.to_dict()) == []
        added.append(card)
    fine, slow, failing = added
    assert (fine.brand, fine.funding, fine.default_for_currency) == ("Visa", "debit", False)
    payout = await pay_out(stripe_api, host, 1_000, method="instant", destination=fine.id)
    assert payout.type == "card"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(stripe_api, host, 1_000, method="instant", destination=slow.id)
    assert refusal.value.code == "instant_payouts_unsupported"
    assert slow.available_payout_methods == ["standard"]
    listed = await stripe_api.v1.accounts.external_accounts.list_async(host, {"object": "card"})
    assert [card.id for card in listed.data] == [failing.id, slow.id, fine.id]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.accounts.external_accounts.create_async(
            host,
            {"external_account": {"object": "card", "number": "4242424242424242", "exp_month": 1, "exp_year": 2040}},
        )
    assert refusal.value.code == "invalid_card_type"
    for amount, code in ((49, "amount_too_small"), (999_901, "instant_payouts_limit_exceeded")):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            await pay_out(stripe_api, host, amount, method="instant", destination=fine.id)
        assert refusal.value.code == code


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"amount": 0}, "amount", "parameter_invalid_integer"), ({"currency": "xyz"}, "currency", None),
        ({"destination": "ba_none"}, "destination", "resource_missing"), ({"method": "soon"}, "method", None),
        ({"statement_descriptor": "x" * 23}, "statement_descriptor", None), ({"currency": "eur"}, None, None),
    ],
)  # fmt: skip
async def test_what_cannot_be_paid_out_is_refused_by_name(stripe_api, params, param, code):
    host = await funded(stripe_api, 0)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(stripe_api, host, **params)
    assert (refusal.value.param, refusal.value.code) == (param, code)


async def test_some_currencies_are_paid_in_whole_units(stripe_api):
    host = await stripe_api.host("HU")
    await stripe_api.control("POST", f"accounts/{host}/balance_transactions", amount=1_000_050)
    with pytest.raises(stripe.InvalidRequestError, match="whole units"):
        await pay_out(stripe_api, host, 500_050, currency="huf")
    assert (await pay_out(stripe_api, host, 500_000, currency="huf")).amount == 500_000
    rest = (await stripe_api.control("POST", f"accounts/{host}/pay_out"))["data"][0]
    assert rest["amount"] == 500_000
    assert (await has(stripe_api, host, "huf"))[0] == 50


async def test_a_restricted_host_is_not_paid_out(stripe_api):
    host = await funded(stripe_api)
    await stripe_api.control("POST", f"accounts/{host}/restrict")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await pay_out(stripe_api, host)
    assert refusal.value.code == "payouts_not_allowed"
    assert await has(stripe_api, host) == (10_000, 0)


async def contents(stripe_api, host, payout):
    page = await stripe_api.v1.balance_transactions.list_async(
        {"payout": payout, "limit": 100, "expand": ["data.source"]}, {"stripe_account": host}
    )
    return page.data


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
    assert changed.payments.settlement_timing.delay_days == 5
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


async def test_payouts_are_listed_by_what_they_are(by_hand):
    host = await funded(by_hand)
    theirs = {"stripe_account": host}
    made = [await pay_out(by_hand, host, 1_000) for _ in range(3)]
    await by_hand.v1.payouts.update_async(made[0].id, {"metadata": {"a": "b"}}, theirs)
    await by_hand.v1.payouts.cancel_async(made[1].id, {}, theirs)
    listed = by_hand.v1.payouts.list_async
    assert [one.id for one in (await listed({"status": "canceled"}, theirs)).data] == [made[1].id]
    assert len((await listed({"destination": made[0].destination}, theirs)).data) == 3
    arrival_date = made[0].arrival_date
    assert len((await listed({"arrival_date": {"lte": arrival_date}}, theirs)).data) == 3
    assert (await listed({"arrival_date": {"lt": arrival_date}}, theirs)).data == []
    assert (await listed({"created": {"gt": made[2].created + 60}}, theirs)).data == []
    assert (await payout_of(by_hand, host, made[0].id)).metadata.to_dict() == {"a": "b"}
    with pytest.raises(stripe.InvalidRequestError):
        await by_hand.v1.payouts.retrieve_async(made[0].id)


async def test_a_top_up_adds_to_the_platforms_balance(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["topup.succeeded"]})
    before = await has(stripe_api)
    topup = await stripe_api.v1.topups.create_async({"amount": 5_000, "currency": "usd", "transfer_group": "May"})
    assert missing(topup.to_dict()) == []
    assert (topup.status, topup.balance_transaction) == ("pending", None)
    assert await has(stripe_api) == before
    await listener.hear("topup.succeeded", id=topup.id)
    there = await stripe_api.v1.topups.retrieve_async(topup.id, {"expand": ["balance_transaction"]})
    assert (there.status, there.balance_transaction.type, there.balance_transaction.net) == (
        "succeeded",
        "topup",
        5_000,
    )
    assert (await has(stripe_api))[0] == before[0] + 5_000
    reversed_ = await stripe_api.control("POST", f"topups/{topup.id}/reverse")
    assert reversed_["status"] == "reversed"
    assert await has(stripe_api) == before


async def test_a_top_up_can_fail_and_be_called_off(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["topup.failed"]})
    before = await has(stripe_api)
    failing = await stripe_api.v1.topups.create_async(
        {"amount": 777, "currency": "usd", "source": "btok_us_verified_noAccount"}
    )
    await listener.hear("topup.failed", id=failing.id)
    assert (await stripe_api.v1.topups.retrieve_async(failing.id)).failure_code == "no_account"
    assert [one.id for one in (await stripe_api.v1.topups.list_async({"amount": 777})).data] == [failing.id]
    for params in ({"amount": 1, "currency": "usd", "source": "btok_none"}, {"amount": 0, "currency": "usd"}):
        with pytest.raises(stripe.InvalidRequestError):
            await stripe_api.v1.topups.create_async(params)
    host = await stripe_api.host()
    with pytest.raises(stripe.InvalidRequestError, match="platforms"):
        await stripe_api.v1.topups.create_async({"amount": 1, "currency": "usd"}, {"stripe_account": host})
    with pytest.raises(stripe.InvalidRequestError, match="not pending"):
        await stripe_api.v1.topups.cancel_async(failing.id)
    assert await has(stripe_api) == before


async def test_any_movement_can_be_made_for_a_test(stripe_api):
    host = await funded(stripe_api, 0)
    made = await stripe_api.control(
        "POST", f"accounts/{host}/balance_transactions", type="contribution", amount=-100, fee=5, description="Climate"
    )
    assert missing(made) == []
    assert (made["net"], made["reporting_category"], made["source"]) == (-105, "contribution", None)
    assert await has(stripe_api, host) == (-105, 0)
    status, message = await stripe_api.refused_control(
        "POST", f"accounts/{host}/balance_transactions", type="alms", amount=1
    )
    assert (status, "adjustment" in message) == (400, True)
