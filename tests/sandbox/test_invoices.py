from __future__ import annotations

import time

import pytest
import stripe

from tests.sandbox.invoicing import HOUR, advance, drafted, finalized, give_method, intent_of, payer, told


async def test_pending_items_go_on_an_invoice_where_that_is_asked_for(stripe_api):
    customer = await payer(stripe_api)
    item = await stripe_api.v1.invoice_items.create_async(
        {"customer": customer, "amount": 1_500, "currency": "usd", "description": "Boots", "metadata": {"a": "1"}}
    )
    assert (item.object, item.invoice, item.quantity, item.discountable) == ("invoiceitem", None, 1, True)
    empty = await stripe_api.v1.invoices.create_async({"customer": customer})
    assert (empty.total, empty.lines.data) == (0, [])

    invoice = await stripe_api.v1.invoices.create_async(
        {"customer": customer, "pending_invoice_items_behavior": "include", "description": "Thanks"}
    )

    line = invoice.lines.data[0]
    assert (line.amount, line.description, line.metadata.to_dict()) == (1_500, "Boots", {"a": "1"})
    assert line.parent.type == "invoice_item_details"
    assert line.parent.invoice_item_details.invoice_item == item.id
    assert (invoice.status, invoice.total) == ("draft", 1_500)
    assert (invoice.amount_due, invoice.amount_remaining) == (1_500, 1_500)
    assert (invoice.billing_reason, invoice.auto_advance, invoice.number) == ("manual", False, None)
    assert (invoice.customer_email, invoice.confirmation_secret) == ("guest@example.com", None)
    assert (await stripe_api.v1.invoice_items.retrieve_async(item.id)).invoice == invoice.id
    waiting = await stripe_api.v1.invoice_items.list_async({"customer": customer, "pending": True})
    assert waiting.data == []
    assert await told(stripe_api, item.id, invoice.id) == ["invoiceitem.created", "invoice.created"]


async def test_paying_a_draft_finalizes_it_and_charges_the_default_method(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer, 1_000, 500)

    invoice = await stripe_api.v1.invoices.pay_async(
        draft.id, {"expand": ["payments.data.payment.payment_intent", "customer"]}
    )

    assert (invoice.status, invoice.amount_due) == ("paid", 1_500)
    assert (invoice.amount_paid, invoice.amount_remaining) == (1_500, 0)
    assert (invoice.attempted, invoice.attempt_count, invoice.auto_advance) == (True, 1, False)
    assert invoice.number == f"{invoice.customer.invoice_prefix}-0001"
    assert invoice.customer.next_invoice_sequence == 2
    moments = invoice.status_transitions
    assert moments.finalized_at == moments.paid_at == invoice.effective_at
    payment = invoice.payments.data[0]
    assert (payment.status, payment.is_default) == ("paid", True)
    assert (payment.amount_paid, payment.amount_requested) == (1_500, 1_500)
    intent = payment.payment.payment_intent
    assert (intent.status, intent.description, intent.metadata.to_dict()) == ("succeeded", "Payment for Invoice", {})
    assert (intent.customer, intent.setup_future_usage) == (customer, None)
    assert await told(stripe_api, invoice.id, intent.id, payment.id) == [
        "invoice.created", "payment_intent.created", "invoice.finalized", "payment_intent.succeeded", "invoice.paid",
        "invoice.payment_succeeded", "invoice_payment.paid",
    ]  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        await stripe_api.v1.invoices.pay_async(invoice.id)
    charges = await stripe_api.v1.charges.list_async({"customer": customer})
    assert [charge.amount for charge in charges.data] == [1_500]


async def test_the_secret_of_an_open_invoice_lets_the_browser_pay_it(stripe_api):
    customer = await payer(stripe_api, None)
    invoice = await finalized(stripe_api, customer, 2_000)
    assert (invoice.status, invoice.confirmation_secret, "payments" in invoice) == ("open", None, False)
    shown = await stripe_api.v1.invoices.retrieve_async(invoice.id, {"expand": ["confirmation_secret", "payments"]})
    secret = shown.confirmation_secret
    intent_id = shown.payments.data[0].payment.payment_intent
    assert (secret.type, secret.client_secret.split("_secret_")[0]) == ("payment_intent", intent_id)

    await stripe_api.v1.payment_intents.confirm_async(intent_id, {"payment_method": "pm_card_visa"})

    paid = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (paid.status, paid.attempt_count) == ("paid", 1)


