from __future__ import annotations

import pytest
import stripe

EXPANSIONS = ["latest_charge.balance_transaction", "latest_charge.transfer", "latest_charge.application_fee"]


async def test_a_destination_charge_moves_the_whole_amount_to_the_host_and_the_fee_back(stripe_api):
    host, customer = await stripe_api.host(), await stripe_api.customer()
    before = (await stripe_api.v1.balance.retrieve_async()).pending[0].amount

    intent = await stripe_api.pay(
        customer=customer, application_fee_amount=1_000, transfer_data={"destination": host}, expand=EXPANSIONS
    )

    charge = intent.latest_charge
    assert intent.status == "succeeded"
    assert (charge.amount, charge.amount_captured, charge.balance_transaction.fee) == (10_000, 10_000, 320)
    assert (charge.transfer.amount, charge.transfer.destination) == (10_000, host)
    assert (charge.application_fee.amount, charge.application_fee.account) == (1_000, host)
    theirs = {"stripe_account": host}
    payment = await stripe_api.v1.charges.retrieve_async(charge.transfer.destination_payment, {}, theirs)
    assert (payment.amount, payment.source_transfer) == (10_000, charge.transfer.id)
    movement = await stripe_api.v1.balance_transactions.retrieve_async(payment.balance_transaction, {}, theirs)
    assert (movement.amount, movement.fee, movement.net, movement.type) == (10_000, 1_000, 9_000, "payment")
    assert movement.fee_details[0].type == "application_fee"
    assert (await stripe_api.v1.balance.retrieve_async({}, theirs)).pending[0].amount == 9_000
    assert (await stripe_api.v1.balance.retrieve_async()).pending[0].amount == before + 9_680 - 10_000 + 1_000


@pytest.mark.parametrize(
    ("method", "code", "decline_code", "advice_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", "do_not_try_again"),
        (
            "pm_card_visa_chargeDeclinedVelocityLimitExceeded",
            "card_declined",
            "card_velocity_exceeded",
            "try_again_later",
        ),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "do_not_try_again"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "confirm_card_data"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", "try_again_later"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline", "try_again_later"),
        ("pm_card_radarBlock", "card_declined", "fraudulent", "do_not_try_again"),
    ],
)
async def test_a_declined_card_answers_402_and_leaves_a_failed_charge(
    stripe_api, method, code, decline_code, advice_code
):
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.pay(method)

    error = refusal.value.error
    assert refusal.value.http_status == 402
    assert (error.code, error.decline_code, error.advice_code) == (code, decline_code, advice_code)
    intent = await stripe_api.v1.payment_intents.retrieve_async(error.payment_intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.payment_method, intent.last_payment_error.code) == (
        "requires_payment_method",
        None,
        code,
    )
    assert (intent.latest_charge.status, intent.latest_charge.failure_code) == ("failed", code)
    assert intent.latest_charge.balance_transaction is None
    kinds = [event.type for event in await stripe_api.events_of(intent.id, intent.latest_charge.id)]
    assert kinds == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


async def test_a_declined_payment_succeeds_with_another_card(stripe_api):
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.pay("pm_card_chargeDeclined")
    id_ = refusal.value.error.payment_intent.id

    intent = await stripe_api.v1.payment_intents.confirm_async(
        id_, {"payment_method": "pm_card_mastercard", "return_url": "https://example.com"}
    )

    assert (intent.status, intent.last_payment_error, intent.amount_received) == ("succeeded", None, 10_000)
    charges = await stripe_api.v1.charges.list_async({"payment_intent": id_})
    assert [charge.status for charge in charges.data] == ["succeeded", "failed"]
    with pytest.raises(stripe.InvalidRequestError, match="already succeeded") as again:
        await stripe_api.v1.payment_intents.confirm_async(id_, {"return_url": "https://example.com"})
    assert again.value.code == "payment_intent_unexpected_state"


