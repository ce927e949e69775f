from __future__ import annotations

import pytest
import stripe

from tests.sandbox.driver import CAPABILITIES
from tests.sandbox.shapes import missing

STANDARD = {
    "fees": {"payer": "account"}, "losses": {"payments": "stripe"}, "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "full"},
}  # fmt: skip


@pytest.fixture
async def host(stripe_api):
    """A host with an account of their own."""
    account = await stripe_api.v1.accounts.create_async(
        {"country": "US", "controller": STANDARD, "capabilities": CAPABILITIES, "email": "host@example.com"}
    )
    await stripe_api.control("POST", f"accounts/{account.id}/onboard")
    return str(account.id)


async def total(stripe_api, account=None, currency="usd"):
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": account} if account else {})
    return sum(one.amount for one in (*balance.available, *balance.pending) if one.currency == currency)


async def test_the_charge_is_the_hosts_and_the_fee_the_platforms(stripe_api, host):
    before = await total(stripe_api)
    intent = await stripe_api.pay(
        account=host, application_fee_amount=1_000, expand=["latest_charge.balance_transaction"]
    )
    charge = intent.latest_charge
    assert missing(intent.to_dict()) == []
    movement = charge.balance_transaction
    assert (movement.amount, movement.fee, movement.net) == (10_000, 1_320, 8_680)
    assert [(fee.type, fee.amount) for fee in movement.fee_details] == [
        ("application_fee", 1_000),
        ("stripe_fee", 320),
    ]
    assert movement.fee_details[0].application == charge.application
    assert await total(stripe_api, host) == 8_680
    assert await total(stripe_api) == before + 1_000
    fee = await stripe_api.v1.application_fees.retrieve_async(charge.application_fee)
    assert missing(fee.to_dict()) == []
    assert (fee.account, fee.charge, fee.originating_transaction) == (host, charge.id, None)
    assert "application_fee.created" in [event.type for event in await stripe_api.events_of(fee.id)]
    theirs = await stripe_api.events_of(intent.id, charge.id, account=host)
    assert {event.account for event in theirs} == {host}
    assert [event.type for event in theirs][-1] == "payment_intent.succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.payment_intents.retrieve_async(intent.id)


async def test_a_refund_is_the_hosts_and_the_fee_goes_back_where_asked(stripe_api, host):
    intent = await stripe_api.pay(account=host, application_fee_amount=1_000)
    theirs, platform = {"stripe_account": host}, await total(stripe_api)
    kept = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 4_000}, theirs)
    assert missing(kept.to_dict()) == []
    assert (await total(stripe_api, host), await total(stripe_api)) == (4_680, platform)
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "refund_application_fee": True}, theirs)
    assert (await total(stripe_api, host), await total(stripe_api)) == (-320, platform - 1_000)
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id}, theirs)
    other = await stripe_api.pay(account=host)
    with pytest.raises(stripe.InvalidRequestError, match="reverse transfer"):
        await stripe_api.v1.refunds.create_async({"payment_intent": other.id, "reverse_transfer": True}, theirs)


async def test_a_dispute_is_the_hosts(stripe_api, host, listener):
    await stripe_api.v1.webhook_endpoints.create_async(
        {"url": listener.url, "enabled_events": ["charge.dispute.created", "charge.dispute.closed"], "connect": True}
    )
    platform = await total(stripe_api)
    intent = await stripe_api.pay("pm_card_createDispute", account=host, application_fee_amount=1_000)
    event = await listener.hear("charge.dispute.created", payment_intent=intent.id)
    assert event["account"] == host
    dispute, theirs = event["data"]["object"], {"stripe_account": host}
    assert await total(stripe_api, host) == 8_680 - 11_500
    assert await total(stripe_api) == platform + 1_000
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id}, theirs)
    assert refusal.value.code == "charge_disputed"
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.disputes.retrieve_async(dispute["id"])
    await stripe_api.v1.disputes.update_async(
        dispute["id"], {"evidence": {"uncategorized_text": "winning_evidence"}}, theirs
    )
    await listener.hear("charge.dispute.closed", id=dispute["id"])
    assert await total(stripe_api, host) == 8_680 - 1_500


async def test_a_hosts_money_is_paid_out_to_the_host(stripe_api, host):
    await stripe_api.pay(account=host)
    await stripe_api.control("POST", "balance/settle", account=host)
    payout = await stripe_api.v1.payouts.create_async(
        {"amount": 9_000, "currency": "usd"}, {"stripe_account": host}
    )
    assert payout.status == "pending"
    assert await total(stripe_api, host) == 680


