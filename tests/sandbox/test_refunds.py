from __future__ import annotations

import pytest
import requests
import stripe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


async def paid(stripe_api, **params):
    host = await stripe_api.host()
    intent = await stripe_api.pay(application_fee_amount=1_000, transfer_data={"destination": host}, **params)
    return host, intent


async def test_partial_refunds_give_back_the_transfer_and_exactly_the_whole_fee(stripe_api):
    host, intent = await paid(stripe_api)
    both = {"payment_intent": intent.id, "reverse_transfer": True, "refund_application_fee": True}

    for amount in (3_333, 3_333):
        refund = await stripe_api.v1.refunds.create_async({**both, "amount": amount})
        assert (refund.status, refund.amount) == ("succeeded", amount)
    rest = await stripe_api.v1.refunds.create_async(both)

    assert rest.amount == 3_334
    charge = await stripe_api.v1.charges.retrieve_async(
        intent.latest_charge, {"expand": ["transfer", "application_fee"]}
    )
    assert (charge.amount_refunded, charge.refunded) == (10_000, True)
    assert (charge.transfer.amount_reversed, charge.transfer.reversed) == (10_000, True)
    assert (charge.application_fee.amount_refunded, charge.application_fee.refunded) == (1_000, True)
    parts = (await stripe_api.v1.application_fees.refunds.list_async(charge.application_fee.id)).data
    assert [part.amount for part in reversed(parts)] == [333, 334, 333]
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})
    assert balance.available[0].amount + balance.pending[0].amount == 0


@given(amounts=st.lists(st.integers(1, 4_000), min_size=1, max_size=5), fee=st.integers(1, 2_000))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_hosts_balance_is_what_was_not_given_back(sandbox_process, amounts, fee):
    """Driven by a client of its own, since hypothesis has no loop."""
    client = stripe.StripeClient(
        "sk_test_sandbox_tests", base_addresses={"api": sandbox_process.url}, max_network_retries=0,
        http_client=stripe.RequestsClient(),
    )  # fmt: skip
    account = client.v1.accounts.create({"type": "express", "country": "US"}).id
    requests.post(f"{sandbox_process.url}/_sandbox/accounts/{account}/onboard", timeout=10).raise_for_status()
    total = sum(amounts) + 100
    intent = client.v1.payment_intents.create(
        {
            "amount": total, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
            "capture_method": "automatic", "return_url": "https://example.com",
            "application_fee_amount": min(fee, total),
            "transfer_data": {"destination": account},
        }
    )  # fmt: skip
    for amount in amounts:
        client.v1.refunds.create(
            {"payment_intent": intent.id, "amount": amount, "reverse_transfer": True, "refund_application_fee": True}
        )
    taken = client.v1.application_fees.list({"charge": intent.latest_charge, "limit": 1})
    fees = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["application_fee"]}).application_fee
    kept = fees.amount - fees.amount_refunded
    balance = client.v1.balance.retrieve({}, {"stripe_account": account})
    assert not taken.has_more
    assert balance.available[0].amount + balance.pending[0].amount == 100 - kept


async def test_more_than_is_left_is_refused_and_nothing_moves(stripe_api):
    _, intent = await paid(stripe_api)
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 6_000})
    with pytest.raises(
        stripe.InvalidRequestError, match=r"\$50.00.*greater than unrefunded amount.*\$40.00"
    ) as refusal:
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 5_000})
    assert refusal.value.param == "amount"

    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert refusal.value.code == "charge_already_refunded"
    listed = await stripe_api.v1.refunds.list_async({"payment_intent": intent.id})
    assert sorted(refund.amount for refund in listed.data) == [4_000, 6_000]


async def test_a_refund_that_fails_later_gives_the_amount_back_to_the_charge(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["refund.failed"]})
    intent = await stripe_api.pay("pm_card_refundFail")
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "succeeded"

    await listener.wait_for(1, about=refund.id)

    failed = await stripe_api.v1.refunds.retrieve_async(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction.amount == 10_000
    charge = await stripe_api.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert (await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})).amount == 10_000


async def test_a_pending_refund_counts_at_once_and_succeeds_later(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["refund.updated"]})
    intent = await stripe_api.pay("pm_card_pendingRefund")
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")

    event = (await listener.wait_for(1, about=refund.id))[0]

    assert event["data"]["object"]["status"] == "succeeded"
    assert event["data"]["previous_attributes"]["status"] == "pending"


async def test_any_refund_can_be_made_to_fail(stripe_api):
    intent = await stripe_api.pay()
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "metadata": {"a": "b"}})
    shown = await stripe_api.control("POST", f"refunds/{refund.id}/fail", failure_reason="lost_or_stolen_card")
    assert (shown["status"], shown["failure_reason"], shown["metadata"]) == (
        "failed",
        "lost_or_stolen_card",
        {"a": "b"},
    )
    status, _ = await stripe_api.refused_control("POST", f"refunds/{refund.id}/fail")
    assert status == 400


async def test_what_was_not_captured_cannot_be_refunded(stripe_api):
    intent = await stripe_api.pay(capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    plain = await stripe_api.pay()
    with pytest.raises(stripe.InvalidRequestError, match="without an associated transfer"):
        await stripe_api.v1.refunds.create_async({"payment_intent": plain.id, "reverse_transfer": True})
    assert (await stripe_api.v1.refunds.list_async({"payment_intent": plain.id})).data == []
