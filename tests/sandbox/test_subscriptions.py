"""How subscriptions begin, renew and are listed, over HTTP through the real client."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.invoicing import DAY, HOUR, START, advance, give_method, intent_of, payer
from tests.sandbox.subscribing import (
    FEBRUARY,
    MONTH,
    at,
    fetch,
    first,
    go_to,
    invoices,
    lines,
    period,
    price,
    subscribe,
    told_of,
)


async def test_a_subscription_begins_with_a_paid_invoice(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold = await price(stripe_api, metadata={"plan": "gold"})

    sub = await subscribe(
        stripe_api, customer, gold, metadata={"a": "b"}, description="Climbing",
        expand=["latest_invoice.payments", "customer", "items.data.price.product"],
    )  # fmt: skip

    invoice, item = sub.latest_invoice, first(sub)
    assert (sub.status, sub.currency, sub.customer.id, sub.description) == ("active", "usd", customer, "Climbing")
    assert (sub.created, sub.start_date, sub.billing_cycle_anchor) == (START, START, START)
    assert (sub.billing_mode.type, sub.billing_mode.flexible.proration_discounts) == ("flexible", "included")
    assert "current_period_end" not in sub
    assert period(sub) == (START, START + MONTH)
    assert (item.quantity, item.billed_until, item.subscription, item.plan.id) == (1, START + MONTH, sub.id, gold)
    assert (item.price.product.name, item.price.metadata.plan) == ("Gold", "gold")
    assert (len(sub["items"].data), sub["items"].has_more) == (1, False)
    assert (invoice.status, invoice.billing_reason, invoice.total) == ("paid", "subscription_create", 1_000)
    assert lines(invoice) == [("1 × Gold (at $10.00 / month)", 1_000)]
    line = invoice.lines.data[0]
    assert (line.period.start, line.period.end) == period(sub)
    assert line.parent.subscription_item_details.subscription_item == item.id
    assert line.pricing.price_details.price == gold
    assert invoice.parent.subscription_details.subscription == sub.id
    assert invoice.parent.subscription_details.metadata.to_dict() == {"a": "b"}
    intent = await stripe_api.v1.payment_intents.retrieve_async(invoice.payments.data[0].payment.payment_intent)
    assert (intent.status, intent.setup_future_usage) == ("succeeded", "off_session")
    assert await told_of(stripe_api, sub) == ["created"]
    (event,) = await stripe_api.events_of(sub.id)
    assert (event.data.object.status, event.created) == ("active", START)
    assert (await stripe_api.v1.subscription_items.retrieve_async(item.id)).price.id == gold


async def test_what_must_be_paid_first_is_incomplete_until_it_is(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api), payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=["latest_invoice.confirmation_secret"],
    )  # fmt: skip
    assert (sub.status, sub.latest_invoice.status, sub.pending_setup_intent) == ("incomplete", "open", None)
    intent = await intent_of(stripe_api, sub.latest_invoice.id)
    assert sub.latest_invoice.confirmation_secret.client_secret == intent.client_secret

    await stripe_api.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa", "return_url": "https://example.com"}
    )

    paid = await fetch(stripe_api, sub)
    assert (paid.status, paid.latest_invoice.status, period(paid)) == ("active", "paid", (START, START + MONTH))
    method = await stripe_api.v1.payment_methods.retrieve_async(paid.default_payment_method)
    assert method.customer == customer
    created, updated = await stripe_api.events_of(sub.id)
    assert (created.type, created.data.object.status) == ("customer.subscription.created", "incomplete")
    assert updated.data.previous_attributes.to_dict() == {"status": "incomplete", "default_payment_method": None}


async def test_three_d_secure_on_the_first_payment_makes_it_incomplete_until_it_is_passed(stripe_api):
    customer = await payer(stripe_api, "pm_card_threeDSecure2Required", on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    assert (sub.status, sub.latest_invoice.status) == ("incomplete", "open")
    intent = await intent_of(stripe_api, sub.latest_invoice.id)
    assert intent.status == "requires_action"
    await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate", outcome="success")
    assert (await fetch(stripe_api, sub)).status == "active"


async def test_a_declined_first_payment_leaves_it_incomplete_and_another_card_saves_it(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    assert (sub.status, sub.latest_invoice.status, sub.latest_invoice.next_payment_attempt) == (
        "incomplete", "open", None,
    )  # fmt: skip
    await give_method(stripe_api, customer, "pm_card_visa")
    await stripe_api.v1.invoices.pay_async(sub.latest_invoice.id)
    assert (await fetch(stripe_api, sub)).status == "active"


async def test_error_if_incomplete_leaves_nothing_behind(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    gold = await price(stripe_api)
    with pytest.raises(stripe.CardError) as refusal:
        await subscribe(stripe_api, customer, gold, payment_behavior="error_if_incomplete")
    assert refusal.value.code == "card_declined"
    listed = await stripe_api.v1.subscriptions.list_async({"customer": customer, "status": "all"})
    assert (listed.data, (await stripe_api.v1.invoices.list_async({"customer": customer})).data) == ([], [])


async def test_nothing_to_pay_with_is_refused_unless_nothing_is_due_yet(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    gold, free = await price(stripe_api), await price(stripe_api, 0)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source or default payment method"):
        await subscribe(stripe_api, customer, gold)
    assert (await stripe_api.v1.subscriptions.list_async({"customer": customer})).data == []
    nothing = await subscribe(stripe_api, customer, free)
    assert (nothing.status, nothing.latest_invoice.status, nothing.latest_invoice.total) == ("active", "paid", 0)
    assert nothing.pending_setup_intent is not None


async def test_an_incomplete_one_expires_after_23_hours_and_its_invoice_is_void(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api), payment_behavior="default_incomplete")
    await advance(stripe_api, customer, 23 * HOUR - 1)
    assert (await fetch(stripe_api, sub)).status == "incomplete"
    await advance(stripe_api, customer, 1)
    gone = await fetch(stripe_api, sub)
    assert (gone.status, gone.ended_at, gone.latest_invoice.status) == (
        "incomplete_expired", START + 23 * HOUR, "void",
    )  # fmt: skip
    assert await told_of(stripe_api, sub) == ["created", "updated"]
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        await stripe_api.v1.subscriptions.cancel_async(sub.id)


async def test_an_incomplete_one_that_is_canceled_has_never_been(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api), payment_behavior="default_incomplete")
    assert (await stripe_api.v1.subscriptions.cancel_async(sub.id)).status == "incomplete_expired"
    await advance(stripe_api, customer, 1)
    assert (await fetch(stripe_api, sub)).latest_invoice.status == "void"
    assert await told_of(stripe_api, sub) == ["created", "deleted"]


async def test_a_trial_costs_nothing_and_is_followed_by_the_first_payment(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api), trial_period_days=10)
    end = START + 10 * DAY
    assert (sub.status, sub.trial_start, sub.trial_end, sub.billing_cycle_anchor) == ("trialing", START, end, end)
    assert (period(sub), sub.pending_setup_intent) == ((START, end), None)
    assert (sub.latest_invoice.status, sub.latest_invoice.total) == ("paid", 0)
    assert lines(sub.latest_invoice) == [("Trial period for Gold", 0)]

    await advance(stripe_api, customer, 7 * DAY)
    assert await told_of(stripe_api, sub) == ["created", "trial_will_end"]
    await advance(stripe_api, customer, 3 * DAY)
    now = await fetch(stripe_api, sub)
    assert (now.status, period(now), now.latest_invoice.status) == ("active", (end, at("2027-02-25T08:00:00")), "draft")
    assert (now.latest_invoice.billing_reason, now.latest_invoice.period_start) == ("subscription_cycle", START)
    await advance(stripe_api, customer, HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.latest_invoice.status, now.latest_invoice.total) == ("paid", 1_000)


async def test_a_short_trial_is_told_of_at_once(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api), trial_end=START + 2 * DAY)
    await advance(stripe_api, customer, DAY)
    assert await told_of(stripe_api, sub) == ["created", "trial_will_end"]


@pytest.mark.parametrize(
    ("missing", "status", "events"),
    [
        ("cancel", "canceled", ["created", "trial_will_end", "deleted"]),
        ("pause", "paused", ["created", "trial_will_end", "updated", "paused"]),
        ("create_invoice", "past_due", ["created", "trial_will_end", "updated", "updated"]),
    ],
)
async def test_what_becomes_of_a_trial_without_a_method_is_as_it_was_set(stripe_api, missing, status, events):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api), trial_period_days=14,
        trial_settings={"end_behavior": {"missing_payment_method": missing}},
    )  # fmt: skip
    assert sub.pending_setup_intent is not None
    await advance(stripe_api, customer, 14 * DAY + HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, await told_of(stripe_api, sub)) == (status, events)
    if missing == "pause":
        assert now.status_details.paused.subscription.type == "trial_end_without_payment_method"
        assert len(await invoices(stripe_api, sub)) == 1


async def test_a_method_left_in_a_trial_is_the_subscriptions(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api), trial_period_days=14, expand=["pending_setup_intent"],
        payment_settings={"save_default_payment_method": "on_subscription"}, payment_behavior="default_incomplete",
    )  # fmt: skip
    intent = await stripe_api.v1.setup_intents.confirm_async(
        sub.pending_setup_intent.id, {"payment_method": "pm_card_visa", "return_url": "https://example.com"}
    )
    now = await fetch(stripe_api, sub)
    assert (intent.status, now.pending_setup_intent) == ("succeeded", None)
    assert now.default_payment_method == intent.payment_method
    await advance(stripe_api, customer, 14 * DAY + HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, now.latest_invoice.status) == ("active", "paid")


async def test_it_renews_at_the_end_of_its_period_and_is_paid_an_hour_later(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    await go_to(stripe_api, customer, START + MONTH - 1)
    assert len(await invoices(stripe_api, sub)) == 1
    upcoming = [e for e in (await stripe_api.v1.events.list_async({"type": "invoice.upcoming", "limit": 100})).data
                if e.data.object.customer == customer]  # fmt: skip
    assert [(e.data.object.total, e.created) for e in upcoming] == [(1_000, START + MONTH - 7 * DAY)]
    assert "id" not in upcoming[0].data.object

    await advance(stripe_api, customer, 1)
    now = await fetch(stripe_api, sub)
    assert (now.status, period(now)) == ("active", (START + MONTH, START + MONTH + FEBRUARY))
    assert (now.latest_invoice.status, now.latest_invoice.created) == ("draft", START + MONTH)
    assert (now.latest_invoice.period_start, now.latest_invoice.period_end) == (START, START + MONTH)
    events = await stripe_api.events_of(sub.id)
    previous = events[-1].data.previous_attributes.to_dict()
    assert set(previous) == {"items", "latest_invoice"}
    assert previous["items"]["data"][0]["current_period_end"] == START + MONTH

    await advance(stripe_api, customer, HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.latest_invoice.status, now.latest_invoice.billing_reason) == ("paid", "subscription_cycle")
    assert len(await invoices(stripe_api, sub)) == 2


async def test_the_31st_stays_the_31st(stripe_api):
    clock = await stripe_api.v1.test_helpers.test_clocks.create_async({"frozen_time": at("2027-01-31T10:00:00")})
    customer = (await stripe_api.v1.customers.create_async({"test_clock": clock.id})).id
    await give_method(stripe_api, customer, "pm_card_visa")
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    ends = [period(sub)[1]]
    for month in ("02-28", "03-31", "04-30"):
        await go_to(stripe_api, customer, at(f"2027-{month}T11:00:00"))
        ends.append(period(await fetch(stripe_api, sub))[1])
    assert ends == [at(f"2027-{day}T10:00:00") for day in ("02-28", "03-31", "04-30", "05-31")]
    assert [invoice.total for invoice in await invoices(stripe_api, sub)] == [1_000] * 4


async def test_a_failed_renewal_is_past_due_and_paying_it_makes_it_active(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, now.latest_invoice.status, now.latest_invoice.attempt_count) == ("past_due", "open", 1)
    assert now.latest_invoice.next_payment_attempt == START + MONTH + HOUR + 3 * DAY
    await give_method(stripe_api, customer, "pm_card_visa")
    await stripe_api.v1.invoices.pay_async(now.latest_invoice.id)
    assert (await fetch(stripe_api, sub)).status == "active"


@pytest.mark.parametrize(
    ("then", "status", "last"), [("cancel", "canceled", "deleted"), ("unpaid", "unpaid", "updated"),
                                 ("past_due", "past_due", "updated")],
)  # fmt: skip
async def test_when_retries_are_exhausted_the_accounts_setting_decides(stripe_api, then, status, last):
    await stripe_api.control("POST", "billing", retry_days=[1, 2], then=then)
    try:
        customer = await payer(stripe_api, on_clock=True)
        sub = await subscribe(stripe_api, customer, await price(stripe_api))
        await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
        await go_to(stripe_api, customer, START + MONTH + HOUR + 3 * DAY)
        now = await fetch(stripe_api, sub)
        assert (now.status, now.latest_invoice.attempt_count) == (status, 3)
        assert (await told_of(stripe_api, sub))[-1] == last
        if then == "cancel":
            assert (now.cancellation_details.reason, now.ended_at) == (
                "payment_failed", START + MONTH + HOUR + 3 * DAY,
            )  # fmt: skip
        if then == "unpaid":
            await go_to(stripe_api, customer, START + MONTH + FEBRUARY + 2 * HOUR)
            later = await fetch(stripe_api, sub)
            assert (later.status, later.latest_invoice.status) == ("unpaid", "draft")
            await give_method(stripe_api, customer, "pm_card_visa")
            await stripe_api.v1.invoices.pay_async(now.latest_invoice.id)
            assert (await fetch(stripe_api, sub)).status == "active"
    finally:
        await stripe_api.control("POST", "billing", retry_days=[3, 5, 7], then="cancel")


async def test_a_bill_that_is_sent_makes_it_active_at_once(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    gold = await price(stripe_api)
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        await subscribe(stripe_api, customer, gold, collection_method="send_invoice")
    sub = await subscribe(stripe_api, customer, gold, collection_method="send_invoice", days_until_due=10)
    assert (sub.status, sub.latest_invoice.status) == ("active", "draft")
    await advance(stripe_api, customer, HOUR)
    invoice = (await fetch(stripe_api, sub)).latest_invoice
    assert (invoice.status, invoice.amount_due) == ("open", 1_000)
    await advance(stripe_api, customer, 11 * DAY)
    assert (await fetch(stripe_api, sub)).status == "past_due"


async def test_several_items_with_quantities_are_on_one_invoice(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, seats = await price(stripe_api), await price(stripe_api, 250, name="Seat")
    sub = await subscribe(stripe_api, customer, items=[{"price": gold}, {"price": seats, "quantity": 3}])
    assert lines(sub.latest_invoice) == [("1 × Gold (at $10.00 / month)", 1_000), ("3 × Seat (at $2.50 / month)", 750)]
    assert sub.latest_invoice.total == 1_750


async def test_items_of_several_intervals_have_periods_of_their_own(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    monthly, yearly = await price(stripe_api), await price(stripe_api, 9_000, "year", name="Insurance")
    sub = await subscribe(stripe_api, customer, monthly, yearly)
    ends = [item.current_period_end for item in sub["items"].data]
    assert (ends, sub.latest_invoice.total) == ([START + MONTH, at("2028-01-15T08:00:00")], 10_000)
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert lines(now.latest_invoice) == [("1 × Gold (at $10.00 / month)", 1_000)]
    assert [item.current_period_end for item in now["items"].data] == [START + MONTH + FEBRUARY, ends[1]]
    with pytest.raises(stripe.InvalidRequestError, match=r"same `recurring\.interval`"):
        await subscribe(stripe_api, customer, monthly, yearly, billing_mode={"type": "classic"})


async def test_a_coupon_takes_its_part_as_long_as_it_lasts(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 30, "duration": "once"})
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api), discounts=[{"coupon": coupon.id}],
        expand=["latest_invoice", "discounts"],
    )  # fmt: skip
    assert sub.latest_invoice.total == 700
    assert (sub.discounts, (await fetch(stripe_api, sub)).status) == ([], "active")
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.total == 1_000

    code = await stripe_api.v1.coupons.create_async({"amount_off": 400, "currency": "usd", "duration": "forever"})
    promotion = await stripe_api.v1.promotion_codes.create_async(
        {"promotion": {"type": "coupon", "coupon": code.id}, "code": f"SAVE{START}"}
    )
    other = await subscribe(
        stripe_api, customer, await price(stripe_api), discounts=[{"promotion_code": promotion.id}],
        expand=["latest_invoice", "discounts"],
    )  # fmt: skip
    assert (other.latest_invoice.total, other.discounts[0].promotion_code) == (600, promotion.id)
    removed = await stripe_api.v1.subscriptions.delete_discount_async(other.id)
    assert (removed.deleted, (await fetch(stripe_api, other)).discounts) == (True, [])


async def test_a_price_costs_in_the_currency_of_the_subscription(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold = await price(stripe_api, currency_options={"eur": {"unit_amount": 900}})
    sub = await subscribe(stripe_api, customer, gold, currency="eur")
    assert (sub.currency, sub.latest_invoice.currency, sub.latest_invoice.total) == ("eur", "eur", 900)
    assert lines(sub.latest_invoice) == [("1 × Gold (at €9.00 / month)", 900)]
    again = await subscribe(stripe_api, customer, gold)
    assert again.currency == "eur"
    with pytest.raises(stripe.InvalidRequestError, match="cannot combine currencies"):
        await subscribe(stripe_api, customer, gold, currency="usd")
    with pytest.raises(stripe.InvalidRequestError, match="doesn't match the expected currency: `gbp`"):
        await subscribe(stripe_api, await payer(stripe_api), gold, currency="gbp")


async def test_a_billing_cycle_may_begin_later_with_a_part_paid_now(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    anchor = at("2027-02-01T08:00:00")
    gold = await price(stripe_api, 3_100)
    sub = await subscribe(stripe_api, customer, gold, billing_cycle_anchor=anchor)
    assert (period(sub), sub.latest_invoice.total) == ((START, anchor), 1_700)
    assert lines(sub.latest_invoice) == [("Remaining time on Gold after 15 Jan 2027", 1_700)]
    free = await subscribe(stripe_api, customer, gold, billing_cycle_anchor=anchor, proration_behavior="none")
    assert (free.status, free.latest_invoice, period(free)) == ("active", None, (START, anchor))
    with pytest.raises(stripe.InvalidRequestError, match="cannot be later than next natural billing date"):
        await subscribe(stripe_api, customer, gold, billing_cycle_anchor=START + MONTH + 1)
    await go_to(stripe_api, customer, anchor + HOUR)
    now = await fetch(stripe_api, free)
    assert (now.latest_invoice.total, period(now)) == (3_100, (anchor, at("2027-03-01T08:00:00")))


async def test_a_billing_cycle_may_be_anchored_to_a_day_of_the_month(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api, 3_100),
        billing_cycle_anchor_config={"day_of_month": 31, "hour": 8, "minute": 0, "second": 0},
    )  # fmt: skip
    assert period(sub) == (START, at("2027-01-31T08:00:00"))
    assert sub.billing_cycle_anchor_config.day_of_month == 31
    await go_to(stripe_api, customer, at("2027-02-28T09:00:00"))
    assert period(await fetch(stripe_api, sub)) == (at("2027-02-28T08:00:00"), at("2027-03-31T08:00:00"))


async def test_time_before_the_request_is_billed_where_it_is_asked_for(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api, 3_100), backdate_start_date=START - 10 * DAY
    )
    assert (sub.start_date, period(sub)) == (START - 10 * DAY, (START, START + MONTH))
    assert lines(sub.latest_invoice) == [
        ("Time on Gold from 05 Jan 2027 until 15 Jan 2027", 1_000), ("1 × Gold (at $31.00 / month)", 3_100),
    ]  # fmt: skip


async def test_other_things_can_be_put_on_the_first_invoice(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    fee = await stripe_api.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Joining fee"}}
    )
    sub = await subscribe(stripe_api, customer, await price(stripe_api), add_invoice_items=[{"price": fee.id}])
    assert sub.latest_invoice.total == 1_500
    assert ("Joining fee", 500) in lines(sub.latest_invoice)


async def test_a_debit_that_is_under_way_makes_it_active(stripe_api):
    customer = await payer(stripe_api, "pm_usBankAccount_processing")
    sub = await subscribe(stripe_api, customer, await price(stripe_api))
    assert (sub.status, sub.latest_invoice.status) == ("active", "open")

    customer = await payer(stripe_api, None)
    later = await subscribe(stripe_api, customer, await price(stripe_api), payment_behavior="default_incomplete")
    assert later.status == "incomplete"
    intent = await intent_of(stripe_api, later.latest_invoice.id)
    await stripe_api.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_usBankAccount_processing", "return_url": "https://example.com"}
    )
    assert (await fetch(stripe_api, later)).status == "active"
    await stripe_api.control("POST", f"payment_intents/{intent.id}/settle", outcome="failure")
    assert (await fetch(stripe_api, later)).status == "past_due"


@pytest.mark.parametrize(
    ("params", "message", "param"),
    [
        ({"items": [{"price": "price_none"}]}, "No such price", "items[0][price]"),
        ({"items": []}, "Missing required param: items", "items"),
        ({"default_payment_method": "pm_none"}, "does not have a payment method", "default_payment_method"),
        ({"trial_end": START - 1}, "in the future", "trial_end"),
        ({"trial_end": START + 3 * 366 * DAY}, "two years", "trial_end"),
        ({"trial_end": START + DAY, "trial_period_days": 3}, "only specify one", "trial_end"),
        ({"cancel_at": START - 1}, "in the future", "cancel_at"),
        ({"backdate_start_date": START + 1}, "in the past", "backdate_start_date"),
        ({"billing_cycle_anchor_config": {"day_of_month": 32}}, "between 1 and 31",
         "billing_cycle_anchor_config[day_of_month]"),
        ({"payment_behavior": "pending_if_incomplete"}, "when a subscription is updated", "payment_behavior"),
        ({"discounts": [{"coupon": "nope"}]}, "No such coupon", "discounts[0][coupon]"),
        ({"automatic_tax": {"enabled": True}}, "not built into the sandbox", "automatic_tax"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_by_name_and_leaves_nothing(stripe_api, params, message, param):
    customer = await payer(stripe_api, on_clock=True)
    with pytest.raises(stripe.InvalidRequestError, match=message) as refusal:
        await subscribe(stripe_api, customer, await price(stripe_api), **params) if params.get("items") != [] else (
            await stripe_api.v1.subscriptions.create_async({"customer": customer})
        )
    assert refusal.value.param == param
    assert (await stripe_api.v1.subscriptions.list_async({"customer": customer, "status": "all"})).data == []
    assert (await stripe_api.v1.invoices.list_async({"customer": customer})).data == []


async def test_prices_that_do_not_recur_or_are_archived_or_doubled_are_refused(stripe_api):
    customer, gold = await payer(stripe_api), await price(stripe_api)
    once = await stripe_api.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Fee"}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="type=one_time"):
        await subscribe(stripe_api, customer, once.id)
    with pytest.raises(stripe.InvalidRequestError, match="same plan"):
        await subscribe(stripe_api, customer, gold, gold)
    await stripe_api.v1.prices.update_async(gold, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        await subscribe(stripe_api, customer, gold)


async def test_lists_show_what_has_not_ended_unless_more_is_asked_for(stripe_api):
    customer, gold, free = await payer(stripe_api), await price(stripe_api), await price(stripe_api, 0)
    kept = await subscribe(stripe_api, customer, gold)
    gone = await subscribe(stripe_api, customer, free)
    await stripe_api.v1.subscriptions.cancel_async(gone.id)

    async def listed(**filters: Any) -> list[str]:
        page = await stripe_api.v1.subscriptions.list_async({"customer": customer, **filters})
        return [one.id for one in page.data]

    assert await listed() == [kept.id]
    assert await listed(status="all") == [gone.id, kept.id]
    assert await listed(status="canceled") == await listed(status="ended") == [gone.id]
    assert await listed(status="active") == await listed(price=gold) == [kept.id]
    assert await listed(price=free) == []
    assert await listed(current_period_end={"gt": period(kept)[1]}) == []
    assert await listed(current_period_end={"lte": period(kept)[1]}) == [kept.id]
    assert await listed(collection_method="send_invoice") == []
    shown = await stripe_api.v1.customers.retrieve_async(customer, {"expand": ["subscriptions"]})
    assert [one.id for one in shown.subscriptions.data] == [kept.id]


async def test_a_deleted_customers_subscriptions_end_and_a_detached_method_is_no_default(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    method = await give_method(stripe_api, customer, "pm_card_mastercard")
    sub = await subscribe(stripe_api, customer, await price(stripe_api), default_payment_method=method)
    await stripe_api.v1.payment_methods.detach_async(method)
    assert (await fetch(stripe_api, sub)).default_payment_method is None
    await stripe_api.v1.customers.delete_async(customer)
    assert (await fetch(stripe_api, sub)).status == "canceled"
    assert (await told_of(stripe_api, sub))[-1] == "deleted"
