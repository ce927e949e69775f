"""The same facts, told twice, shuffled, late, or before Stripe's own answer: the same end, byte for byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from models.payments import Payment, PaymentStatus
from models.rsvps import RsvpStatus
from services.payments.actions import cancel_payment, capture_payment, retry_payment
from services.webhooks.handlers import handler_of
from tests.support.shop import SERVICE, as_user, pool_fetch

if TYPE_CHECKING:
    from services.stripe_gateway import StripeGateway, StripeResponse
    from services.stripe_requests import StripeRequest
    from tests.support.shop import Shop

_VOLATILE = {"created_at", "updated_at", "position", "xid", "leased_until", "finished_at", "answered_at"}
_ORDER = ("reference", "amount_minor", "status")
_TABLES = {
    "payments": "id = $1",
    "rsvps": "id = (SELECT rsvp_id FROM payments WHERE id = $1)",
    "refunds": "payment_id = $1",
    "payment_allocations": "payment_id = $1",
    "payment_attempts": "payment_id = $1",
    "ledger_transactions": "payment_id = $1",
    "ledger_postings": "transaction_id IN (SELECT id FROM ledger_transactions WHERE payment_id = $1)",
    "events": "subject_id = $1",
}


async def state(shop: Shop, payment: Payment) -> bytes:
    """Every row of a payment, as it stands in the database, but for when it was written."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for table, condition in _TABLES.items():
        records = await pool_fetch(shop.services, f"SELECT * FROM {table} WHERE {condition} ORDER BY id", payment.id)
        rows[table] = [{name: value for name, value in record.items() if name not in _VOLATILE} for record in records]
    return orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2)


async def likeness(shop: Shop, payment: Payment) -> str:
    """The state without what is another's: two payments that went the same way look alike."""
    rows = orjson.loads(await state(shop, payment))
    names: dict[str, str] = {}

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: told(item) for key, item in value.items()}
        if isinstance(value, list):
            return [told(item) for item in value]
        if isinstance(value, str) and (len(value) >= 20 or "_" in value):
            head = value.split("_")[0] if "_" in value else "id"
            return names.setdefault(value, f"{head}#{len(names)}") if any(c.isdigit() for c in value) else value
        return value

    for table in rows.values():
        for row in table:
            for name in ("id", "stripe_created_at", "occurred_at", "available_on", "hold_expires_at", "capture_before"):
                row.pop(name, None)
        # Ids are in the order of writing, which is what differs.
        table.sort(key=lambda row: [str(row.get(name)).split(":")[0] for name in _ORDER])
    return orjson.dumps(told(rows), option=orjson.OPT_INDENT_2).decode()


async def succeeds(shop: Shop) -> Payment:
    return await shop.paid()


async def declines_then_succeeds(shop: Shop) -> Payment:
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    result = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=payment.id, payment_method="pm_card_visa",
        return_url=None, idempotency_key=f"retry {payment.id}",
    )  # fmt: skip
    return result.payment


async def is_challenged(shop: Shop) -> Payment:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    return payment


async def is_captured_in_part(shop: Shop) -> Payment:
    payment = (await shop.pay(capture_later=True)).payment
    amount = payment.amount.split([3, 1])[0]
    result = await capture_payment(
        shop.services, viewer=SERVICE, payment_id=payment.id, amount=amount, idempotency_key=f"capture {payment.id}"
    )
    return result.payment


async def is_canceled(shop: Shop) -> Payment:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    result = await cancel_payment(
        shop.services, viewer=SERVICE, payment_id=payment.id, idempotency_key=f"cancel {payment.id}"
    )
    return result.payment


async def is_refunded_in_parts(shop: Shop) -> Payment:
    payment = await shop.paid()
    await shop.refund(payment, 700)
    await shop.refund(payment, 1300)
    return payment


async def fails_to_be_refunded(shop: Shop) -> Payment:
    payment = await shop.paid("pm_card_refundFail")
    refund = await shop.refund(payment, 700)
    await shop.sandbox.act(f"refunds/{refund.stripe_refund_id}/fail")
    return payment


