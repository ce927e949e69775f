from __future__ import annotations

import pytest
import stripe

from tests.sandbox.invoicing import drafted, payer


async def test_items_are_priced_by_amount_price_or_price_data(stripe_api):
    customer = await payer(stripe_api)
    product = await stripe_api.v1.products.create_async({"name": "Climbing hour"})
    price = await stripe_api.v1.prices.create_async({"product": product.id, "currency": "usd", "unit_amount": 700})
    create = stripe_api.v1.invoice_items.create_async

    priced = await create({"customer": customer, "pricing": {"price": price.id}, "quantity": 3, "currency": "usd"})
    inline = await create(
        {"customer": customer, "price_data": {"currency": "usd", "product": product.id, "unit_amount": 250}}
    )
    by_unit = await create({"customer": customer, "currency": "usd", "unit_amount_decimal": "0.5", "quantity": 3})

    assert (priced.amount, priced.description, priced.quantity) == (2_100, "Climbing hour", 3)
    assert priced.pricing.price_details.to_dict() == {"price": price.id, "product": product.id}
    assert (inline.amount, by_unit.amount) == (250, 2)
    assert str(by_unit.pricing.unit_amount_decimal) == "0.5"
    more = await stripe_api.v1.invoice_items.update_async(priced.id, {"quantity": 4, "description": "Longer"})
    assert (more.amount, more.description) == (2_800, "Longer")
    with pytest.raises(stripe.InvalidRequestError, match="exactly one of"):
        await create({"customer": customer, "amount": 5, "pricing": {"price": price.id}})
    monthly = await stripe_api.v1.prices.create_async(
        {"product": product.id, "currency": "usd", "unit_amount": 700, "recurring": {"interval": "month"}}
    )
    with pytest.raises(stripe.InvalidRequestError, match="type=recurring"):
        await create({"customer": customer, "pricing": {"price": monthly.id}})
    assert len((await stripe_api.v1.invoice_items.list_async({"customer": customer})).data) == 3


async def test_lines_are_added_changed_and_removed_in_bulk(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer, 1_000)
    waiting = await stripe_api.v1.invoice_items.create_async({"customer": customer, "amount": 70, "currency": "usd"})
    calls = stripe_api.v1.invoices

    added = await calls.add_lines_async(
        draft.id, {"lines": [{"amount": 300, "description": "Rope"}, {"invoice_item": waiting.id}]}
    )
    assert ([line.amount for line in added.lines.data], added.total) == ([1_000, 300, 70], 1_370)
    rope, last = added.lines.data[1:]
    changed = await calls.update_lines_async(
        draft.id, {"lines": [{"id": rope.id, "amount": 400}], "invoice_metadata": {"x": "y"}}
    )
    assert (changed.total, changed.metadata.to_dict()) == (1_470, {"x": "y"})
    assert changed.lines.data[1].id == rope.id

    left = await calls.remove_lines_async(
        draft.id, {"lines": [{"id": rope.id, "behavior": "delete"}, {"id": last.id, "behavior": "unassign"}]}
    )

    assert left.total == 1_000
    assert (await stripe_api.v1.invoice_items.retrieve_async(waiting.id)).invoice is None
    gone = rope.parent.invoice_item_details.invoice_item
    with pytest.raises(stripe.InvalidRequestError, match="No such invoiceitem"):
        await stripe_api.v1.invoice_items.retrieve_async(gone)


async def test_an_invoice_shows_ten_lines_and_lists_all(stripe_api):
    customer = await payer(stripe_api)
    draft = await drafted(stripe_api, customer)
    await stripe_api.v1.invoices.add_lines_async(draft.id, {"lines": [{"amount": n} for n in range(1, 14)]})
    invoice = await stripe_api.v1.invoices.retrieve_async(draft.id)
    assert (len(invoice.lines.data), invoice.lines.has_more, invoice.total) == (10, True, 91)
    first = await stripe_api.v1.invoices.line_items.list_async(draft.id, {"limit": 5})
    assert [line.amount for line in first.data] == [1, 2, 3, 4, 5]
    everything = [line.amount async for line in first.auto_paging_iter()]
    assert everything == list(range(1, 14))
    back = await stripe_api.v1.invoices.line_items.list_async(draft.id, {"limit": 2, "ending_before": first.data[3].id})
    assert ([line.amount for line in back.data], back.has_more) == ([2, 3], True)