async def test_the_challenge_page_takes_the_guest_back_with_the_outcome(stripe_api):
    intent = await stripe_api.pay("pm_card_authenticationRequired")
    assert intent.status == "requires_action"
    page = intent.next_action.redirect_to_url.url
    async with stripe_api.http.get(page) as response:
        assert response.status == 200
        assert "$100.00 USD" in await response.text()

    async with stripe_api.http.post(page, data={"outcome": "success"}, allow_redirects=False) as response:
        location = response.headers["Location"]

    assert location == (
        f"https://example.com/back?a=1&payment_intent={intent.id}&payment_intent_client_secret={intent.client_secret}"
        "&redirect_status=succeeded"
    )
    intent = await stripe_api.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.next_action) == ("succeeded", None)
    assert intent.latest_charge.payment_method_details.card.three_d_secure.result == "authenticated"


async def test_the_challenge_page_is_not_found_without_the_right_secret(stripe_api):
    intent = await stripe_api.pay("pm_card_authenticationRequired")
    page = intent.next_action.redirect_to_url.url
    for url in (page[:-1], page.split("?")[0], page.replace(intent.id, "pi_3none", 1)):
        async with stripe_api.http.post(url, data={"outcome": "success"}) as response:
            assert response.status == 404
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_action"


async def test_a_failed_challenge_asks_for_another_payment_method(stripe_api):
    intent = await stripe_api.pay("pm_card_threeDSecure2Required")

    shown = await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate", outcome="failure")

    assert shown["status"] == "requires_payment_method"
    assert shown["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    status, _ = await stripe_api.refused_control("POST", f"payment_intents/{intent.id}/authenticate", outcome="success")
    assert status == 400


async def test_a_bank_may_decline_after_the_challenge(stripe_api):
    intent = await stripe_api.pay("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")

    shown = await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate", outcome="success")

    assert (shown["status"], shown["last_payment_error"]["decline_code"]) == (
        "requires_payment_method",
        "insufficient_funds",
    )


async def test_off_session_a_card_that_needs_authentication_is_declined_unless_it_was_set_up(stripe_api):
    customer = await stripe_api.customer()
    saved = await stripe_api.v1.payment_methods.attach_async(
        "pm_card_authenticationRequiredOnSetup", {"customer": customer}
    )
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.pay(saved.id, customer=customer, off_session=True)
    assert refusal.value.code == "authentication_required"

    setup = await stripe_api.v1.setup_intents.create_async(
        {"customer": customer, "payment_method": saved.id, "confirm": True, "return_url": "https://example.com"}
    )
    assert setup.status == "requires_action"
    await stripe_api.control("POST", f"setup_intents/{setup.id}/authenticate", outcome="success")

    intent = await stripe_api.pay(saved.id, customer=customer, off_session=True)
    assert intent.status == "succeeded"


async def test_an_authorization_is_captured_in_part_with_its_own_fee(stripe_api):
    host = await stripe_api.host()
    intent = await stripe_api.pay(
        capture_method="manual", application_fee_amount=1_000, transfer_data={"destination": host},
        expand=["latest_charge"]
    )
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 10_000)
    card = intent.latest_charge.payment_method_details.card
    assert card.capture_before == intent.latest_charge.created + 7 * 86_400
    assert intent.latest_charge.balance_transaction is None

    captured = await stripe_api.v1.payment_intents.capture_async(
        intent.id, {"amount_to_capture": 6_000, "application_fee_amount": 600, "expand": EXPANSIONS}
    )

    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 6_000, 0)
    assert captured.latest_charge.transfer.amount == 6_000
    assert captured.latest_charge.application_fee.amount == 600
    kinds = [event.type for event in await stripe_api.events_of(intent.id, intent.latest_charge.id)]
    assert kinds == [
        "payment_intent.created", "charge.succeeded", "payment_intent.amount_capturable_updated", "charge.captured",
        "payment_intent.succeeded",
    ]  # fmt: skip
    [released] = (await stripe_api.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert (released.amount, released.balance_transaction, released.status) == (4_000, None, "succeeded")
    assert (captured.latest_charge.amount_refunded, captured.latest_charge.refunded) == (4_000, False)
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "reverse_transfer": True})
    assert refund.amount == 6_000
    assert (await stripe_api.v1.charges.retrieve_async(captured.latest_charge.id)).refunded is True
    with pytest.raises(stripe.InvalidRequestError) as again:
        await stripe_api.v1.payment_intents.capture_async(intent.id)
    assert again.value.code == "payment_intent_unexpected_state"