async def test_what_is_nothing_or_too_little_to_charge_is_paid_at_once(stripe_api):
    customer = await payer(stripe_api, None)
    nothing = await finalized(stripe_api, customer)
    assert (nothing.status, nothing.amount_due, nothing.attempted, nothing.attempt_count) == ("paid", 0, True, 0)
    assert "payment_intent.created" not in await told(stripe_api, nothing.id)

    little = await finalized(stripe_api, customer, 49)

    assert (little.status, little.total, little.amount_due, little.ending_balance) == ("paid", 49, 0, 49)
    moved = (await stripe_api.v1.customers.balance_transactions.list_async(customer)).data[0]
    assert (moved.type, moved.amount, moved.invoice) == ("invoice_too_small", 49, little.id)
    later = await finalized(stripe_api, customer, 1_000)
    assert (later.starting_balance, later.amount_due, later.ending_balance) == (49, 1_049, 0)


async def test_the_customers_balance_is_used_first_and_comes_back_with_a_void(stripe_api):
    customer = await payer(stripe_api, balance=-300)
    draft = await drafted(stripe_api, customer, 1_000)
    assert (draft.starting_balance, draft.amount_due, draft.total, draft.ending_balance) == (-300, 700, 1_000, None)
    await stripe_api.v1.customers.balance_transactions.create_async(customer, {"amount": -300, "currency": "usd"})

    invoice = await stripe_api.v1.invoices.finalize_invoice_async(draft.id)

    assert (invoice.starting_balance, invoice.ending_balance, invoice.amount_due) == (-600, 0, 400)
    assert (await intent_of(stripe_api, invoice.id)).amount == 400
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == 0
    await stripe_api.v1.invoices.void_invoice_async(invoice.id)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -600
    types = [moved.type for moved in (await stripe_api.v1.customers.balance_transactions.list_async(customer)).data]
    assert types[:2] == ["unapplied_from_invoice", "applied_to_invoice"]


async def test_a_total_below_zero_is_kept_for_the_customer(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 500, -2_000)
    assert (invoice.status, invoice.total, invoice.amount_due, invoice.ending_balance) == ("paid", -1_500, 0, -1_500)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -1_500

    following = await finalized(stripe_api, customer, 1_000)

    assert (following.status, following.amount_due, following.ending_balance) == ("paid", 0, -500)


async def test_discounts_of_lines_come_before_those_of_the_invoice(stripe_api):
    customer = await payer(stripe_api)
    ten = await stripe_api.v1.coupons.create_async({"percent_off": 10, "duration": "once"})
    fixed = await stripe_api.v1.coupons.create_async({"amount_off": 300, "currency": "usd", "duration": "once"})
    draft = await drafted(stripe_api, customer, 1_000, 2_001, discounts=[{"coupon": fixed.id}])
    first = draft.lines.data[0]
    await stripe_api.v1.invoices.line_items.update_async(draft.id, first.id, {"discounts": [{"coupon": ten.id}]})

    invoice = await stripe_api.v1.invoices.retrieve_async(draft.id, {"expand": ["discounts"]})

    assert (invoice.subtotal, invoice.total) == (2_901, 2_601)
    assert invoice.discounts[0].source.coupon == fixed.id
    assert [part.amount for part in invoice.total_discount_amounts] == [100, 300]
    by_line = [[part.amount for part in line.discount_amounts] for line in invoice.lines.data]
    assert by_line == [[100, 93], [207]]
    assert [line.amount for line in invoice.lines.data] == [1_000, 2_001]


async def test_a_customers_discount_is_inherited_unless_others_are_chosen(stripe_api):
    customer = await payer(stripe_api)
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 50, "duration": "forever"})
    await stripe_api.raw("POST", f"/v1/customers/{customer}", f"coupon={coupon.id}")
    inherits = await drafted(stripe_api, customer, 1_000)
    chooses = await drafted(stripe_api, customer, 1_000, discounts="")
    assert (inherits.total, chooses.total) == (500, 1_000)