STORIES = {
    story.__name__: story
    for story in (
        succeeds, declines_then_succeeds, is_challenged, is_captured_in_part, is_canceled, is_refunded_in_parts,
        fails_to_be_refunded,
    )
}  # fmt: skip


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_webhooks_twice_and_shuffled_change_nothing_more(shop: Shop, story: str) -> None:
    payment = await STORIES[story](shop)
    events = await shop.events_of(payment)
    assert events
    await shop.deliver(events)
    settled = await state(shop, payment)
    await shop.check()
    shuffled = random.Random(story)
    for number in range(3):
        again = [{**event, "id": f"{event['id']}_{number}"} for event in events]
        shuffled.shuffle(again)
        await shop.deliver([*again, *events])
        assert await state(shop, payment) == settled
    await shop.check()


@pytest.mark.parametrize("story", sorted(STORIES))
@pytest.mark.parametrize("seed", range(3))
async def test_webhooks_in_any_order_come_to_the_same_end(shop: Shop, story: str, seed: int) -> None:
    in_order, shuffled = await STORIES[story](shop), await STORIES[story](shop)
    await shop.deliver(await shop.events_of(in_order))
    events = await shop.events_of(shuffled)
    random.Random(seed).shuffle(events)
    await shop.deliver(events)
    assert await likeness(shop, shuffled) == await likeness(shop, in_order)
    await shop.check()


class WebhooksFirst:
    """Stripe, whose webhooks of a call always arrive and are handled before the call's own answer does."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stripe: StripeGateway = shop.services.stripe
        self._told: set[str] = set()
        self.first = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)

    async def send(self, request: StripeRequest, **rest: Any) -> StripeResponse:
        """Send it, but hear the webhooks first."""
        try:
            return await self._stripe.send(request, **rest)
        finally:
            if request.method == "post":
                await self._hear()

    async def _hear(self) -> None:
        events = await self._shop.sandbox.events()
        new = [event for event in events if event["id"] not in self._told and handler_of(event["type"], "")]
        ours = {str(row["id"]) for row in await pool_fetch(self._shop.services, "SELECT id FROM payments")}
        for event in new:
            self._told.add(event["id"])
            metadata = event["data"]["object"].get("metadata") or {}
            known = event["data"]["object"].get("payment_intent") or ""
            if metadata.get("payment_id") in ours or known:
                self.first += 1
                await self._shop.deliver([event])


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_webhooks_before_the_answer_come_to_the_same_end(shop: Shop, story: str) -> None:
    plain = await STORIES[story](shop)
    await shop.deliver_all(plain)
    early = WebhooksFirst(shop)
    await early._hear()
    before = early.first
    payment = await STORIES[story](shop.through(early))
    assert early.first > before
    await shop.deliver_all(payment)
    assert await likeness(shop, payment) == await likeness(shop, plain)
    await shop.check()


async def test_webhooks_alone_pay_where_the_answer_never_came(shop: Shop) -> None:
    await shop.paid()
    await shop.sandbox.faults(reset_after=1.0)
    with pytest.raises(Exception, match="not available"):
        await shop.pay()
    await shop.sandbox.heal()
    payment = await Payment.get(status=PaymentStatus.PENDING)
    ours = [event for event in await shop.sandbox.events() if str(payment.id) in str(event["data"]["object"])]
    await shop.deliver([event for event in ours if handler_of(event["type"], "")])
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    assert (await shop.rsvp(payment)).status is RsvpStatus.CONFIRMED
    await shop.recover()
    await shop.check()


async def test_an_intent_that_only_claims_to_be_ours_changes_nothing(shop: Shop) -> None:
    """Anyone with the platform's key can write metadata: the amount has to be ours as well."""
    payment = (await shop.pay("pm_card_chargeDeclined")).payment
    before = await state(shop, payment)
    intent = await shop.sandbox.post(
        "/v1/payment_intents",
        {
            "amount": 100, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"payment_id": str(payment.id)},
        },
    )  # fmt: skip
    await shop.deliver([e for e in await shop.sandbox.events_about(intent["id"]) if handler_of(e["type"], "")])
    assert await state(shop, payment) == before
    await shop.check()
