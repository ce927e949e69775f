"""Saving a method by paying with it: there at once, and at the latest by webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.payments import PaymentStatus
from services.payments.actions import retry_payment
from services.stripe_gateway import StripeNotSent
from tests.support.shop import as_user
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from models.payments import Payment
    from services.stripe_requests import StripeRequest
    from tests.support.shop import Shop


@pytest.fixture
def wallet(shop: Shop) -> Wallet:
    return Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)


async def test_the_method_of_a_payment_is_saved_at_once_and_the_first_is_the_default(
    shop: Shop, wallet: Wallet
) -> None:
    payment = await shop.paid(save_payment_method=True)
    [method] = await wallet.methods()
    assert payment.payment_method is not None
    assert method.stripe_payment_method_id == payment.payment_method["stripe_id"]
    assert method.is_default
    await shop.paid("pm_card_mastercard", save_payment_method=True)
    assert [row.brand for row in await wallet.methods()] == ["visa", "mastercard"]
    await wallet.check()
    await shop.deliver_all(payment)
    await wallet.deliver()
    assert len(await wallet.methods()) == 2
    await wallet.check()
    await shop.check()


async def test_without_being_asked_to_nothing_is_saved(shop: Shop, wallet: Wallet) -> None:
    await shop.paid()
    assert await wallet.methods() == []


async def test_an_authorized_payment_saves_its_method_too(shop: Shop, wallet: Wallet) -> None:
    payment = await shop.paid(save_payment_method=True, capture_later=True)
    assert payment.status is PaymentStatus.AUTHORIZED
    assert len(await wallet.methods()) == 1
    await wallet.check()


async def test_after_3d_secure_it_is_saved_with_the_event_of_the_payment(shop: Shop, wallet: Wallet) -> None:
    result = await shop.pay("pm_card_authenticationRequired", save_payment_method=True)
    assert result.payment.status is PaymentStatus.REQUIRES_ACTION
    assert await wallet.methods() == []
    await shop.sandbox.authenticate(result.payment.stripe_payment_intent_id or "")
    [event] = [e for e in await shop.events_of(result.payment) if e["type"] == "payment_intent.succeeded"]
    await shop.deliver([event])
    assert len(await wallet.methods()) == 1
    await wallet.check()


async def test_a_declined_payment_saves_what_it_is_paid_with_in_the_end(shop: Shop, wallet: Wallet) -> None:
    declined = await shop.pay("pm_card_chargeDeclined", save_payment_method=True)
    assert await wallet.methods() == []
    await retry(shop, declined.payment, "pm_card_amex", "a")
    assert [row.brand for row in await wallet.methods()] == ["amex"]
    await wallet.check()


async def retry(shop: Shop, payment: Payment, method: str, key: str) -> None:
    result = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=payment.id, payment_method=method, return_url=None,
        idempotency_key=key,
    )  # fmt: skip
    assert result.error is None


class Patchy:
    """Stripe, where customers are out of reach once they are made."""

    def __init__(self, stripe: Any) -> None:
        self._stripe = stripe

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        if request.path.startswith("/v1/customers/"):
            raise StripeNotSent("out of reach", retry_after_s=1)
        return await self._stripe.send(request, **options)


async def test_where_stripe_cannot_be_asked_the_payment_is_made_and_its_event_brings_the_method(
    shop: Shop, wallet: Wallet
) -> None:
    payment = await shop.through(Patchy(shop.services.stripe)).paid(save_payment_method=True)
    assert payment.status is PaymentStatus.SUCCEEDED
    assert await wallet.methods() == []
    await wallet.deliver()
    assert len(await wallet.methods()) == 1
    await wallet.check()
