from __future__ import annotations

import pytest
import stripe

from tests.sandbox.invoicing import drafted, finalized, intent_of, payer, told


async def paid(driver, customer, *amounts, **fields):
    draft = await drafted(driver, customer, *amounts, **fields)
    return await driver.v1.invoices.pay_async(draft.id)


async def test_before_payment_less_is_to_pay(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 5_000)

    note = await stripe_api.v1.credit_notes.create_async(
        {"invoice": invoice.id, "amount": 1_500, "reason": "order_change", "memo": "Sorry", "metadata": {"a": "1"}}
    )

    assert (note.type, note.status, note.amount, note.total) == ("pre_payment", "issued", 1_500, 1_500)
    assert (note.pre_payment_amount, note.post_payment_amount, note.refunds) == (1_500, 0, [])
    assert (note.number, note.reason, note.memo) == (f"{invoice.number}-CN-01", "order_change", "Sorry")
    less = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (less.amount_due, less.amount_remaining, less.total) == (3_500, 3_500, 5_000)
    assert less.pre_payment_credit_notes_amount == 1_500
    assert (await intent_of(stripe_api, invoice.id)).amount == 3_500
    assert await told(stripe_api, note.id) == ["credit_note.created"]

    after = await stripe_api.v1.invoices.pay_async(invoice.id)

    assert (after.status, after.amount_paid) == ("paid", 3_500)


async def test_all_of_it_before_payment_makes_the_invoice_paid(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 5_000)
    await stripe_api.v1.credit_notes.create_async({"invoice": invoice.id, "amount": 5_000})
    after = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (after.status, after.amount_due, after.amount_paid) == ("paid", 0, 0)
    assert (await intent_of(stripe_api, invoice.id)).status == "canceled"
    assert (await stripe_api.v1.charges.list_async({"customer": customer})).data == []


async def test_a_note_before_payment_can_be_voided_while_the_invoice_is_open(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 5_000)
    note = await stripe_api.v1.credit_notes.create_async({"invoice": invoice.id, "amount": 1_500})
    void = await stripe_api.v1.credit_notes.void_credit_note_async(note.id)
    assert (void.status, void.voided_at is None) == ("void", False)
    again = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (again.amount_remaining, again.pre_payment_credit_notes_amount) == (5_000, 0)
    assert (await intent_of(stripe_api, invoice.id)).amount == 5_000
    with pytest.raises(stripe.InvalidRequestError, match="already been voided"):
        await stripe_api.v1.credit_notes.void_credit_note_async(note.id)
    assert await told(stripe_api, note.id) == ["credit_note.created", "credit_note.voided"]


async def test_after_payment_money_is_refunded_credited_or_given_back_elsewhere(stripe_api):
    customer = await payer(stripe_api)
    invoice = await paid(stripe_api, customer, 5_000)

    note = await stripe_api.v1.credit_notes.create_async(
        {
            "invoice": invoice.id, "amount": 3_000, "refund_amount": 1_000, "credit_amount": 1_200,
            "out_of_band_amount": 800, "expand": ["refunds.refund", "customer_balance_transaction"],
        }
    )  # fmt: skip

    assert (note.type, note.post_payment_amount, note.out_of_band_amount) == ("post_payment", 3_000, 800)
    assert [(entry.amount_refunded, entry.refund.amount) for entry in note.refunds] == [(1_000, 1_000)]
    moved = note.customer_balance_transaction
    assert (moved.amount, moved.type, moved.credit_note, moved.invoice) == (-1_200, "credit_note", note.id, invoice.id)
    after = await stripe_api.v1.invoices.retrieve_async(invoice.id)
    assert (after.status, after.amount_paid, after.post_payment_credit_notes_amount) == ("paid", 5_000, 3_000)
    charges = await stripe_api.v1.charges.list_async({"customer": customer})
    assert charges.data[0].amount_refunded == 1_000
    with pytest.raises(stripe.InvalidRequestError, match="only void a pre-payment"):
        await stripe_api.v1.credit_notes.void_credit_note_async(note.id)


@pytest.mark.parametrize(
    "parts",
    [
        {"amount": 1_000},
        {"amount": 1_000, "refund_amount": 900},
        {"amount": 6_000, "refund_amount": 6_000},
        {"refund_amount": 1_000},
        {"amount": 0},
        {"amount": 1_000, "refund_amount": 2_000, "credit_amount": -1_000},
    ],
)
async def test_parts_that_do_not_add_up_are_refused_and_nothing_moves(stripe_api, parts):
    customer = await payer(stripe_api)
    invoice = await paid(stripe_api, customer, 5_000)
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.credit_notes.create_async({"invoice": invoice.id, **parts})
    assert (await stripe_api.v1.credit_notes.list_async({"invoice": invoice.id})).data == []
    assert (await stripe_api.v1.charges.list_async({"customer": customer})).data[0].amount_refunded == 0
    assert (await stripe_api.v1.customers.retrieve_async(customer)).balance == 0