async def test_a_final_invoice_changes_in_nothing_that_is_money(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 1_000)
    line = invoice.lines.data[0]
    update = stripe_api.v1.invoices.update_async
    changed = await update(invoice.id, {"description": "Sorry", "metadata": {"b": "2"}})
    assert (changed.description, changed.metadata.to_dict()) == ("Sorry", {"b": "2"})

    for refused in (
        update(invoice.id, {"days_until_due": 3}), update(invoice.id, {"discounts": ""}),
        stripe_api.v1.invoices.line_items.update_async(invoice.id, line.id, {"amount": 1}),
        stripe_api.v1.invoices.remove_lines_async(invoice.id, {"lines": [{"id": line.id, "behavior": "delete"}]}),
        stripe_api.v1.invoice_items.create_async({"customer": customer, "invoice": invoice.id, "amount": 9}),
        stripe_api.v1.invoice_items.delete_async(line.parent.invoice_item_details.invoice_item),
        stripe_api.v1.invoices.delete_async(invoice.id),
    ):  # fmt: skip
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            await refused
        assert refusal.value.code == "invoice_not_editable"
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        await stripe_api.v1.invoices.finalize_invoice_async(invoice.id)
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).total == 1_000


async def test_a_deleted_draft_gives_its_items_back(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer, 1_000)
    gone = await stripe_api.v1.invoices.delete_async(draft.id)
    assert gone.deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such invoice"):
        await stripe_api.v1.invoices.retrieve_async(draft.id)
    waiting = await stripe_api.v1.invoice_items.list_async({"customer": customer, "pending": True})
    assert [item.amount for item in waiting.data] == [1_000]
    assert await told(stripe_api, draft.id) == ["invoice.created", "invoice.deleted"]


async def test_a_void_invoice_is_owed_no_more_and_its_payment_is_canceled(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 1_000)
    void = await stripe_api.v1.invoices.void_invoice_async(invoice.id, {"expand": ["payments"]})
    assert (void.status, void.status_transitions.voided_at is None) == ("void", False)
    assert (void.payments.data[0].status, void.payments.data[0].amount_paid) == ("canceled", None)
    intent = await intent_of(stripe_api, invoice.id)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "void_invoice")
    for refused in (
        stripe_api.v1.invoices.pay_async(invoice.id), stripe_api.v1.invoices.void_invoice_async(invoice.id),
        stripe_api.v1.invoices.mark_uncollectible_async(invoice.id),
    ):  # fmt: skip
        with pytest.raises(stripe.InvalidRequestError):
            await refused
    assert await told(stripe_api, invoice.id) == ["invoice.created", "invoice.finalized", "invoice.voided"]


async def test_an_uncollectible_invoice_can_still_be_paid_or_voided(stripe_api):
    customer = await payer(stripe_api)
    first, second = [await finalized(stripe_api, customer, amount) for amount in (1_000, 2_000)]
    for invoice in (first, second):
        given_up = await stripe_api.v1.invoices.mark_uncollectible_async(invoice.id)
        assert (given_up.status, given_up.amount_remaining) == ("uncollectible", invoice.total)
        assert given_up.status_details.uncollectible.reason == "user_forgiven"
        assert (await intent_of(stripe_api, invoice.id)).status == "canceled"

    assert (await stripe_api.v1.invoices.void_invoice_async(first.id)).status == "void"
    paid = await stripe_api.v1.invoices.pay_async(second.id, {"expand": ["payments"]})

    assert (paid.status, paid.amount_paid, paid.status_details) == ("paid", 2_000, None)
    assert [payment.status for payment in paid.payments.data] == ["paid", "canceled"]


