"""What a host's own account tells: of direct charges all of it, and of what else the host sells there nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccountType
from models.operations import Operation, OperationStatus
from models.payments import Payment, PaymentStatus
from models.refunds import Refund
from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.parked import retry_parked
from services.payments.actions import capture_payment
from services.webhooks.processing import process_due
from services.webhooks.sweeper import sweep
from tests.services.payments.test_direct import account_of, pots, retry
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import SERVICE, Shop, receive_signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.core import Services
    from services.stripe_gateway import StripeGateway
    from services.stripe_requests import StripeRequest
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def shop(services: Services, sandbox: Sandbox, clock: Clock) -> Shop:
    """A host with an account of Stripe's own dashboard."""
    return await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)


class Overtaken:
    """The gateway, whose answers to writes come after something else has happened."""

    def __init__(self, gateway: StripeGateway, path: str, meanwhile: Callable[[Any], Awaitable[None]]) -> None:
        self._gateway = gateway
        self._path = path
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        response = await self._gateway.send(request, **options)
        if request.method == "post" and request.path == self._path:
            await self._meanwhile(response.body)
        return response


async def told(shop: Shop, *ids: str) -> list[dict[str, Any]]:
    """All events of these on the host's account come in and are looked at once."""
    events = await shop.sandbox.events_about(*ids, account=account_of(shop))
    for event in events:
        await receive_signed(shop.services, event)
    await process_due(shop.services)
    return events


async def own_charge(shop: Shop, **params: Any) -> dict[str, Any]:
    """What the host sells by themselves."""
    return dict(await shop.sandbox.post(
        "/v1/payment_intents",
        {
            "amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}, **params,
        },
        account=account_of(shop),
    ))  # fmt: skip


