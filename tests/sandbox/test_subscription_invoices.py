"""What the invoices of subscriptions are, from the side of the invoices."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.invoicing import DAY, HOUR, START, advance, give_method, intent_of, payer, told

MONTH = 31 * DAY


async def monthly(driver, amount=1_000, **fields):
    product = await driver.v1.products.create_async({"name": "Climbing club"})
    price = await driver.v1.prices.create_async(
        {"product": product.id, "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}, **fields}
    )
    return price.id


async def subscribed(driver, customer, price=None, **fields):
    price = price or await monthly(driver)
    return await driver.v1.subscriptions.create_async(
        {"customer": customer, "items": [{"price": price}], "expand": ["latest_invoice"], **fields}
    )


async def invoices_of(driver, subscription):
    """The oldest first."""
    return (await driver.v1.invoices.list_async({"subscription": subscription})).data[::-1]


async def past(driver, customer, seconds):
    """Time goes by in steps that a clock on which a monthly subscription hangs can make."""
    while seconds > 0:
        step = min(seconds, 30 * DAY)
        await advance(driver, customer, step)
        seconds -= step


async def test_the_first_invoice_names_its_subscription_and_saves_the_method(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    subscription = await subscribed(stripe_api, customer, metadata={"club": "7"})

    invoice = await stripe_api.v1.invoices.retrieve_async(
        subscription.latest_invoice.id, {"expand": ["parent.subscription_details.subscription"]}
    )

    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 1_000)
    details = invoice.parent.subscription_details
    assert (details.subscription.id, details.metadata.to_dict()) == (subscription.id, {"club": "7"})
    assert (invoice.metadata.to_dict(), "subscription" in invoice, "payment_intent" in invoice) == ({}, False, False)
    line = invoice.lines.data[0]
    assert line.parent.type == "subscription_item_details"
    item = line.parent.subscription_item_details
    assert (item.subscription, item.subscription_item) == (subscription.id, subscription["items"].data[0].id)
    assert (line.period.start, line.period.end) == (START, START + MONTH)
    intent = await intent_of(stripe_api, invoice.id)
    assert (intent.description, intent.setup_future_usage) == ("Subscription creation", "off_session")
    assert intent.metadata.to_dict() == {}


async def test_a_declined_first_invoice_is_not_tried_again_by_itself(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    subscription = await subscribed(stripe_api, customer, payment_behavior="allow_incomplete")
    assert (subscription.status, subscription.latest_invoice.status) == ("incomplete", "open")
    invoice = subscription.latest_invoice
    assert (invoice.attempt_count, invoice.next_payment_attempt, invoice.auto_advance) == (1, None, False)
    await give_method(stripe_api, customer, "pm_card_visa")

    await advance(stripe_api, customer, 22 * HOUR)

    waits = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (waits.status, waits.attempt_count) == ("open", 1)
    paid = await stripe_api.v1.invoices.pay_async(invoice.id)
    assert paid.status == "paid"
    assert (await stripe_api.v1.subscriptions.retrieve_async(subscription.id)).status == "active"


async def test_a_renewal_is_a_draft_for_an_hour_and_then_collected(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    subscription = await subscribed(stripe_api, customer)
    await past(stripe_api, customer, MONTH)
    _, renewal = await invoices_of(stripe_api, subscription.id)
    assert (renewal.status, renewal.billing_reason, renewal.created) == ("draft", "subscription_cycle", START + MONTH)
    assert renewal.automatically_finalizes_at == START + MONTH + HOUR
    with pytest.raises(stripe.InvalidRequestError, match="created by subscriptions"):
        await stripe_api.v1.invoices.delete_async(renewal.id)

    await advance(stripe_api, customer, HOUR)

    paid = await stripe_api.v1.invoices.retrieve_async(renewal.id)
    assert (paid.status, paid.status_transitions.paid_at) == ("paid", START + MONTH + HOUR)
    assert (await intent_of(stripe_api, renewal.id)).description == "Subscription update"
    assert (await told(stripe_api, renewal.id)) == [
        "invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded",
    ]  # fmt: skip


async def test_what_waits_goes_on_the_next_renewal_unless_it_is_another_subscriptions(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    one, other = await subscribed(stripe_api, customer), await subscribed(stripe_api, customer)
    create = stripe_api.v1.invoice_items.create_async
    await create({"customer": customer, "amount": 50, "currency": "usd", "subscription": other.id})
    await create({"customer": customer, "amount": 70, "currency": "usd", "subscription": one.id})
    preview = await stripe_api.v1.invoices.create_preview_async({"subscription": one.id})
    assert ([line.amount for line in preview.lines.data], preview.total) == ([70, 1_000], 1_070)
    assert (preview.billing_reason, preview.next_payment_attempt) == ("upcoming", START + MONTH + HOUR)

    await past(stripe_api, customer, MONTH + HOUR)

    totals = [(await invoices_of(stripe_api, subscription.id))[-1].total for subscription in (one, other)]
    assert totals == [1_070, 1_050]
    alone = await stripe_api.v1.invoices.create_preview_async({"subscription": one.id, "preview_mode": "recurring"})
    assert alone.total == 1_000


async def test_the_page_of_a_failed_renewal_makes_the_subscription_active_and_keeps_the_card(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    subscription = await subscribed(
        stripe_api, customer, payment_settings={"save_default_payment_method": "on_subscription"}
    )
    old = await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    await stripe_api.v1.subscriptions.update_async(subscription.id, {"default_payment_method": old})
    await past(stripe_api, customer, MONTH + HOUR)
    assert (await stripe_api.v1.subscriptions.retrieve_async(subscription.id)).status == "past_due"
    failed = (await invoices_of(stripe_api, subscription.id))[-1]

    async with stripe_api.http.post(failed.hosted_invoice_url, data={"payment_method": "pm_card_mastercard"}) as page:
        assert page.status == 200

    after = await stripe_api.v1.subscriptions.retrieve_async(subscription.id, {"expand": ["default_payment_method"]})
    assert (after.status, after.default_payment_method.card.brand) == ("active", "mastercard")
    assert after.default_payment_method.customer == customer


async def test_a_connected_subscription_shares_each_invoice_with_the_host(stripe_api):
    customer, host = await payer(stripe_api, on_clock=True), await stripe_api.host()
    subscription = await subscribed(
        stripe_api, customer, await monthly(stripe_api, 10_000), application_fee_percent=12.5,
        transfer_data={"destination": host}, on_behalf_of=host,
    )  # fmt: skip
    await past(stripe_api, customer, MONTH + HOUR)
    for invoice in await invoices_of(stripe_api, subscription.id):
        intent = await intent_of(stripe_api, invoice.id)
        assert (invoice.status, invoice.on_behalf_of) == ("paid", host)
        assert (intent.transfer_data.destination, intent.application_fee_amount) == (host, 1_250)
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})
    assert balance.pending[0].amount == 2 * 8_750


async def test_a_note_on_a_paid_subscription_invoice_changes_nothing_of_the_subscription(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    subscription = await subscribed(stripe_api, customer)
    note = await stripe_api.v1.credit_notes.create_async(
        {"invoice": subscription.latest_invoice.id, "amount": 400, "refund_amount": 400}
    )
    assert (note.created, note.type) == (START, "post_payment")
    refund = await stripe_api.v1.refunds.retrieve_async(note.refunds[0].refund)
    assert refund.created < START
    assert (await stripe_api.v1.subscriptions.retrieve_async(subscription.id)).status == "active"
