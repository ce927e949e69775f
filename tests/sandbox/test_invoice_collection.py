"""How invoices are collected: the first try, the account's own retries, and what the customer has to do."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.conftest import running
from tests.sandbox.driver import Driver
from tests.sandbox.invoicing import DAY, HOUR, START, advance, drafted, finalized, give_method, intent_of, payer, told

DEFAULT = {"retry_days": [3, 5, 7], "then": "cancel", "invoice": "open"}


@pytest.fixture
async def billing(stripe_api):
    """The account's settings, which are as they were after the test."""

    async def change(**settings):
        return await stripe_api.control("POST", "billing", **settings)

    assert await stripe_api.control("GET", "billing") == DEFAULT
    yield change
    await change(**DEFAULT)


async def test_a_draft_that_advances_by_itself_is_finalized_and_paid_an_hour_on(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    assert (draft.created, draft.automatically_finalizes_at) == (START, START + HOUR)
    await advance(stripe_api, customer, HOUR - 1)
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).status == "draft"

    await advance(stripe_api, customer, 1)

    paid = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (paid.status, paid.automatically_finalizes_at) == ("paid", None)
    assert paid.status_transitions.paid_at == START + HOUR
    events = await stripe_api.events_of(draft.id)
    assert {event.created for event in events if event.type in ("invoice.finalized", "invoice.paid")} == {START + HOUR}
    # Payments keep real time.
    assert (await intent_of(stripe_api, draft.id)).created < START


async def test_a_draft_that_does_not_advance_stays_until_it_is_told_to(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000)
    await advance(stripe_api, customer, 3 * DAY)
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).status == "draft"
    told_to = await stripe_api.v1.invoices.update_async(draft.id, {"auto_advance": True})
    assert told_to.automatically_finalizes_at == START + 3 * DAY + HOUR
    stopped = await stripe_api.v1.invoices.update_async(draft.id, {"auto_advance": False})
    assert stopped.automatically_finalizes_at is None
    await advance(stripe_api, customer, DAY)
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).status == "draft"


async def test_one_finalized_by_hand_is_collected_an_hour_on_if_it_advances(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000)
    open_ = await stripe_api.v1.invoices.finalize_invoice_async(draft.id, {"auto_advance": True})
    assert (open_.status, open_.next_payment_attempt, open_.attempted) == ("open", START + HOUR, False)
    await advance(stripe_api, customer, HOUR)
    paid = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (paid.status, paid.attempt_count, paid.next_payment_attempt) == ("paid", 1, None)


async def test_a_declined_invoice_is_retried_on_the_days_of_the_account_and_then_no_more(stripe_api, billing):
    await billing(retry_days=[1, 2])
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)

    async def now():
        invoice = await stripe_api.v1.invoices.retrieve_async(draft.id)
        return invoice.status, invoice.attempt_count, invoice.next_payment_attempt

    first = START + HOUR
    await advance(stripe_api, customer, HOUR)
    assert await now() == ("open", 1, first + DAY)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).delinquent is True
    await advance(stripe_api, customer, DAY)
    assert await now() == ("open", 2, first + 3 * DAY)
    await advance(stripe_api, customer, 2 * DAY)
    assert await now() == ("open", 3, None)
    await advance(stripe_api, customer, 30 * DAY)
    assert await now() == ("open", 3, None)
    assert (await told(stripe_api, draft.id)).count("invoice.payment_failed") == 3
    intent = await intent_of(stripe_api, draft.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "card_declined")
    assert len((await stripe_api.v1.charges.list_async({"payment_intent": intent.id})).data) == 3
    last = [e for e in await stripe_api.events_of(draft.id) if e.type == "invoice.payment_failed"][-1]
    assert (last.created, last.data.object.attempt_count) == (first + 3 * DAY, 3)
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).auto_advance is False


async def test_a_retry_succeeds_with_the_card_that_is_the_default_then(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)
    card = await give_method(stripe_api, customer, "pm_card_visa")

    await advance(stripe_api, customer, 3 * DAY)

    paid = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (paid.status, paid.attempt_count, paid.next_payment_attempt) == ("paid", 2, None)
    assert (await intent_of(stripe_api, draft.id)).payment_method == card
    assert (await stripe_api.v1.customers.retrieve_async(customer)).delinquent is False


async def test_attempts_by_hand_do_not_count_after_the_first_nor_move_the_schedule(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)
    planned = START + HOUR + 3 * DAY
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await stripe_api.v1.invoices.pay_async(draft.id)
        assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    after = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (after.attempt_count, after.next_payment_attempt) == (1, planned)