async def test_canceling_gives_an_authorization_back_and_a_captured_payment_cannot_be_canceled(stripe_api):
    intent = await stripe_api.pay(capture_method="manual")
    canceled = await stripe_api.v1.payment_intents.cancel_async(
        intent.id, {"cancellation_reason": "requested_by_customer"}
    )
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "requested_by_customer")
    [released] = (await stripe_api.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert (released.amount, released.balance_transaction, released.reason) == (10_000, None, None)
    [event] = [event for event in await stripe_api.events_of(intent.latest_charge) if event.type == "charge.refunded"]
    assert event.data.previous_attributes["amount_refunded"] == 0

    paid = await stripe_api.pay()
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.payment_intents.cancel_async(paid.id)
    assert refusal.value.code == "payment_intent_unexpected_state"
    assert (await stripe_api.v1.payment_intents.retrieve_async(paid.id)).status == "succeeded"


async def test_a_bank_debit_is_processing_until_the_bank_answers(stripe_api):
    stays = await stripe_api.pay("pm_usBankAccount_processing")
    assert stays.status == "processing"
    shown = await stripe_api.control(
        "POST", f"payment_intents/{stays.id}/settle", outcome="failure", failure_code="no_account"
    )
    assert (shown["status"], shown["last_payment_error"]["code"]) == ("requires_payment_method", "no_account")

    other = await stripe_api.pay("pm_usBankAccount_processing")
    shown = await stripe_api.control("POST", f"payment_intents/{other.id}/settle", outcome="success")
    assert shown["status"] == "succeeded"
    kinds = [event.type for event in await stripe_api.events_of(other.id)]
    assert kinds == ["payment_intent.created", "payment_intent.processing", "payment_intent.succeeded"]


async def test_a_charge_that_is_captured_asynchronously_says_later_where_its_money_went(stripe_api, listener):
    await stripe_api.v1.webhook_endpoints.create_async({"url": listener.url, "enabled_events": ["charge.updated"]})
    host = await stripe_api.host()

    intent = await stripe_api.pay(
        capture_method="automatic_async", transfer_data={"destination": host}, application_fee_amount=5,
        expand=["latest_charge"],
    )  # fmt: skip

    assert (intent.status, intent.latest_charge.balance_transaction) == ("succeeded", None)
    event = (await listener.wait_for(1, about=intent.latest_charge.id))[0]
    assert event["data"]["object"]["balance_transaction"].startswith("txn_")
    assert event["data"]["previous_attributes"]["balance_transaction"] is None


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": 49}, "amount_too_small", "amount"),
        ({"amount": 100_000_000}, "amount_too_large", "amount"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"currency": "xxx"}, None, "currency"),
        ({"currency": "kwd", "amount": 1_001}, None, "amount"),
        ({"currency": "isk", "amount": 10_010}, None, "amount"),
        ({"customer": "cus_none"}, "resource_missing", "customer"),
        ({"payment_method": "pm_none"}, "resource_missing", "payment_method"),
        ({"transfer_data": {"destination": "acct_none"}}, "resource_missing", "transfer_data[destination]"),
        ({"application_fee_amount": 10}, None, "application_fee_amount"),
        ({"return_url": None}, None, "return_url"),
        ({"statement_descriptor_suffix": "a<b"}, None, "statement_descriptor_suffix"),
        ({"capture_method": "sometimes"}, None, "capture_method"),
        ({"on_behalf_of": "acct_none"}, "resource_missing", "on_behalf_of"),
    ],
)
async def test_what_stripe_would_refuse_is_refused_and_nothing_is_made(stripe_api, params, code, param):
    before = (await stripe_api.v1.payment_intents.list_async({"limit": 1})).data
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.pay(**params)
    assert (refusal.value.code, refusal.value.param) == (code, param)
    after = (await stripe_api.v1.payment_intents.list_async({"limit": 1})).data
    assert [intent.id for intent in before] == [intent.id for intent in after]