async def test_an_invoice_that_was_paid_elsewhere_is_noted_so(stripe_api):
    customer = await payer(stripe_api, None)
    invoice = await finalized(stripe_api, customer, 1_000)
    paid = await stripe_api.v1.invoices.pay_async(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_paid_off_stripe, paid.attempt_count) == ("paid", 1_000, 1_000, 0)
    assert (await intent_of(stripe_api, invoice.id)).status == "canceled"
    assert (await stripe_api.v1.charges.list_async({"customer": customer})).data == []
    assert await told(stripe_api, invoice.id) == ["invoice.created", "invoice.finalized", "invoice.paid"]


async def test_the_payment_of_an_invoice_is_the_invoices_to_cancel_and_change(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 1_000)
    intent = await intent_of(stripe_api, invoice.id)
    assert (intent.status, intent.payment_method is None) == ("requires_confirmation", False)
    with pytest.raises(stripe.InvalidRequestError, match="cannot cancel this PaymentIntent because it is associated"):
        await stripe_api.v1.payment_intents.cancel_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="cannot update amount"):
        await stripe_api.v1.payment_intents.update_async(intent.id, {"amount": 5})
    assert (await intent_of(stripe_api, invoice.id)).amount == 1_000


async def test_another_payment_can_be_attached_in_place_of_the_invoices_own(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 1_000)
    own = await intent_of(stripe_api, invoice.id)
    part = await stripe_api.pay(customer=customer, amount=400)
    rest = await stripe_api.pay(customer=customer, amount=700)

    open_ = await stripe_api.v1.invoices.attach_payment_async(invoice.id, {"payment_intent": part.id})
    assert (open_.status, open_.amount_paid, open_.amount_remaining) == ("open", 400, 600)
    assert (await stripe_api.v1.payment_intents.retrieve_async(own.id)).amount == 600
    paid = await stripe_api.v1.invoices.attach_payment_async(invoice.id, {"payment_intent": rest.id})

    assert (paid.status, paid.amount_paid, paid.amount_overpaid) == ("paid", 1_000, 100)
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == -100


async def test_a_sent_invoice_has_a_date_and_is_paid_by_whoever_opens_it(stripe_api):
    customer = await payer(stripe_api)
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        await stripe_api.v1.invoices.create_async({"customer": customer, "collection_method": "send_invoice"})
    draft = await drafted(stripe_api, customer, 1_000, collection_method="send_invoice", days_until_due=14)
    assert draft.due_date == draft.created + 14 * 86_400
    sent = await stripe_api.v1.invoices.send_invoice_async(draft.id)
    assert (sent.status, sent.next_payment_attempt) == ("open", None)
    assert await told(stripe_api, draft.id) == ["invoice.created", "invoice.finalized", "invoice.sent"]
    assert (await intent_of(stripe_api, draft.id)).status == "requires_payment_method"
    due = await stripe_api.v1.invoices.list_async({"customer": customer, "due_date": {"lte": sent.due_date}})
    assert [invoice.id for invoice in due.data] == [draft.id]


async def test_what_cannot_be_finalized_says_why(stripe_api):
    customer = await payer(stripe_api, on_clock=True)
    draft = await drafted(stripe_api, customer, 99_999_999, 99_999_999, auto_advance=True)
    with pytest.raises(stripe.InvalidRequestError, match="no more than"):
        await stripe_api.v1.invoices.finalize_invoice_async(draft.id)
    assert (await stripe_api.v1.invoices.retrieve_async(draft.id)).status == "draft"

    await advance(stripe_api, customer, 2 * HOUR)

    failed = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (failed.status, failed.number, failed.last_finalization_error.code) == ("draft", None, "amount_too_large")
    assert "invoice.finalization_failed" in await told(stripe_api, draft.id)