async def test_an_invoice_told_not_to_advance_is_not_retried(stripe_api):
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)
    stopped = await stripe_api.v1.invoices.update_async(draft.id, {"auto_advance": False})
    assert stopped.next_payment_attempt is None
    await give_method(stripe_api, customer, "pm_card_visa")
    await advance(stripe_api, customer, 30 * DAY)
    after = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (after.status, after.attempt_count) == ("open", 1)


async def test_a_card_that_will_never_do_is_not_charged_again_until_there_is_another(stripe_api):
    customer = await payer(stripe_api, "pm_card_riskLevelHighest", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR + 3 * DAY)
    still = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (still.status, still.attempt_count) == ("open", 2)
    assert still.next_payment_attempt == START + HOUR + 8 * DAY
    intent = await intent_of(stripe_api, draft.id)
    assert len((await stripe_api.v1.charges.list_async({"payment_intent": intent.id})).data) == 1
    assert (await told(stripe_api, draft.id)).count("invoice.payment_failed") == 1

    await give_method(stripe_api, customer, "pm_card_visa")
    await advance(stripe_api, customer, 5 * DAY)

    paid = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (paid.status, paid.attempt_count) == ("paid", 3)


async def test_what_is_exhausted_can_be_given_up_by_the_account(stripe_api, billing):
    await billing(retry_days=[], invoice="uncollectible")
    customer = await payer(stripe_api, "pm_card_chargeCustomerFail", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)
    given_up = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (given_up.status, given_up.attempt_count) == ("uncollectible", 1)
    assert given_up.status_details.uncollectible.reason == "max_payment_attempts"
    assert (await told(stripe_api, draft.id))[-2:] == ["invoice.payment_failed", "invoice.marked_uncollectible"]


