"""Answers of Stripe that come late: what webhooks have told since is not undone by them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.payments import Payment, PaymentStatus
from models.rsvps import RsvpStatus
from services.payments.actions import retry_payment
from services.stripe_gateway import StripeGateway
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import Shop, as_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

METHODS = {
    "pm_card_authenticationRequired": ("authenticate", PaymentStatus.REQUIRES_ACTION),
    "pm_usBankAccount_processing": ("settle", PaymentStatus.PROCESSING),
}


async def fails_at_stripe(shop: Shop, intent: str, act: str) -> None:
    """The challenge is not passed, or the bank says no; and all webhooks arrive."""
    await shop.sandbox.act(f"payment_intents/{intent}/{act}", outcome="failure")
    events = await shop.sandbox.events_about(intent)
    await shop.deliver([event for event in events if event["type"].startswith(("payment_intent.p", "charge.f"))])


async def failed(shop: Shop, payment: Payment) -> None:
    now = await shop.now(payment)
    assert now.status is PaymentStatus.FAILED
    rsvp = await shop.rsvp(payment)
    assert rsvp.status is RsvpStatus.HELD
    assert rsvp.hold_expires_at is not None
    await shop.check()


@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_that_is_replayed_after_a_crash_is_of_then(shop: Shop, method: str) -> None:
    guest = await shop.new_guest()
    await shop.paid(guest=guest)  # a customer from now on
    trap = Trap()
    trap.arm(Trouble.crash(Boundary.CALLED, 0))
    async with trapped(shop.services, trap, shop.sandbox) as services:
        with pytest.raises(Crash):
            await replace(shop, services=services).pay(method, guest=guest)
    payment = await Payment.get(stripe_payment_intent_id=None)
    intents = await shop.sandbox.every("/v1/payment_intents")
    [intent] = [found["id"] for found in intents if found["metadata"].get("payment_id") == str(payment.id)]

    await fails_at_stripe(shop, intent, METHODS[method][0])
    await shop.recover()

    await failed(shop, payment)


class Slow:
    """The gateway, which hands an answer over after something else has happened."""

    def __init__(self, gateway: StripeGateway, meanwhile: Callable[[str], Awaitable[None]]) -> None:
        self._gateway = gateway
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    async def send(self, request: Any, **options: Any) -> Any:
        response = await self._gateway.send(request, **options)
        if request.method == "post" and request.path.startswith("/v1/payment_intents"):
            await self._meanwhile(response.body["id"])
        return response


@pytest.mark.parametrize(
    ("method", "again"),
    [
        ("pm_card_authenticationRequired", False), ("pm_usBankAccount_processing", False),
        ("pm_usBankAccount_processing", True),
    ],
)  # fmt: skip
async def test_an_answer_that_webhooks_overtake_changes_nothing(shop: Shop, method: str, again: bool) -> None:
    act = METHODS[method][0]

    async def meanwhile(intent: str) -> None:
        await fails_at_stripe(shop, intent, act)

    slow = shop.through(Slow(shop.services.stripe, meanwhile))
    if again:
        declined = (await shop.pay("pm_card_chargeDeclined")).payment
        result = await retry_payment(
            slow.services, viewer=as_user(shop.guest), payment_id=declined.id, payment_method=method, return_url=None,
            idempotency_key=str(uuid4()),
        )  # fmt: skip
    else:
        result = await slow.pay(method)
    await failed(shop, result.payment)
