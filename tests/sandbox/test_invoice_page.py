from __future__ import annotations

from tests.sandbox.invoicing import finalized, payer


async def test_the_page_shows_the_invoice_and_takes_a_test_card(stripe_api):
    customer = await payer(stripe_api, None, name="<b>Ada</b>")
    invoice = await finalized(stripe_api, customer, 2_500)
    url = invoice.hosted_invoice_url
    async with stripe_api.http.get(url) as response:
        text = await response.text()
    assert invoice.number in text
    assert "$25.00 USD" in text
    assert "&lt;b&gt;Ada" in text
    assert "<b>Ada" not in text
    for wrong in (url[:-1], url.replace(invoice.id, "in_3none")):
        async with stripe_api.http.post(wrong, data={"payment_method": "pm_card_visa"}) as response:
            assert response.status == 404

    async with stripe_api.http.post(url, data={"payment_method": "pm_card_chargeDeclined"}) as response:
        assert (response.status, "Your card was declined." in await response.text()) == (402, True)
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).attempt_count == 1
    async with stripe_api.http.post(url, data={"payment_method": "pm_card_visa"}) as response:
        text = await response.text()
    assert (response.status, "Paid" in text, "<form" in text) == (200, True, False)
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).status == "paid"


async def test_the_page_leads_through_3d_secure(stripe_api):
    customer = await payer(stripe_api, None)
    invoice = await finalized(stripe_api, customer, 2_500)
    url, card = invoice.hosted_invoice_url, {"payment_method": "pm_card_authenticationRequired"}
    async with stripe_api.http.post(url, data=card, allow_redirects=False) as response:
        assert response.status == 303
        challenge = stripe_api.url + response.headers["Location"]
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).status == "open"
    async with stripe_api.http.post(challenge, data={"outcome": "success"}, allow_redirects=False) as response:
        assert response.headers["Location"].startswith(url)
    assert (await stripe_api.v1.invoices.retrieve_async(invoice.id)).status == "paid"