async def test_without_a_method_there_is_nothing_to_charge(stripe_api):
    customer = await payer(stripe_api, None, on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source") as refusal:
        await stripe_api.v1.invoices.pay_async(draft.id)
    assert refusal.value.code == "resource_missing"
    open_ = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (open_.status, open_.attempt_count, open_.attempted) == ("open", 0, False)

    by_itself = await drafted(stripe_api, customer, 2_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)

    failed = await stripe_api.v1.invoices.retrieve_async(by_itself.id)
    assert (failed.status, failed.attempt_count) == ("open", 1)
    assert failed.next_payment_attempt == START + HOUR + 3 * DAY
    assert "invoice.payment_failed" in await told(stripe_api, by_itself.id)


async def test_the_method_of_the_invoice_comes_before_that_of_the_customer(stripe_api):
    customer = await payer(stripe_api, "pm_card_visa")
    other = await stripe_api.v1.payment_methods.attach_async("pm_card_mastercard", {"customer": customer})
    third = await stripe_api.v1.payment_methods.attach_async("pm_card_amex", {"customer": customer})
    own = await drafted(stripe_api, customer, 1_000, default_payment_method=other.id)
    named = await drafted(stripe_api, customer, 1_000, default_payment_method=other.id)

    await stripe_api.v1.invoices.pay_async(own.id)
    await stripe_api.v1.invoices.pay_async(named.id, {"payment_method": third.id})

    assert (await intent_of(stripe_api, own.id)).payment_method == other.id
    assert (await intent_of(stripe_api, named.id)).payment_method == third.id


async def test_a_card_that_asks_for_3d_secure_waits_for_the_customer(stripe_api):
    customer = await payer(stripe_api, "pm_card_authenticationRequired", on_clock=True)
    draft = await drafted(stripe_api, customer, 1_000, auto_advance=True)
    await advance(stripe_api, customer, HOUR)

    waiting = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (waiting.status, waiting.attempt_count) == ("open", 1)
    intent = await intent_of(stripe_api, draft.id)
    assert intent.status == "requires_action"
    happened = await told(stripe_api, draft.id)
    assert {"invoice.payment_action_required", "invoice.payment_failed"} < set(happened)
    assert "invoice.paid" not in happened

    await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate")

    paid = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (paid.status, paid.amount_paid, paid.next_payment_attempt) == ("paid", 1_000, None)
    assert paid.status_transitions.paid_at == START + HOUR
    assert (await told(stripe_api, draft.id))[-2:] == ["invoice.paid", "invoice.payment_succeeded"]


async def test_paying_says_that_the_customer_has_to_act(stripe_api):
    customer = await payer(stripe_api, "pm_card_authenticationRequired")
    draft = await drafted(stripe_api, customer, 1_000)
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.v1.invoices.pay_async(draft.id)
    assert (refusal.value.http_status, refusal.value.code) == (402, "invoice_payment_intent_requires_action")
    assert (await intent_of(stripe_api, draft.id)).status == "requires_action"

    failed = (await intent_of(stripe_api, draft.id)).id
    await stripe_api.control("POST", f"payment_intents/{failed}/authenticate", outcome="failure")

    open_ = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (open_.status, open_.attempt_count) == ("open", 1)
    assert (await intent_of(stripe_api, draft.id)).status == "requires_payment_method"


async def test_a_card_set_up_for_it_needs_no_customer_off_session(stripe_api):
    customer = await payer(stripe_api, None)
    setup = await stripe_api.v1.setup_intents.create_async(
        {"customer": customer, "payment_method": "pm_card_authenticationRequiredOnSetup", "confirm": True,
         "usage": "off_session", "return_url": "https://example.com/back"}
    )  # fmt: skip
    if setup.status == "requires_action":
        await stripe_api.control("POST", f"setup_intents/{setup.id}/authenticate")
    card = (await stripe_api.v1.setup_intents.retrieve_async(setup.id)).payment_method
    off, on = [await finalized(stripe_api, customer, amount, default_payment_method=card) for amount in (1_000, 2_000)]
    assert (await stripe_api.v1.invoices.pay_async(off.id)).status == "paid"
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.v1.invoices.pay_async(on.id, {"off_session": False})
    assert refusal.value.code == "invoice_payment_intent_requires_action"


async def test_a_debit_is_paid_when_the_bank_has_answered(stripe_api):
    customer = await payer(stripe_api, None)
    for outcome, status in (("success", "paid"), ("failure", "open")):
        await give_method(stripe_api, customer, "pm_usBankAccount_processing")
        draft = await drafted(stripe_api, customer, 1_000)
        under_way = await stripe_api.v1.invoices.pay_async(draft.id)
        assert (under_way.status, under_way.attempted, under_way.amount_paid) == ("open", True, 0)
        intent = await intent_of(stripe_api, draft.id)
        assert intent.status == "processing"
        for refused in (
            stripe_api.v1.invoices.void_invoice_async(draft.id), stripe_api.v1.invoices.pay_async(draft.id),
            stripe_api.v1.invoices.pay_async(draft.id, {"paid_out_of_band": True}),
        ):  # fmt: skip
            with pytest.raises(stripe.InvalidRequestError, match="being processed"):
                await refused

        await stripe_api.control("POST", f"payment_intents/{intent.id}/settle", outcome=outcome)

        after = await stripe_api.v1.invoices.retrieve_async(draft.id)
        assert (after.status, after.attempt_count) == (status, 1)
        last = "invoice.payment_succeeded" if outcome == "success" else "invoice.payment_failed"
        assert (await told(stripe_api, draft.id))[-1] == last


async def test_declines_of_the_browser_count_as_the_first_attempt(stripe_api):
    customer = await payer(stripe_api, None)
    invoice = await finalized(stripe_api, customer, 1_000)
    intent = await intent_of(stripe_api, invoice.id)
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await stripe_api.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    after = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (after.status, after.attempt_count, after.attempted) == ("open", 1, True)
    assert (await told(stripe_api, invoice.id)).count("invoice.payment_failed") == 2


async def test_a_sent_invoice_past_its_day_makes_the_customer_delinquent(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    draft = await drafted(
        stripe_api, customer, 1_000, collection_method="send_invoice", days_until_due=2, auto_advance=True
    )
    await advance(stripe_api, customer, HOUR)
    sent = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (sent.status, sent.attempted, sent.next_payment_attempt) == ("open", False, None)
    assert (await told(stripe_api, draft.id))[-1] == "invoice.sent"
    assert (await stripe_api.v1.customers.retrieve_async(customer)).delinquent is False
    await advance(stripe_api, customer, 2 * DAY)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).delinquent is True
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).status == "open"


@pytest.mark.parametrize(
    "settings", [{"retry_days": "3"}, {"retry_days": [0]}, {"then": "forget"}, {"invoice": "void"}, {"days": [1]}]
)
async def test_settings_that_are_none_are_refused(stripe_api, settings):
    status, _ = await stripe_api.refused_control("POST", "billing", **settings)
    assert status == 400
    assert await stripe_api.control("GET", "billing") == DEFAULT


async def test_a_killed_sandbox_retries_what_it_had_planned(tmp_path):
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        customer = await payer(driver, "pm_card_chargeCustomerFail", on_clock=True)
        draft = await drafted(driver, customer, 1_000, auto_advance=True)
        await driver.control("POST", "billing", retry_days=[2])
        await advance(driver, customer, HOUR)
        await give_method(driver, customer, "pm_card_visa")
        await process.kill()

    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        assert (await driver.control("GET", "billing"))["retry_days"] == [2]
        await advance(driver, customer, 2 * DAY)
        paid = await driver.v1.invoices.retrieve_async(draft.id)
        assert (paid.status, paid.attempt_count) == ("paid", 2)