async def test_a_host_who_cannot_be_paid_is_refused_with_the_reason(stripe_api):
    host = await stripe_api.host()
    await stripe_api.control("POST", f"accounts/{host}/restrict", requirements=["individual.verification.document"])
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.pay(transfer_data={"destination": host})
    assert refusal.value.code == "insufficient_capabilities_for_transfer"

    await stripe_api.control("POST", f"accounts/{host}/enable")
    assert (await stripe_api.pay(transfer_data={"destination": host})).status == "succeeded"


async def test_a_standard_account_for_whose_losses_stripe_is_liable_takes_no_destination_charges(stripe_api):
    controller = {
        "fees": {"payer": "account"}, "losses": {"payments": "stripe"}, "requirement_collection": "stripe",
        "stripe_dashboard": {"type": "full"},
    }  # fmt: skip
    account = await stripe_api.v1.accounts.create_async({"country": "US", "controller": controller})
    await stripe_api.control("POST", f"accounts/{account.id}/onboard")
    with pytest.raises(stripe.InvalidRequestError, match="losses"):
        await stripe_api.pay(transfer_data={"destination": account.id})


async def test_a_charge_in_another_currency_settles_in_the_platforms_at_a_rate(stripe_api):
    host = await stripe_api.host("DE")
    intent = await stripe_api.pay(
        currency="eur", application_fee_amount=1_000, transfer_data={"destination": host}, expand=EXPANSIONS
    )
    charge = intent.latest_charge
    movement = charge.balance_transaction
    assert (charge.currency, movement.currency, movement.exchange_rate) == ("eur", "usd", 1.086957)
    assert movement.amount == 10_870
    assert (charge.transfer.currency, charge.transfer.amount) == ("usd", 10_870)
    assert (charge.application_fee.currency, charge.application_fee.amount) == ("eur", 1_000)
    theirs = (await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})).pending
    assert [(pending.currency, pending.amount) for pending in theirs] == [("eur", 9_000)]


async def test_on_behalf_of_settles_in_the_hosts_currency(stripe_api):
    host = await stripe_api.host("DE")
    intent = await stripe_api.pay(
        currency="eur", transfer_data={"destination": host}, on_behalf_of=host, expand=EXPANSIONS
    )
    movement = intent.latest_charge.balance_transaction
    assert (movement.currency, movement.exchange_rate) == ("eur", None)


async def test_a_payment_method_that_is_not_saved_pays_once(stripe_api):
    method = await stripe_api.v1.payment_methods.create_async({"type": "card", "card": {"token": "tok_visa"}})
    assert (await stripe_api.pay(method.id)).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="previously used"):
        await stripe_api.pay(method.id)


async def test_setup_future_usage_saves_the_payment_method_to_the_customer(stripe_api):
    customer = await stripe_api.customer()
    first = await stripe_api.pay(customer=customer, setup_future_usage="off_session")
    saved = await stripe_api.v1.customers.payment_methods.list_async(customer)
    assert [method.id for method in saved.data] == [first.payment_method]
    assert (await stripe_api.pay(first.payment_method, customer=customer, off_session=True)).status == "succeeded"


async def test_a_direct_charge_lives_on_the_connected_account_and_its_fee_on_the_platform(stripe_api):
    host = await stripe_api.host()
    intent = await stripe_api.pay(
        account=host, application_fee_amount=500, expand=["latest_charge.balance_transaction"]
    )
    movement = intent.latest_charge.balance_transaction
    assert [part.type for part in movement.fee_details] == ["application_fee", "stripe_fee"]
    fee = await stripe_api.v1.application_fees.retrieve_async(intent.latest_charge.application_fee)
    assert (fee.account, fee.amount) == (host, 500)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.payment_intents.retrieve_async(intent.id)
    assert refusal.value.http_status == 404