async def test_lines_are_credited_with_their_share_of_the_discounts(stripe_api):
    customer = await payer(stripe_api)
    coupon = await stripe_api.v1.coupons.create_async({"percent_off": 20, "duration": "once"})
    invoice = await paid(stripe_api, customer, 1_000, 4_000, discounts=[{"coupon": coupon.id}])
    line = invoice.lines.data[1]

    note = await stripe_api.v1.credit_notes.create_async(
        {
            "invoice": invoice.id, "credit_amount": 1_700,
            "lines": [
                {"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 2_000},
                {"type": "custom_line_item", "description": "For the wait", "unit_amount": 50, "quantity": 2},
            ],
        }
    )  # fmt: skip

    assert (note.subtotal, note.discount_amount, note.total) == (2_100, 400, 1_700)
    assert [part.amount for part in note.discount_amounts] == [400]
    first, second = note.lines.data
    assert (first.type, first.invoice_line_item, first.amount, first.discount_amount) == (
        "invoice_line_item", line.id, 2_000, 400,
    )  # fmt: skip
    assert (second.type, second.description, second.unit_amount, second.quantity) == (
        "custom_line_item", "For the wait", 50, 2,
    )  # fmt: skip
    listed = await stripe_api.v1.credit_notes.line_items.list_async(note.id)
    assert [entry.id for entry in listed.data] == [first.id, second.id]


async def test_a_refund_that_was_made_before_can_be_linked(stripe_api):
    customer = await payer(stripe_api)
    invoice = await paid(stripe_api, customer, 5_000)
    intent = await intent_of(stripe_api, invoice.id)
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 700})
    note = await stripe_api.v1.credit_notes.create_async(
        {"invoice": invoice.id, "amount": 700, "refunds": [{"refund": refund.id}]}
    )
    assert [(entry.refund, entry.amount_refunded) for entry in note.refunds] == [(refund.id, 700)]
    foreign = await stripe_api.pay(customer=customer)
    other = await stripe_api.v1.refunds.create_async({"payment_intent": foreign.id, "amount": 700})
    with pytest.raises(stripe.InvalidRequestError, match="must be of the invoice's payment"):
        await stripe_api.v1.credit_notes.create_async(
            {"invoice": invoice.id, "amount": 700, "refunds": [{"refund": other.id}]}
        )
    assert len((await stripe_api.v1.credit_notes.list_async({"invoice": invoice.id})).data) == 1


async def test_drafts_and_void_invoices_are_not_credited(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer, 1_000)
    void = await finalized(stripe_api, customer, 1_000)
    await stripe_api.v1.invoices.void_invoice_async(void.id)
    for invoice in (draft, void):
        with pytest.raises(stripe.InvalidRequestError, match="open, paid or uncollectible"):
            await stripe_api.v1.credit_notes.create_async({"invoice": invoice.id, "amount": 100})
    assert (await stripe_api.v1.credit_notes.list_async({"customer": customer})).data == []


async def test_a_preview_of_a_note_moves_nothing(stripe_api):
    customer = await payer(stripe_api)
    invoice = await paid(stripe_api, customer, 5_000)
    wanted = {"invoice": invoice.id, "amount": 3_000, "refund_amount": 3_000}
    shown = await stripe_api.v1.credit_notes.preview_async(wanted)
    assert (shown.post_payment_amount, shown.refunds, shown.number) == (3_000, [], f"{invoice.number}-CN-01")
    lines = await stripe_api.v1.credit_notes.preview_lines.list_async(wanted)
    assert [line.amount for line in lines.data] == [3_000]
    assert (await stripe_api.v1.credit_notes.list_async({"invoice": invoice.id})).data == []
    assert (await stripe_api.v1.charges.list_async({"customer": customer})).data[0].amount_refunded == 0


async def test_memo_and_metadata_can_change(stripe_api):
    customer = await payer(stripe_api)
    invoice = await finalized(stripe_api, customer, 5_000)
    note = await stripe_api.v1.credit_notes.create_async({"invoice": invoice.id, "amount": 100})
    changed = await stripe_api.v1.credit_notes.update_async(note.id, {"memo": "New", "metadata": {"k": "v"}})
    assert (changed.memo, changed.metadata.to_dict()) == ("New", {"k": "v"})
    assert (await stripe_api.v1.credit_notes.retrieve_async(note.id)).memo == "New"
    assert await told(stripe_api, note.id) == ["credit_note.created", "credit_note.updated"]
