"""How subscriptions are changed, paused and ended, and what that costs, to the cent."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
import stripe

from tests.sandbox.invoicing import DAY, HOUR, START, advance, give_method, intent_of, payer
from tests.sandbox.subscribing import (
    FEBRUARY,
    HALF,
    MONTH,
    at,
    change,
    fetch,
    first,
    go_to,
    invoices,
    lines,
    pending,
    period,
    price,
    subscribe,
    told_of,
)


async def half_way(driver: Any, *, method: str = "pm_card_visa", **params: Any) -> tuple[str, Any, str, str]:
    """A subscriber in the middle of the first month: customer, subscription, its price, and a dearer one."""
    customer = await payer(driver, method, on_clock=True)
    gold, platinum = await price(driver), await price(driver, 2_000, name="Platinum")
    sub = await subscribe(driver, customer, gold, **params)
    await go_to(driver, customer, HALF)
    return customer, sub, gold, platinum


async def test_an_upgrade_waits_as_two_items_for_the_next_invoice(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    changed = await change(stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}])
    assert (changed.status, first(changed).price.id, period(changed)) == ("active", platinum, (START, START + MONTH))
    assert changed.latest_invoice.id == sub.latest_invoice.id
    credit = ("Unused time on Gold after 30 Jan 2027", -500)
    debit = ("Remaining time on Platinum after 30 Jan 2027", 1_000)
    assert sorted(await pending(stripe_api, customer)) == sorted([credit, debit])
    waiting = (await stripe_api.v1.invoice_items.list_async({"customer": customer, "pending": True})).data
    assert {(item.proration, item.discountable, item.period.start, item.period.end) for item in waiting} == {
        (True, False, HALF, START + MONTH)
    }
    (given_back,) = [item for item in waiting if item.amount < 0]
    credited = given_back.proration_details.credited_items.invoice_line_item_details
    assert (credited.invoice, credited.invoice_line_items) == (
        sub.latest_invoice.id, [sub.latest_invoice.lines.data[0].id],
    )  # fmt: skip

    await go_to(stripe_api, customer, START + MONTH + HOUR)
    invoice = (await fetch(stripe_api, sub)).latest_invoice
    assert lines(invoice) == [credit, debit, ("1 × Platinum (at $20.00 / month)", 2_000)]
    assert (invoice.total, invoice.status) == (2_500, "paid")


async def test_an_upgrade_may_be_billed_at_once(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    changed = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice"
    )
    invoice = changed.latest_invoice
    assert (invoice.billing_reason, invoice.status, invoice.total, invoice.created) == (
        "subscription_update", "paid", 500, HALF,
    )  # fmt: skip
    assert [amount for _, amount in lines(invoice)] == [-500, 1_000]
    assert (await pending(stripe_api, customer), changed.status) == ([], "active")
    assert await told_of(stripe_api, sub) == ["created", "updated"]
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.total == 2_000


async def test_a_downgrade_at_once_is_credited_to_the_customer(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    sub = await subscribe(stripe_api, customer, platinum)
    await go_to(stripe_api, customer, HALF)
    changed = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": gold}], proration_behavior="always_invoice"
    )
    assert (changed.latest_invoice.total, changed.latest_invoice.status) == (-500, "paid")
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -500
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    invoice = (await fetch(stripe_api, sub)).latest_invoice
    assert (invoice.total, invoice.amount_due, invoice.amount_paid) == (1_000, 500, 500)


async def test_without_prorations_a_change_costs_nothing_until_the_next_period(stripe_api):
    customer, sub, gold, platinum = await half_way(stripe_api)
    await change(stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="none")
    assert await pending(stripe_api, customer) == []
    # What is given back is what was charged, not what the dearer price would have cost.
    await change(stripe_api, sub, items=[{"id": first(sub).id, "price": gold}])
    assert sorted(amount for _, amount in await pending(stripe_api, customer)) == [-500, 500]


async def test_going_up_and_down_again_in_one_second_costs_nothing(stripe_api):
    customer, sub, gold, platinum = await half_way(stripe_api)
    for target in (platinum, gold, platinum, gold):
        await change(stripe_api, sub, items=[{"id": first(sub).id, "price": target}])
    waiting = (await stripe_api.v1.invoice_items.list_async({"customer": customer, "pending": True})).data
    known = {item.id for item in waiting}
    credited = [item.proration_details.credited_items for item in waiting if item.amount < 0]
    assert [one.type for one in credited] == [*["invoice_item"] * 3, "invoice_line_items"]
    assert {one.invoice_item for one in credited[:3]} < known
    assert sum(amount for _, amount in await pending(stripe_api, customer)) == 0
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.total == 1_000


async def test_changes_at_any_time_cost_what_is_used_to_a_cent_for_each(stripe_api):
    dice = random.Random(7)
    customer = await payer(stripe_api, on_clock=True)
    amounts = {await price(stripe_api, amount): amount for amount in (999, 1_501, 4_203)}
    now, at_price, exact = START, next(iter(amounts)), Fraction(0)
    sub = await subscribe(stripe_api, customer, at_price)
    for _ in range(8):
        then = now + dice.randint(1, 3 * DAY)
        exact += Fraction(amounts[at_price] * (then - now), MONTH)
        now, at_price = then, dice.choice([one for one in amounts if one != at_price])
        await go_to(stripe_api, customer, now)
        await change(
            stripe_api, sub, items=[{"id": first(sub).id, "price": at_price}], proration_behavior="always_invoice"
        )
    exact += Fraction(amounts[at_price] * (START + MONTH - now), MONTH)
    billed = sum(invoice.total for invoice in await invoices(stripe_api, sub))
    assert abs(billed - exact) <= 8


async def test_an_upgrade_in_the_last_second_costs_next_to_nothing(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    sub = await subscribe(stripe_api, customer, gold)
    await go_to(stripe_api, customer, START + MONTH - 1)
    changed = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice"
    )
    assert (changed.latest_invoice.total, changed.latest_invoice.status) == (0, "paid")


async def test_a_quantity_changes_in_proportion(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    item = await stripe_api.v1.subscription_items.update_async(first(sub).id, {"quantity": 3})
    assert item.quantity == 3
    assert sorted(await pending(stripe_api, customer)) == [
        ("Remaining time on 3 × Gold after 30 Jan 2027", 1_500), ("Unused time on Gold after 30 Jan 2027", -500),
    ]  # fmt: skip
    await stripe_api.v1.subscription_items.update_async(first(sub).id, {"quantity": 1, "proration_behavior": "none"})
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.total == 2_000


async def test_what_was_discounted_is_given_back_discounted(stripe_api):
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 50, "duration": "forever"})
    customer, sub, _, platinum = await half_way(stripe_api, discounts=[{"coupon": coupon.id}])
    assert sub.latest_invoice.total == 500
    changed = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice"
    )
    assert [amount for _, amount in lines(changed.latest_invoice)] == [-250, 500]
    assert changed.latest_invoice.total == 250
    await change(stripe_api, sub, discounts="")
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.total == 2_000


async def test_items_are_added_and_taken_away_with_what_they_cost(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    seat = await price(stripe_api, 200, name="Seat")
    added = await stripe_api.v1.subscription_items.create_async(
        {"subscription": sub.id, "price": seat, "quantity": 5, "metadata": {"why": "team"}}
    )
    assert (added.current_period_start, added.current_period_end, added.metadata.why) == (START, START + MONTH, "team")
    assert await pending(stripe_api, customer) == [("Remaining time on 5 × Seat after 30 Jan 2027", 500)]
    listed = await stripe_api.v1.subscription_items.list_async({"subscription": sub.id})
    assert [item.id for item in listed.data] == [first(sub).id, added.id]
    gone = await stripe_api.v1.subscription_items.delete_async(added.id)
    assert gone.deleted is True
    assert sum(amount for _, amount in await pending(stripe_api, customer)) == 0
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription_item"):
        await stripe_api.v1.subscription_items.retrieve_async(added.id)
    with pytest.raises(stripe.InvalidRequestError, match="at least one active plan"):
        await stripe_api.v1.subscription_items.delete_async(first(sub).id)


async def test_another_interval_begins_a_new_cycle_and_is_billed_at_once(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    yearly = await price(stripe_api, 10_000, "year", name="Gold a year")
    changed = await change(stripe_api, sub, items=[{"id": first(sub).id, "price": yearly}])
    year_on = at("2028-01-30T20:00:00")
    assert (period(changed), changed.billing_cycle_anchor) == ((HALF, year_on), HALF)
    assert lines(changed.latest_invoice) == [
        ("Unused time on Gold after 30 Jan 2027", -500), ("1 × Gold a year (at $100.00 / year)", 10_000),
    ]  # fmt: skip
    assert (changed.latest_invoice.status, changed.latest_invoice.total) == ("paid", 9_500)
    assert await pending(stripe_api, customer) == []


async def test_a_cycle_may_begin_anew_now(stripe_api):
    _, sub, _, _ = await half_way(stripe_api)
    changed = await change(stripe_api, sub, billing_cycle_anchor={"type": "now"})
    assert (period(changed), changed.latest_invoice.total) == ((HALF, at("2027-02-28T20:00:00")), 500)
    unchanged = await change(stripe_api, sub, billing_cycle_anchor={"type": "unchanged"})
    assert unchanged.latest_invoice.id == changed.latest_invoice.id


async def test_from_free_to_paid_is_billed_at_once(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    sub = await subscribe(stripe_api, customer, await price(stripe_api, 0, name="Free"))
    await go_to(stripe_api, customer, HALF)
    changed = await change(stripe_api, sub, items=[{"id": first(sub).id, "price": await price(stripe_api)}])
    assert (changed.latest_invoice.total, period(changed)[0]) == (1_000, HALF)


async def test_prorations_may_be_worked_out_for_another_second_of_the_period(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    items = [{"id": first(sub).id, "price": platinum}]
    await change(stripe_api, sub, items=items, proration_date=START)
    assert sorted(amount for _, amount in await pending(stripe_api, customer)) == [-1_000, 2_000]
    with pytest.raises(stripe.InvalidRequestError, match="within the subscription's current period"):
        await change(stripe_api, sub, items=[{"id": first(sub).id, "quantity": 2}], proration_date=START - 1)


async def test_a_preview_says_what_the_update_then_costs(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    items = [{"id": first(sub).id, "price": platinum}]
    later = await stripe_api.v1.invoices.create_preview_async(
        {"subscription": sub.id, "subscription_details": {"items": items}}
    )
    assert [amount for _, amount in lines(later)] == [-500, 1_000, 2_000]
    assert (later.total, later.period_end) == (2_500, START + MONTH)
    now = await stripe_api.v1.invoices.create_preview_async(
        {"subscription": sub.id, "subscription_details": {"items": items, "proration_behavior": "always_invoice"}}
    )
    assert (now.total, [amount for _, amount in lines(now)]) == (500, [-500, 1_000])
    assert first(await fetch(stripe_api, sub)).price.id != platinum
    assert await pending(stripe_api, customer) == []
    billed = await change(stripe_api, sub, items=items, proration_behavior="always_invoice")
    assert billed.latest_invoice.total == now.total
    fresh = await stripe_api.v1.invoices.create_preview_async(
        {"customer": customer, "subscription_details": {"items": [{"price": platinum}]}}
    )
    assert (fresh.total, lines(fresh)) == (2_000, [("1 × Platinum (at $20.00 / month)", 2_000)])
    stop = await stripe_api.v1.invoices.create_preview_async(
        {"subscription": sub.id, "subscription_details": {"cancel_now": True}}
    )
    assert stop.total == -1_000
    with pytest.raises(stripe.InvalidRequestError) as none:
        await stripe_api.v1.invoices.create_preview_async(
            {"subscription": sub.id, "subscription_details": {"cancel_at_period_end": True}}
        )
    assert none.value.code == "invoice_upcoming_none"


async def test_an_unpaid_upgrade_is_past_due_by_default_and_waits_where_that_is_asked_for(stripe_api):
    customer, sub, gold, platinum = await half_way(stripe_api)
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    items = [{"id": first(sub).id, "price": platinum}]

    with pytest.raises(stripe.CardError):
        await change(stripe_api, sub, items=items, proration_behavior="always_invoice",
                     payment_behavior="error_if_incomplete")  # fmt: skip
    assert first(await fetch(stripe_api, sub)).price.id == gold

    waiting = await change(
        stripe_api, sub, items=items, proration_behavior="always_invoice", payment_behavior="pending_if_incomplete"
    )
    assert (waiting.status, first(waiting).price.id, waiting.latest_invoice.status) == ("active", gold, "open")
    assert waiting.pending_update.expires_at == HALF + 23 * HOUR
    assert waiting.pending_update.subscription_items[0].price.id == platinum
    await give_method(stripe_api, customer, "pm_card_visa")
    await stripe_api.v1.invoices.pay_async(waiting.latest_invoice.id)
    applied = await fetch(stripe_api, sub)
    assert (applied.status, first(applied).price.id, applied.pending_update) == ("active", platinum, None)
    assert (await told_of(stripe_api, sub))[-2:] == ["updated", "pending_update_applied"]

    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    failed = await change(stripe_api, sub, items=[{"id": first(sub).id, "quantity": 2}],
                          proration_behavior="always_invoice")  # fmt: skip
    assert (failed.status, first(failed).quantity, failed.latest_invoice.status) == ("past_due", 2, "open")


async def test_an_update_that_nobody_pays_for_expires_with_its_invoice(stripe_api):
    customer, sub, gold, platinum = await half_way(stripe_api)
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    waiting = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice",
        payment_behavior="pending_if_incomplete",
    )  # fmt: skip
    await advance(stripe_api, customer, 23 * HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.pending_update, first(now).price.id, now.latest_invoice.status) == (None, gold, "void")
    assert (await told_of(stripe_api, sub))[-1] == "pending_update_expired"
    with pytest.raises(stripe.InvalidRequestError, match="cannot update description"):
        await change(stripe_api, sub, description="x", payment_behavior="pending_if_incomplete")
    assert waiting.latest_invoice.id == now.latest_invoice.id


async def test_an_upgrade_that_waits_for_three_d_secure_is_applied_when_it_is_passed(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    await give_method(stripe_api, customer, "pm_card_threeDSecure2Required")
    waiting = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice",
        payment_behavior="pending_if_incomplete",
    )  # fmt: skip
    intent = await intent_of(stripe_api, waiting.latest_invoice.id)
    assert intent.status == "requires_action"
    await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate", outcome="success")
    now = await fetch(stripe_api, sub)
    assert (first(now).price.id, now.latest_invoice.status, now.pending_update) == (platinum, "paid", None)


async def test_default_incomplete_leaves_an_upgrade_to_be_paid_by_the_customer(stripe_api):
    _, sub, _, platinum = await half_way(stripe_api)
    changed = await change(
        stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}], proration_behavior="always_invoice",
        payment_behavior="default_incomplete",
    )  # fmt: skip
    assert (changed.status, changed.latest_invoice.status) == ("past_due", "open")
    await stripe_api.v1.invoices.pay_async(changed.latest_invoice.id)
    assert (await fetch(stripe_api, sub)).status == "active"


async def test_a_trial_is_changed_extended_and_ended(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    gold, platinum = await price(stripe_api), await price(stripe_api, 2_000, name="Platinum")
    sub = await subscribe(stripe_api, customer, gold, trial_period_days=14)
    await advance(stripe_api, customer, 5 * DAY)
    changed = await change(stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}])
    assert (changed.status, await pending(stripe_api, customer)) == ("trialing", [])
    longer = await change(stripe_api, sub, trial_end=START + 20 * DAY)
    assert (longer.trial_end, period(longer)) == (START + 20 * DAY, (START, START + 20 * DAY))
    now = await change(stripe_api, sub, trial_end="now")
    assert (now.status, period(now)) == ("active", (START + 5 * DAY, at("2027-02-20T08:00:00")))
    assert (now.latest_invoice.total, now.latest_invoice.status) == (2_000, "paid")
    again = await change(stripe_api, sub, trial_end=START + 15 * DAY)
    assert (again.status, again.latest_invoice.total, again.trial_start) == ("trialing", -2_000, START + 5 * DAY)


async def test_canceled_at_once_it_may_give_back_what_is_left(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    gone = await stripe_api.v1.subscriptions.cancel_async(
        sub.id, {"prorate": True, "invoice_now": True, "cancellation_details": {"feedback": "too_expensive"},
                 "expand": ["latest_invoice"]},
    )  # fmt: skip
    assert (gone.status, gone.canceled_at, gone.ended_at) == ("canceled", HALF, HALF)
    assert (gone.cancellation_details.feedback, gone.cancellation_details.reason) == (
        "too_expensive", "cancellation_requested",
    )  # fmt: skip
    assert lines(gone.latest_invoice) == [("Unused time on Gold after 30 Jan 2027", -500)]
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -500
    assert (await told_of(stripe_api, sub))[-1] == "deleted"
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription") as refusal:
        await stripe_api.v1.subscriptions.cancel_async(sub.id)
    assert refusal.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError, match="can only update its cancellation_details and metadata"):
        await change(stripe_api, sub, description="x")
    assert (await change(stripe_api, sub, metadata={"a": "b"})).metadata.a == "b"
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    assert len(await invoices(stripe_api, sub)) == 2


async def test_canceled_at_once_it_forgets_prorations_and_collects_no_more(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    await change(stripe_api, sub, items=[{"id": first(sub).id, "price": platinum}])
    assert len(await pending(stripe_api, customer)) == 2
    await stripe_api.v1.subscriptions.cancel_async(sub.id)
    invoice = (await fetch(stripe_api, sub)).latest_invoice
    assert (await pending(stripe_api, customer), invoice.status) == ([], "open")
    assert (invoice.auto_advance, invoice.next_payment_attempt) == (False, None)


async def test_canceled_at_the_end_it_runs_until_then_unless_it_is_taken_back(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    set_ = await change(stripe_api, sub, cancel_at_period_end=True)
    assert (set_.status, set_.cancel_at_period_end, set_.cancel_at, set_.canceled_at) == (
        "active", True, START + MONTH, HALF,
    )  # fmt: skip
    back = await change(stripe_api, sub, cancel_at_period_end=False)
    assert (back.cancel_at_period_end, back.cancel_at, back.canceled_at, back.cancellation_details.reason) == (
        False, None, None, None,
    )  # fmt: skip
    await change(stripe_api, sub, cancel_at_period_end=True)
    await go_to(stripe_api, customer, START + MONTH)
    gone = await fetch(stripe_api, sub)
    assert (gone.status, gone.ended_at, gone.cancellation_details.reason) == (
        "canceled", START + MONTH, "cancellation_requested",
    )  # fmt: skip
    assert len(await invoices(stripe_api, sub)) == 1


async def test_canceled_at_a_date_the_last_period_is_paid_in_part(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    stop = START + MONTH + FEBRUARY // 2
    set_ = await change(stripe_api, sub, cancel_at=stop)
    assert (set_.cancel_at, set_.cancel_at_period_end, period(set_)) == (stop, False, (START, START + MONTH))
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert (period(now), now.latest_invoice.total) == ((START + MONTH, stop), 500)
    await go_to(stripe_api, customer, stop)
    assert (await fetch(stripe_api, sub)).ended_at == stop


async def test_a_date_within_the_period_gives_back_what_is_beyond_it(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    stop = START + MONTH * 3 // 4
    set_ = await change(stripe_api, sub, cancel_at=stop)
    assert (period(set_), await pending(stripe_api, customer)) == (
        (START, stop), [("Unused time on Gold after 07 Feb 2027", -250)],
    )  # fmt: skip
    back = await change(stripe_api, sub, cancel_at="")
    assert period(back) == (START, START + MONTH)
    assert sum(amount for _, amount in await pending(stripe_api, customer)) == 0
    await change(stripe_api, sub, cancel_at=stop, proration_behavior="none")
    await go_to(stripe_api, customer, stop)
    assert (await fetch(stripe_api, sub)).status == "canceled"


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
async def test_while_collection_is_paused_invoices_are_not_collected(stripe_api, behavior, status):
    customer, sub, _, _ = await half_way(stripe_api)
    resumes = START + MONTH + 10 * DAY
    paused = await change(stripe_api, sub, pause_collection={"behavior": behavior, "resumes_at": resumes})
    assert (paused.status, paused.pause_collection.behavior) == ("active", behavior)
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, now.latest_invoice.status, now.latest_invoice.amount_paid) == ("active", status, 0)
    await go_to(stripe_api, customer, resumes)
    assert (await fetch(stripe_api, sub)).pause_collection is None
    await go_to(stripe_api, customer, START + MONTH + FEBRUARY + HOUR)
    assert (await fetch(stripe_api, sub)).latest_invoice.status == "paid"
    await change(stripe_api, sub, pause_collection={"behavior": behavior})
    assert (await change(stripe_api, sub, pause_collection="")).pause_collection is None


async def test_paused_it_gives_back_what_is_left_and_makes_no_invoices(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    paused = await stripe_api.v1.subscriptions.pause_async(sub.id, {"invoicing_behavior": "invoice"})
    assert (paused.status, paused.status_details.paused.transitioned_at) == ("paused", HALF)
    assert paused.status_details.paused.subscription.type == "pause_requested"
    assert (await told_of(stripe_api, sub))[-2:] == ["updated", "paused"]
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -500
    with pytest.raises(stripe.InvalidRequestError, match="Only active subscriptions can be paused"):
        await stripe_api.v1.subscriptions.pause_async(sub.id)
    await go_to(stripe_api, customer, START + MONTH + 10 * DAY)
    assert len(await invoices(stripe_api, sub)) == 2

    resumed = await stripe_api.v1.subscriptions.resume_async(
        sub.id, {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}
    )
    now = START + MONTH + 10 * DAY
    assert (resumed.status, resumed.status_details, period(resumed)) == (
        "active", None, (now, at("2027-03-25T08:00:00")),
    )  # fmt: skip
    assert (resumed.latest_invoice.total, resumed.latest_invoice.amount_paid) == (1_000, 500)
    assert (await told_of(stripe_api, sub))[-2:] == ["updated", "resumed"]
    with pytest.raises(stripe.InvalidRequestError, match="status=paused"):
        await stripe_api.v1.subscriptions.resume_async(sub.id)


async def test_a_resumption_waits_for_its_payment(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    await stripe_api.v1.subscriptions.pause_async(sub.id, {"bill_for": {"unused_time_from": {"type": "none"}}})
    assert await pending(stripe_api, customer) == []
    await go_to(stripe_api, customer, START + MONTH + DAY)

    waiting = await stripe_api.v1.subscriptions.resume_async(sub.id, {"expand": ["latest_invoice"]})
    assert (waiting.status, waiting.latest_invoice.status, period(waiting)) == (
        "paused", "open", (START, START + MONTH),
    )  # fmt: skip
    await advance(stripe_api, customer, 23 * HOUR)
    now = await fetch(stripe_api, sub)
    assert (now.status, now.latest_invoice.status) == ("paused", "void")

    again = await stripe_api.v1.subscriptions.resume_async(sub.id, {"expand": ["latest_invoice"]})
    await stripe_api.v1.invoices.pay_async(again.latest_invoice.id)
    then = START + MONTH + DAY + 23 * HOUR
    assert ((await fetch(stripe_api, sub)).status, period(await fetch(stripe_api, sub))[0]) == ("active", then)


async def test_a_resumption_that_fails_is_past_due_or_stays_paused(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    await stripe_api.v1.subscriptions.pause_async(sub.id)
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    await go_to(stripe_api, customer, START + MONTH + DAY)
    kept = await stripe_api.v1.subscriptions.resume_async(
        sub.id, {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}
    )
    assert (kept.status, kept.latest_invoice.status) == ("paused", "open")
    tried = await stripe_api.v1.subscriptions.resume_async(sub.id, {"expand": ["latest_invoice"]})
    with pytest.raises(stripe.CardError):
        await stripe_api.v1.invoices.pay_async(tried.latest_invoice.id)
    assert (await fetch(stripe_api, sub)).status == "past_due"


async def test_a_resumption_may_keep_the_billing_cycle(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    await stripe_api.v1.subscriptions.pause_async(sub.id)
    assert [amount for _, amount in await pending(stripe_api, customer)] == [-500]
    await go_to(stripe_api, customer, START + MONTH * 3 // 4)
    resumed = await stripe_api.v1.subscriptions.resume_async(sub.id, {"billing_cycle_anchor": {"type": "unchanged"}})
    assert (resumed.status, period(resumed)) == ("active", (START, START + MONTH))
    assert [amount for _, amount in await pending(stripe_api, customer)] == [-500, 250]


async def test_a_trial_that_ended_without_a_method_goes_on_when_there_is_one(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    sub = await subscribe(
        stripe_api, customer, await price(stripe_api), trial_period_days=7,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )  # fmt: skip
    await advance(stripe_api, customer, 10 * DAY)
    await give_method(stripe_api, customer, "pm_card_visa")
    resumed = await stripe_api.v1.subscriptions.resume_async(
        sub.id, {"payment_behavior": "resume_on_payment_success", "expand": ["latest_invoice"]}
    )
    assert (resumed.status, resumed.latest_invoice.total) == ("active", 1_000)
    assert period(resumed) == (START + 10 * DAY, at("2027-02-25T08:00:00"))


async def test_voiding_what_is_owed_makes_it_active_again(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    await give_method(stripe_api, customer, "pm_card_chargeCustomerFail")
    await go_to(stripe_api, customer, START + MONTH + HOUR)
    now = await fetch(stripe_api, sub)
    assert now.status == "past_due"
    await stripe_api.v1.invoices.void_invoice_async(now.latest_invoice.id)
    assert (await fetch(stripe_api, sub)).status == "active"


async def test_settings_are_taken_and_costs_nothing(stripe_api):
    customer, sub, _, _ = await half_way(stripe_api)
    method = await give_method(stripe_api, customer, "pm_card_mastercard")
    changed = await change(
        stripe_api, sub, default_payment_method=method, description="Climbing", metadata={"a": "1", "b": ""},
        payment_settings={"save_default_payment_method": "on_subscription", "payment_method_types": ["card"]},
        cancellation_details={"comment": "hm"}, invoice_settings={"footer": "Thanks"},
        trial_settings={"end_behavior": {"missing_payment_method": "cancel"}},
    )  # fmt: skip
    assert (changed.default_payment_method, changed.description, changed.metadata.to_dict()) == (
        method, "Climbing", {"a": "1"},
    )  # fmt: skip
    assert changed.payment_settings.payment_method_types == ["card"]
    assert (changed.invoice_settings.footer, changed.cancellation_details.comment) == ("Thanks", "hm")
    assert await pending(stripe_api, customer) == []
    other = await payer(stripe_api)
    theirs = (await stripe_api.v1.customers.retrieve_async(other)).invoice_settings.default_payment_method
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        await change(stripe_api, sub, default_payment_method=theirs)
    sent = await change(stripe_api, sub, collection_method="send_invoice", days_until_due=5)
    assert (sent.collection_method, sent.days_until_due) == ("send_invoice", 5)


async def test_the_same_key_changes_once(stripe_api):
    customer, sub, _, platinum = await half_way(stripe_api)
    params: Any = {"items": [{"id": first(sub).id, "price": platinum}], "proration_behavior": "always_invoice"}
    for _ in range(2):
        await stripe_api.v1.subscriptions.update_async(sub.id, params, {"idempotency_key": f"up-{sub.id}"})
    assert len(await invoices(stripe_api, sub)) == 2
    assert await pending(stripe_api, customer) == []


async def test_a_classic_subscription_becomes_flexible_and_not_back(stripe_api):
    _, sub, _, _ = await half_way(stripe_api, billing_mode={"type": "classic"})
    assert (sub.billing_mode.type, sub.billing_mode.flexible) == ("classic", None)
    with pytest.raises(stripe.InvalidRequestError, match="flexible"):
        await stripe_api.v1.subscriptions.pause_async(sub.id)
    moved = await stripe_api.v1.subscriptions.migrate_async(sub.id, {"billing_mode": {"type": "flexible"}})
    assert (moved.billing_mode.type, moved.billing_mode.updated_at) == ("flexible", HALF)
    with pytest.raises(stripe.InvalidRequestError, match="already"):
        await stripe_api.v1.subscriptions.migrate_async(sub.id, {"billing_mode": {"type": "flexible"}})
