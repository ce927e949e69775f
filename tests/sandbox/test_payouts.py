from __future__ import annotations

import pytest
import stripe

from tests.sandbox.driver import CAPABILITIES
from tests.sandbox.paying_out import add_bank, funded, has, pay_out, payout_of, told
from tests.sandbox.shapes import missing


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


async def test_a_payout_outlives_the_bank_account_it_went_to(by_hand):
    host = await funded(by_hand)
    payouts = [await pay_out(by_hand, host, 1_000) for _ in range(2)]
    await add_bank(by_hand, host, "000123456789")
    await by_hand.v1.accounts.external_accounts.delete_async(host, payouts[0].destination)
    failed = await by_hand.control("POST", f"payouts/{payouts[0].id}/fail", failure_code="account_closed")
    assert failed["status"] == "failed"
    assert await has(by_hand, host) == (9_000, 0)
    await by_hand.control("POST", f"payouts/{payouts[1].id}/pay")
    with pytest.raises(stripe.InvalidRequestError, match="US and Canadian"):
        await by_hand.v1.payouts.reverse_async(payouts[1].id, {}, {"stripe_account": host})
    assert (await pay_out(by_hand, host, 1_000)).destination != payouts[0].destination