async def test_a_saved_method_is_cloned_for_one_payment_or_for_a_customer(stripe_api, host):
    customer = await stripe_api.customer()
    saved = await stripe_api.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    create, theirs = stripe_api.v1.payment_methods.create_async, {"stripe_account": host}
    named = {"payment_method": saved.id}
    for params, param in ((named, "customer"), ({**named, "customer": "cus_x"}, "payment_method")):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            await create(params, theirs)
        assert refusal.value.param == param
    with pytest.raises(stripe.InvalidRequestError):
        await create({"payment_method": saved.id, "customer": customer})

    clone = await create({"payment_method": saved.id, "customer": customer}, theirs)
    assert missing(clone.to_dict()) == []
    assert (clone.customer, clone.card.fingerprint) == (None, saved.card.fingerprint)
    assert (await stripe_api.pay(clone.id, account=host)).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        await stripe_api.pay(clone.id, account=host)

    guest = await stripe_api.v1.customers.create_async({"email": "guest@example.com"}, theirs)
    again = await create({"payment_method": saved.id, "customer": customer}, theirs)
    await stripe_api.v1.payment_methods.attach_async(again.id, {"customer": guest.id}, theirs)
    for _ in range(2):
        paid = await stripe_api.pay(again.id, account=host, customer=guest.id, off_session=True)
        assert paid.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.pay(saved.id, account=host)
    assert (await stripe_api.v1.payment_methods.retrieve_async(saved.id)).customer == customer


async def test_a_test_id_is_cloned_as_if_it_were_a_method(stripe_api, host):
    theirs = {"stripe_account": host}
    clone = await stripe_api.v1.payment_methods.create_async({"payment_method": "pm_card_mastercard"}, theirs)
    assert missing(clone.to_dict()) == []
    assert (clone.customer, clone.card.brand) == (None, "mastercard")
    assert (await stripe_api.pay(clone.id, account=host)).status == "succeeded"


async def test_a_method_that_is_nobodys_is_used_up_by_its_clone(stripe_api, host):
    method = await stripe_api.v1.payment_methods.create_async({"type": "card", "card": {"token": "tok_visa"}})
    await stripe_api.v1.payment_methods.create_async({"payment_method": method.id}, {"stripe_account": host})
    with pytest.raises(stripe.InvalidRequestError, match="shared with a connected account"):
        await stripe_api.pay(method.id)


async def test_a_clone_does_what_the_card_does(stripe_api, host):
    customer = await stripe_api.customer()
    saved = await stripe_api.v1.payment_methods.attach_async("pm_card_chargeCustomerFail", {"customer": customer})
    clone = await stripe_api.v1.payment_methods.create_async(
        {"payment_method": saved.id, "customer": customer}, {"stripe_account": host}
    )
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.pay(clone.id, account=host, application_fee_amount=500)
    assert refusal.value.code == "card_declined"
    assert await total(stripe_api, host) == 0


async def test_an_authorization_of_a_hosts_is_captured_with_its_fee(stripe_api, host):
    theirs = {"stripe_account": host}
    intent = await stripe_api.pay(account=host, application_fee_amount=1_000, capture_method="manual")
    assert await total(stripe_api, host) == 0
    captured = await stripe_api.v1.payment_intents.capture_async(
        intent.id, {"amount_to_capture": 6_000, "application_fee_amount": 600}, theirs
    )
    assert captured.status == "succeeded"
    assert await total(stripe_api, host) == 6_000 - 600 - 204


async def test_another_currencys_fee_is_given_back_to_the_unit(stripe_api):
    account = await stripe_api.v1.accounts.create_async(
        {"country": "FR", "controller": STANDARD, "capabilities": CAPABILITIES, "email": "host@example.com"}
    )
    await stripe_api.control("POST", f"accounts/{account.id}/onboard")
    before = await total(stripe_api)
    intent = await stripe_api.pay(account=account.id, currency="eur", amount=9_999, application_fee_amount=997)
    fee = (await stripe_api.v1.charges.retrieve_async(
        intent.latest_charge, {"expand": ["application_fee.balance_transaction"]}, {"stripe_account": account.id}
    )).application_fee  # fmt: skip
    assert fee.balance_transaction.currency == "usd"
    for amount in (331, 333, 333):
        await stripe_api.v1.application_fees.refunds.create_async(fee.id, {"amount": amount})
    assert await total(stripe_api) == before


async def test_a_host_that_may_not_charge_is_not_charged_on(stripe_api, host):
    await stripe_api.control("POST", f"accounts/{host}/restrict")
    with pytest.raises(stripe.InvalidRequestError, match="cannot currently make charges"):
        await stripe_api.pay(account=host)
    assert (await stripe_api.v1.charges.list_async({}, {"stripe_account": host})).data == []
    for params in ({"transfer_data": {"destination": host}}, {"application_fee_amount": 10_001}):
        await stripe_api.control("POST", f"accounts/{host}/enable")
        with pytest.raises(stripe.InvalidRequestError):
            await stripe_api.pay(account=host, **params)
