from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from models.audit import AuditEntry
from models.base import new_id
from models.invoices import CreditNote, CreditNoteStatus, Invoice, InvoiceLine, InvoiceStatus
from models.payments import ChargeModel, Payment, PaymentStatus
from models.subscriptions import BillingSubscription
from services.invoices.settlement import settle_invoice
from services.webhooks.processing import process_due
from tests.support.billing import DAY, MONTH, Subscriber
from tests.support.shop import receive_signed

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.sandbox import Sandbox

HOUR = 3600


async def settled(subscriber: Subscriber, stripe_id: str) -> Invoice:
    invoice = await settle_invoice(subscriber.services, stripe_id, actor="test")
    assert invoice is not None
    return invoice


async def renewal(subscriber: Subscriber, *, with_method: str = "pm_card_visa", **params: Any) -> Invoice:
    """The invoice of a second month, after its first try."""
    await subscriber.subscribe(await subscriber.plan(), **params)
    await subscriber.give(with_method)
    await subscriber.let_pass(MONTH + 2 * HOUR)
    await subscriber.deliver()
    return (await subscriber.invoices())[-1]


async def by_hand(subscriber: Subscriber, *amounts: int, finalize: bool = True) -> str:
    """An invoice made in Stripe's dashboard, of no subscription; its payment is not tried by itself."""
    draft = await subscriber.sandbox.post("/v1/invoices", {"customer": subscriber.customer, "auto_advance": False})
    for amount in amounts:
        await subscriber.sandbox.post(
            "/v1/invoiceitems",
            {"customer": subscriber.customer, "invoice": draft["id"], "amount": amount, "currency": "usd"},
        )
    if finalize:
        await subscriber.sandbox.post(f"/v1/invoices/{draft['id']}/finalize", {"auto_advance": False})
    return str(draft["id"])