async def test_invoices_are_listed_by_customer_status_and_way_of_collection(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer, 1_000)
    open_ = await finalized(stripe_api, customer, 2_000)
    paid = await stripe_api.v1.invoices.pay_async((await drafted(stripe_api, customer, 3_000)).id)

    async def listed(**filters):
        page = await stripe_api.v1.invoices.list_async({"customer": customer, **filters})
        return [invoice.id for invoice in page.data]

    assert await listed() == [paid.id, open_.id, draft.id]
    assert await listed(status="open") == [open_.id]
    assert await listed(collection_method="send_invoice") == []
    assert await listed(created={"gt": int(time.time()) + 60}) == []
    clocked = await payer(stripe_api, on_clock=True)
    made = await drafted(stripe_api, clocked, 1_000)
    newest = await stripe_api.v1.invoices.list_async({"limit": 1})
    assert [invoice.id for invoice in newest.data] == [paid.id]
    theirs = await stripe_api.v1.invoices.list_async({"customer": clocked})
    assert [invoice.id for invoice in theirs.data] == [made.id]
    payments = await stripe_api.v1.invoice_payments.list_async(
        {"payment": {"type": "payment_intent", "payment_intent": (await intent_of(stripe_api, paid.id)).id}}
    )
    assert [payment.invoice for payment in payments.data] == [paid.id]
    assert (await stripe_api.v1.invoice_payments.retrieve_async(payments.data[0].id)).status == "paid"


async def test_a_preview_shows_what_waits_and_keeps_nothing(stripe_api):
    customer = await payer(stripe_api)
    preview = stripe_api.v1.invoices.create_preview_async
    with pytest.raises(stripe.InvalidRequestError, match="No upcoming invoices") as none:
        await preview({"customer": customer})
    assert none.value.code == "invoice_upcoming_none"
    await stripe_api.v1.invoice_items.create_async({"customer": customer, "amount": 1_000, "currency": "usd"})
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 25, "duration": "once", "max_redemptions": 1})

    shown = await preview(
        {
            "customer": customer, "discounts": [{"coupon": coupon.id}],
            "invoice_items": [{"amount": 600, "currency": "usd", "description": "If you take it"}],
        }
    )  # fmt: skip

    assert shown.id.startswith("upcoming_in_")
    assert ([line.amount for line in shown.lines.data], shown.subtotal, shown.total) == ([600, 1_000], 1_600, 1_200)
    assert (await stripe_api.v1.coupons.retrieve_async(coupon.id)).times_redeemed == 0
    assert len((await stripe_api.v1.invoice_items.list_async({"customer": customer})).data) == 1
    assert (await stripe_api.v1.invoices.list_async({"customer": customer})).data == []


async def test_a_refund_of_an_invoices_charge_leaves_the_invoice_paid(stripe_api):
    customer = await payer(stripe_api)
    invoice = await stripe_api.v1.invoices.pay_async((await drafted(stripe_api, customer, 3_000)).id)
    intent = await intent_of(stripe_api, invoice.id)
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1_000})
    assert (refund.status, refund.amount) == ("succeeded", 1_000)
    after = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (after.status, after.amount_paid, after.post_payment_credit_notes_amount) == ("paid", 3_000, 0)


async def test_an_invoice_of_a_connected_destination_pays_the_host_with_the_fee_kept(stripe_api):
    customer, host = await payer(stripe_api), await stripe_api.host()
    draft = await drafted(
        stripe_api, customer, 10_000, transfer_data={"destination": host}, application_fee_amount=1_500
    )
    invoice = await stripe_api.v1.invoices.pay_async(draft.id)
    intent = await intent_of(stripe_api, invoice.id)
    assert (intent.transfer_data.destination, intent.application_fee_amount) == (host, 1_500)
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})
    assert balance.pending[0].amount == 8_500


async def test_the_method_must_be_the_customers(stripe_api):
    customer, other = await payer(stripe_api), await payer(stripe_api)
    foreign = await give_method(stripe_api, other, "pm_card_visa")
    invoice = await finalized(stripe_api, customer, 1_000)
    for method in (foreign, "pm_card_visa"):
        with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
            await stripe_api.v1.invoices.pay_async(invoice.id, {"payment_method": method})
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        await drafted(stripe_api, customer, default_payment_method=foreign)
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).attempt_count == 0


async def test_a_deleted_customers_invoice_can_still_be_voided_but_not_paid(stripe_api):
    customer = await payer(stripe_api, balance=-300)
    invoice = await finalized(stripe_api, customer, 1_000)
    await stripe_api.v1.customers.delete_async(customer)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        await stripe_api.v1.invoices.pay_async(invoice.id)
    assert (await stripe_api.v1.invoices.void_invoice_async(invoice.id)).status == "void"