async def test_events_told_twice_and_in_any_order_change_nothing_more(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_chargeDeclined", capture_later=True)).payment
    await retry(shop, payment, "pm_card_visa")
    await capture_payment(
        shop.services, viewer=SERVICE, payment_id=payment.id, amount=None, idempotency_key=str(uuid4())
    )
    await shop.refund(await shop.now(payment), 500)
    before, held = await shop.now(payment), await pots(shop)
    events = await shop.events_of(payment) * 2
    assert {event["account"] for event in events} == {account_of(shop)}
    random.Random(4).shuffle(events)
    await shop.deliver(events)
    after = await shop.now(payment)
    assert (after.status, after.version, await pots(shop)) == (before.status, before.version, held)
    await shop.check()


async def test_a_host_s_own_sales_are_passed_over(shop: Shop) -> None:
    intent = await own_charge(shop)
    await shop.sandbox.post("/v1/refunds", {"payment_intent": intent["id"]}, account=account_of(shop))
    events = await told(shop, intent["id"])
    assert len(events) > 3
    assert {row.status for row in await WebhookEvent.all()} <= {
        WebhookEventStatus.PROCESSED, WebhookEventStatus.IGNORED
    }
    assert (await Payment.all().count(), await Refund.all().count(), await pots(shop)) == (0, 0, {})


@pytest.mark.parametrize("unpaid", [False, True])
async def test_metadata_that_a_host_forges_is_not_believed(shop: Shop, unpaid: bool) -> None:
    mine = (await shop.pay("pm_card_chargeDeclined" if unpaid else "pm_card_visa")).payment
    before, held = await shop.now(mine), await pots(shop)
    forged = await own_charge(shop, metadata={"payment_id": str(mine.id), "operation_id": str(uuid4())})
    await shop.sandbox.post(
        "/v1/refunds", {"payment_intent": forged["id"], "metadata": {"refund_id": str(uuid4())}},
        account=account_of(shop),
    )  # fmt: skip
    await told(shop, forged["id"])
    after = await shop.now(mine)
    assert (after.status, after.version, after.stripe_payment_intent_id) == (
        before.status, before.version, before.stripe_payment_intent_id,
    )  # fmt: skip
    assert await pots(shop) == held
    await shop.check()


async def test_a_host_cannot_speak_of_a_payment_that_is_not_on_their_account(
    shop: Shop, services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    other = await Shop.open(services, sandbox, clock)
    mine = (await other.pay("pm_card_chargeDeclined")).payment
    [event] = [event for event in await other.events_of(mine) if event["type"] == "payment_intent.payment_failed"]
    forged = {**event, "id": f"evt_{uuid4().hex}", "type": "payment_intent.succeeded", "account": account_of(shop)}
    forged["data"]["object"]["status"] = "succeeded"
    asked = len(await sandbox.requests_to("/v1/payment_intents"))
    await shop.deliver([forged])
    assert (await other.now(mine)).status is PaymentStatus.FAILED
    assert len(await sandbox.requests_to("/v1/payment_intents")) == asked


async def test_an_event_before_the_answer_waits_for_it(shop: Shop) -> None:
    async def meanwhile(intent: dict[str, Any]) -> None:
        await shop.sandbox.act(f"payment_intents/{intent['id']}/settle", outcome="failure")
        await told(shop, intent["id"])

    # The answer says that the debit is under way, which it was then.
    await shop.services.database.pool.execute(
        "UPDATE activities SET price_minor = 3000 WHERE id = $1", shop.activity.id
    )
    slow = shop.through(Overtaken(shop.services.stripe, "/v1/payment_intents", meanwhile))
    payment = (await slow.pay("pm_usBankAccount_processing")).payment
    assert payment.status is PaymentStatus.PROCESSING
    waiting = await WebhookEvent.filter(status=WebhookEventStatus.RECEIVED)
    assert waiting
    assert {row.attempts for row in waiting} == {0}
    shop.clock.forward(seconds=60)
    await process_due(shop.services)
    assert (await shop.now(payment)).status is PaymentStatus.FAILED
    await shop.check()


async def test_a_refund_s_event_before_its_answer_waits_for_it(shop: Shop) -> None:
    payment = await shop.paid()
    await shop.deliver_all(payment)

    async def meanwhile(refund: dict[str, Any]) -> None:
        await told(shop, refund["id"], str(payment.stripe_payment_intent_id))

    slow = shop.through(Overtaken(shop.services.stripe, "/v1/refunds", meanwhile))
    refund = await slow.refund(payment, 700)
    assert await Refund.all().count() == 1
    shop.clock.forward(seconds=60)
    await process_due(shop.services)
    [known] = await Refund.all()
    assert (known.id, known.stripe_refund_id, known.amount_minor) == (refund.id, refund.stripe_refund_id, 700)
    assert (await shop.now(payment)).refunded_minor == 700
    await shop.check()


async def test_what_no_webhook_brought_is_found_on_the_host_s_account(shop: Shop) -> None:
    payment = (await shop.pay("pm_card_authenticationRequired")).payment
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await sweep(shop.services)
    while await process_due(shop.services):
        pass
    assert (await shop.now(payment)).status is PaymentStatus.SUCCEEDED
    await shop.check()


async def test_a_payment_that_waits_for_a_person_does_not_hold_up_what_else_its_host_sells(shop: Shop) -> None:
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.CALLED, 1))
        with pytest.raises(Crash):
            await replace(shop, services=services).pay()
    payment = await Payment.get()
    own = await own_charge(shop, metadata={"payment_id": str(payment.id)})
    await shop.sandbox.post("/v1/refunds", {"payment_intent": own["id"], "amount": 500}, account=account_of(shop))
    await told(shop, own["id"])
    waiting = await WebhookEvent.filter(status=WebhookEventStatus.RECEIVED)
    assert {row.type.partition(".")[0] for row in waiting} >= {"payment_intent", "charge"}
    await Operation.filter(subject_id=payment.id).update(status=OperationStatus.PARKED)
    shop.clock.forward(seconds=60)
    await process_due(shop.services)
    assert await WebhookEvent.filter(status=WebhookEventStatus.RECEIVED).count() == 0
    assert await WebhookEvent.filter(status=WebhookEventStatus.FAILED).count() == 0
    assert (await Payment.get()).status is PaymentStatus.PENDING
    [parked] = await Operation.filter(subject_id=payment.id)
    async with shop.services.database.pool.acquire() as connection:
        assert await retry_parked(connection, parked.id)
    await shop.recover()
    assert ((await Payment.get()).status, await Refund.all().count()) == (PaymentStatus.SUCCEEDED, 0)
    await shop.check()