async def test_a_paid_invoice_is_a_payment_of_the_platform(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    await subscriber.deliver()
    [invoice], [payment] = await subscriber.invoices(), await subscriber.payments()
    assert (invoice.status, invoice.subscription_id, invoice.amount_paid_minor) == (InvoiceStatus.PAID, row.id, 1000)
    assert invoice.hosted_invoice_url is not None
    assert (payment.invoice_id, payment.subscription_id, payment.activity_id) == (invoice.id, row.id, None)
    assert (payment.status, payment.charge_model) == (PaymentStatus.SUCCEEDED, ChargeModel.PLATFORM)
    assert (payment.captured_minor, payment.platform_fee_minor, payment.host_amount_minor) == (1000, 1000, 0)
    assert (payment.settlement_minor, payment.settlement_currency) == (1000, "USD")
    assert payment.payment_method is not None
    assert payment.payment_method["last4"] == "4242"
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 1000
    assert await subscriber.balance("GUEST_CLEARING") == -1000
    assert await subscriber.balance("APPLICATION_FEES") == 0
    await subscriber.check()


async def test_a_declined_renewal_is_owed_and_its_payment_can_be_seen(subscriber: Subscriber) -> None:
    invoice = await renewal(subscriber, with_method="pm_card_chargeCustomerFail")
    assert (invoice.status, invoice.attempt_count, invoice.amount_remaining_minor) == (InvoiceStatus.OPEN, 1, 1000)
    payment = await Payment.get(invoice_id=invoice.id)
    assert (payment.status, payment.captured_minor, payment.failure_code) == (PaymentStatus.FAILED, 0, "card_declined")
    assert payment.client_secret is not None
    assert await subscriber.balance("RECEIVABLES") == 1000
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 1000  # the first month's
    await subscriber.check()

    await subscriber.give("pm_card_visa")
    await subscriber.sandbox.post(f"/v1/invoices/{invoice.stripe_invoice_id}/pay")
    await subscriber.deliver()
    assert (await Payment.get(id=payment.id)).status is PaymentStatus.SUCCEEDED
    assert await subscriber.balance("RECEIVABLES") == 0
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 2000
    await subscriber.check()


async def test_a_renewal_that_the_bank_wants_confirmed_can_be_confirmed(subscriber: Subscriber) -> None:
    invoice = await renewal(subscriber, with_method="pm_card_authenticationRequired")
    payment = await Payment.get(invoice_id=invoice.id)
    assert payment.status in {PaymentStatus.REQUIRES_ACTION, PaymentStatus.FAILED}
    theirs = str(payment.stripe_payment_intent_id)
    if payment.status is PaymentStatus.FAILED:
        await subscriber.sandbox.post(
            f"/v1/payment_intents/{theirs}/confirm",
            {"payment_method": "pm_card_authenticationRequired", "return_url": "https://front.example/"},
        )
    await subscriber.sandbox.authenticate(theirs)
    await subscriber.deliver()
    assert (await Payment.get(id=payment.id)).status is PaymentStatus.SUCCEEDED
    assert (await Invoice.get(id=invoice.id)).status is InvoiceStatus.PAID
    await subscriber.check()


async def test_what_is_given_up_is_written_off_and_comes_back_when_it_is_paid_after_all(subscriber: Subscriber) -> None:
    invoice = await renewal(subscriber, with_method="pm_card_chargeCustomerFail")
    path = f"/v1/invoices/{invoice.stripe_invoice_id}"
    await subscriber.sandbox.post(f"{path}/mark_uncollectible")
    await subscriber.deliver()
    now = await Invoice.get(id=invoice.id)
    assert (now.status, now.receivable_minor, now.written_off_minor) == (InvoiceStatus.UNCOLLECTIBLE, 0, 1000)
    assert (await subscriber.balance("RECEIVABLES"), await subscriber.balance("UNCOLLECTIBLE")) == (0, 1000)
    await subscriber.check()

    await subscriber.give("pm_card_visa")
    await subscriber.sandbox.post(f"{path}/pay")
    await subscriber.deliver()
    assert (await Invoice.get(id=invoice.id)).status is InvoiceStatus.PAID
    assert (await subscriber.balance("RECEIVABLES"), await subscriber.balance("UNCOLLECTIBLE")) == (0, 0)
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 2000
    kinds = await subscriber.services.database.pool.fetch(
        "SELECT kind FROM ledger_transactions WHERE stripe_object_id = $1 ORDER BY id", invoice.stripe_invoice_id
    )
    assert [kind["kind"] for kind in kinds] == [
        "INVOICE_DUE", "INVOICE_UNCOLLECTIBLE", "INVOICE_UNCOLLECTIBLE", "INVOICE_CLOSED",
    ]  # fmt: skip
    await subscriber.check()


async def test_one_that_is_first_seen_when_it_was_given_up_is_written_off_all_the_same(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, 500)
    await subscriber.sandbox.post(f"/v1/invoices/{stripe_id}/mark_uncollectible")
    assert (await settled(subscriber, stripe_id)).written_off_minor == 500
    assert (await subscriber.balance("RECEIVABLES"), await subscriber.balance("UNCOLLECTIBLE")) == (0, 500)
    await subscriber.check()


async def test_a_voided_invoice_is_owed_no_more_and_its_payment_is_canceled(subscriber: Subscriber) -> None:
    invoice = await renewal(subscriber, with_method="pm_card_chargeCustomerFail")
    await subscriber.sandbox.post(f"/v1/invoices/{invoice.stripe_invoice_id}/void")
    await subscriber.deliver()
    now = await Invoice.get(id=invoice.id)
    assert (now.status, now.receivable_minor) == (InvoiceStatus.VOID, 0)
    assert (await Payment.get(invoice_id=invoice.id)).status is PaymentStatus.CANCELED
    assert await subscriber.balance("RECEIVABLES") == 0
    await subscriber.check()


async def test_a_credit_note_before_payment_lowers_what_is_owed_until_it_is_voided(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, 1000)
    invoice = await settled(subscriber, stripe_id)
    assert invoice.receivable_minor == 1000
    note = await subscriber.sandbox.post("/v1/credit_notes", {"invoice": stripe_id, "amount": 400})
    await subscriber.deliver()
    [kept] = await CreditNote.filter(invoice_id=invoice.id)
    assert (kept.status, kept.type, kept.total_minor) == (CreditNoteStatus.ISSUED, "pre_payment", 400)
    assert (await Invoice.get(id=invoice.id)).receivable_minor == 600
    assert await subscriber.balance("RECEIVABLES") == 600
    payment = await Payment.get(invoice_id=invoice.id)
    assert (payment.amount_minor, payment.platform_fee_minor) == (600, 600)
    await subscriber.check()

    await subscriber.sandbox.post(f"/v1/credit_notes/{note['id']}/void")
    await subscriber.deliver()
    assert (await CreditNote.get(id=kept.id)).status is CreditNoteStatus.VOID
    assert await subscriber.balance("RECEIVABLES") == 1000
    await subscriber.sandbox.post(f"/v1/invoices/{stripe_id}/pay")
    await subscriber.deliver()
    assert await subscriber.balance("SUBSCRIPTION_INCOME") == 1000
    await subscriber.check()


async def test_lines_say_what_is_prorated_and_what_a_coupon_takes_off(subscriber: Subscriber) -> None:
    coupon = await subscriber.sandbox.post("/v1/coupons", {"percent_off": 25, "duration": "forever"})
    small, large = await subscriber.plan(1000), await subscriber.plan(3000)
    row = await subscriber.subscribe(small, discounts=[{"coupon": coupon["id"]}])
    await subscriber.deliver()
    [invoice] = await subscriber.invoices()
    [line] = await InvoiceLine.filter(invoice_id=invoice.id)
    assert (line.amount_minor, line.discount_minor, line.proration) == (1000, 250, False)
    assert line.stripe_price_id == small.stripe_price_id
    assert (invoice.subtotal_minor, invoice.total_minor) == (1000, 750)

    theirs = await subscriber.theirs(row)
    await subscriber.let_pass(15 * DAY)
    item = {"id": theirs["items"]["data"][0]["id"], "price": large.stripe_price_id}
    await subscriber.sandbox.post(
        f"/v1/subscriptions/{theirs['id']}", {"items": [item], "proration_behavior": "always_invoice"}
    )
    await subscriber.deliver()
    lines = await InvoiceLine.filter(invoice_id=(await subscriber.invoices())[-1].id).order_by("position")
    assert [line.proration for line in lines] == [True, True]
    assert lines[0].amount_minor < 0 < lines[1].amount_minor
    await subscriber.check()


async def test_all_lines_of_a_long_invoice_are_kept_and_those_that_go_are_forgotten(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, *range(100, 112), finalize=False)
    invoice = await settled(subscriber, stripe_id)
    lines = await InvoiceLine.filter(invoice_id=invoice.id)
    assert sorted(line.amount_minor for line in lines) == list(range(100, 112))
    version = invoice.version
    assert (await settled(subscriber, stripe_id)).version == version

    [last, *_] = await subscriber.sandbox.every("/v1/invoiceitems", {"invoice": stripe_id})
    await subscriber.sandbox.delete(f"/v1/invoiceitems/{last['id']}")
    assert (await settled(subscriber, stripe_id)).version == version + 1
    left = await InvoiceLine.filter(invoice_id=invoice.id)
    assert len(left) == 11
    assert {line.id for line in left} < {line.id for line in lines}


async def test_a_draft_that_was_deleted_is_void(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, 500, finalize=False)
    await subscriber.deliver()
    assert (await Invoice.get(stripe_invoice_id=stripe_id)).status is InvoiceStatus.DRAFT
    await subscriber.sandbox.delete(f"/v1/invoices/{stripe_id}")
    await subscriber.deliver()
    assert (await Invoice.get(stripe_invoice_id=stripe_id)).status is InvoiceStatus.VOID
    assert await subscriber.balance("RECEIVABLES") == 0
    actions = await AuditEntry.filter(subject_type="INVOICE").order_by("id").values_list("action", flat=True)
    assert actions[-1] == "invoice.deleted"


async def test_an_invoice_made_by_hand_is_its_guest_s_without_a_subscription(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, 700)
    await subscriber.sandbox.post(f"/v1/invoices/{stripe_id}/pay")
    await subscriber.deliver()
    [invoice], [payment] = await subscriber.invoices(), await subscriber.payments()
    assert (invoice.user_id, invoice.subscription_id) == (subscriber.user.id, None)
    assert (payment.subscription_id, payment.captured_minor) == (None, 700)
    await subscriber.check()


async def test_one_paid_elsewhere_is_owed_no_more_and_no_payment(subscriber: Subscriber) -> None:
    stripe_id = await by_hand(subscriber, 700)
    await settled(subscriber, stripe_id)
    assert await subscriber.balance("RECEIVABLES") == 700
    await subscriber.sandbox.post(f"/v1/invoices/{stripe_id}/pay", {"paid_out_of_band": True})
    await subscriber.deliver()
    assert (await Invoice.get(stripe_invoice_id=stripe_id)).status is InvoiceStatus.PAID
    assert all(payment.captured_minor == 0 for payment in await subscriber.payments())
    assert await subscriber.balance("RECEIVABLES") == await subscriber.balance("SUBSCRIPTION_INCOME") == 0
    await subscriber.check()


async def test_the_payment_s_own_events_are_enough_to_know_invoice_and_subscription(subscriber: Subscriber) -> None:
    row = await subscriber.subscribe(await subscriber.plan())
    events = [event for event in await subscriber.events() if event["type"] == "payment_intent.succeeded"]
    assert len(events) == 1
    await subscriber.deliver(events)
    [invoice], [payment] = await subscriber.invoices(), await subscriber.payments()
    assert (invoice.status, payment.status) == (InvoiceStatus.PAID, PaymentStatus.SUCCEEDED)
    assert (await subscriber.now(row)).stripe_subscription_id is not None
    await subscriber.check()


async def test_the_same_invoice_settled_by_many_at_once_is_one_invoice_with_one_payment(subscriber: Subscriber) -> None:
    await subscriber.subscribe(await subscriber.plan())
    [theirs] = await subscriber.sandbox.every("/v1/invoices", {"customer": subscriber.customer})
    found = await asyncio.gather(*(settled(subscriber, theirs["id"]) for _ in range(5)))
    assert len({invoice.id for invoice in found}) == 1
    assert len(await subscriber.payments()) == 1
    await subscriber.check()


async def test_what_was_settled_before_is_asked_for_again_where_it_has_changed_meanwhile(
    subscriber: Subscriber,
) -> None:
    stripe_id = await by_hand(subscriber, 1000)
    await settled(subscriber, stripe_id)
    held: list[str] = []
    stripe = subscriber.services.stripe

    class Slow:
        """Answers the first question about the invoice as it was, once it has been paid and settled."""

        def __getattr__(self, name: str) -> Any:
            return getattr(stripe, name)

        async def send(self, request: Any, **rest: Any) -> Any:
            response = await stripe.send(request, **rest)
            if request.path == f"/v1/invoices/{stripe_id}" and not held:
                held.append(response.body["status"])
                await subscriber.sandbox.post(f"/v1/invoices/{stripe_id}/pay")
                await settled(subscriber, stripe_id)
            return response

    slow: Any = Slow()
    found = await settled(subscriber.through(slow), stripe_id)
    assert held == ["open"]
    assert found.status is InvoiceStatus.PAID
    await subscriber.check()


async def test_other_people_s_invoices_are_passed_over_without_asking_stripe(
    subscriber: Subscriber, services: Services, sandbox: Sandbox
) -> None:
    stranger = (await sandbox.post("/v1/customers", {"email": "someone@example.com"}))["id"]
    attached = (await sandbox.post("/v1/payment_methods/pm_card_visa/attach", {"customer": stranger}))["id"]
    price = await subscriber.plan()
    subscription = await sandbox.post(
        "/v1/subscriptions",
        {
            "customer": stranger, "items": [{"price": price.stripe_price_id}], "default_payment_method": attached,
            "metadata": {"subscription_id": str(new_id()), "user_id": str(subscriber.user.id)},
        },
    )  # fmt: skip
    events = [
        event
        for event in await sandbox.events()
        if event["data"]["object"].get("customer") == stranger
        or event["data"]["object"].get("invoice") == subscription["latest_invoice"]
    ]
    assert {"invoice.paid", "customer.subscription.created", "payment_intent.succeeded"} <= {e["type"] for e in events}
    before = len(await sandbox.requests_to("/v1/"))
    for event in events:
        await receive_signed(services, event)
    while await process_due(services):
        pass
    assert len(await sandbox.requests_to("/v1/")) == before
    assert await services.database.pool.fetchval(
        "SELECT count(*) FROM webhook_events WHERE status NOT IN ('PROCESSED', 'IGNORED')"
    ) == 0  # fmt: skip
    assert await Invoice.all().count() == await Payment.all().count() == await BillingSubscription.all().count() == 0


async def test_a_guest_s_subscription_made_by_another_program_is_not_ours_nor_are_its_invoices(
    subscriber: Subscriber,
) -> None:
    price = await subscriber.plan()
    await subscriber.sandbox.post(
        "/v1/subscriptions", {"customer": subscriber.customer, "items": [{"price": price.stripe_price_id}]}
    )
    await subscriber.deliver()
    assert await Invoice.all().count() == await Payment.all().count() == await BillingSubscription.all().count() == 0


async def test_money_without_decimals_is_kept_as_it_is(subscriber: Subscriber) -> None:
    await subscriber.subscribe(await subscriber.plan(1500, "JPY"))
    await subscriber.deliver()
    [invoice], [payment] = await subscriber.invoices(), await subscriber.payments()
    assert (invoice.currency, invoice.total_minor, payment.captured_minor) == ("JPY", 1500, 1500)
    assert await subscriber.balance("SUBSCRIPTION_INCOME", "JPY") == 1500
    await subscriber.check()


async def test_what_is_over_is_not_asked_for_again_for_each_event_that_tells_of_it(subscriber: Subscriber) -> None:
    await subscriber.subscribe(await subscriber.plan())
    events = await subscriber.events()
    await subscriber.deliver([event for event in events if event["type"] == "invoice.paid"])
    [invoice] = await subscriber.invoices()
    path = f"/v1/invoices/{invoice.stripe_invoice_id}"
    asked = len(await subscriber.sandbox.requests_to(path))
    told = [event for event in events if event["type"].startswith(("invoice", "payment_intent", "charge"))]
    assert len(told) > 5
    await subscriber.deliver(told)
    assert len(await subscriber.sandbox.requests_to(path)) == asked
    assert (await Invoice.get(id=invoice.id)).version == invoice.version
    await subscriber.check()
