"""Setup intents: one key, one secret; what Stripe.js saves with it comes in by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.operations import Operation
from models.users import User
from services.errors import DomainError, IdempotencyKeyReused, InvalidInput, InvalidState
from services.payment_methods.setup_intents import create_setup_intent
from services.payments.pay import pay_for_activity
from tests.support.shop import SERVICE

if TYPE_CHECKING:
    from tests.support.shop import Shop
    from tests.support.wallet import Wallet


async def secret_of(wallet: Wallet, key: str | None = None) -> str:
    return await create_setup_intent(wallet.services, viewer=wallet.viewer, idempotency_key=key or str(uuid4()))


async def confirmed(wallet: Wallet, secret: str, method: str) -> str:
    """What Stripe.js does with the secret; the setup intent's status."""
    intent = secret.partition("_secret_")[0]
    answer = await wallet.sandbox.post(f"/v1/setup_intents/{intent}/confirm", {"payment_method": method})
    return str(answer["status"])


async def test_a_setup_intent_is_for_the_guests_customer_and_for_when_the_guest_is_away(wallet: Wallet) -> None:
    secret = await secret_of(wallet)
    intent = await wallet.sandbox.get(f"/v1/setup_intents/{secret.partition('_secret_')[0]}")
    assert intent["client_secret"] == secret
    assert (intent["customer"], intent["usage"]) == (await wallet.customer(), "off_session")
    assert intent["automatic_payment_methods"]["enabled"]
    assert intent["metadata"]["user_id"] == str(wallet.guest.id)


async def test_the_same_key_answers_the_same_secret_and_another_key_another(wallet: Wallet) -> None:
    key = str(uuid4())
    secrets = await asyncio.gather(*(secret_of(wallet, key) for _ in range(10)))
    assert len({*secrets, await secret_of(wallet, key)}) == 1
    assert await secret_of(wallet) != secrets[0]
    assert len(await wallet.sandbox.every("/v1/setup_intents", {"customer": await wallet.customer()})) == 2


async def test_what_is_saved_with_it_is_there_and_the_first_is_the_default(wallet: Wallet) -> None:
    assert await confirmed(wallet, await secret_of(wallet), "pm_card_visa") == "succeeded"
    assert await wallet.methods() == []
    await wallet.deliver()
    [method] = await wallet.methods()
    assert (method.last4, method.is_default) == ("4242", True)
    await wallet.deliver()  # what making it the default has told
    await wallet.check()


@pytest.mark.parametrize("told", ["setup_intent.succeeded", "payment_method.attached"])
async def test_either_event_is_enough(wallet: Wallet, told: str) -> None:
    await confirmed(wallet, await secret_of(wallet), "pm_card_visa")
    [event] = [event for event in await wallet.events() if event["type"] == told]
    await wallet.deliver([event, event])
    assert len(await wallet.methods()) == 1
    await wallet.check()


async def test_3d_secure_comes_first_and_a_failed_one_saves_nothing(wallet: Wallet) -> None:
    secret = await secret_of(wallet)
    assert await confirmed(wallet, secret, "pm_card_authenticationRequired") == "requires_action"
    intent = secret.partition("_secret_")[0]
    await wallet.sandbox.act(f"setup_intents/{intent}/authenticate", outcome="failure")
    await wallet.deliver()
    assert await wallet.methods() == []
    assert wallet.services.metrics.setup_failures._value.get() == 1
    assert await confirmed(wallet, secret, "pm_card_authenticationRequired") == "requires_action"
    await wallet.sandbox.act(f"setup_intents/{intent}/authenticate", outcome="success")
    await wallet.deliver()
    assert len(await wallet.methods()) == 1
    await wallet.check()


async def test_a_key_of_something_else_and_bad_keys_are_refused(shop: Shop, wallet: Wallet) -> None:
    key = str(uuid4())
    await pay_for_activity(
        shop.services, viewer=wallet.viewer, activity_id=shop.activity.id, quantity=1, payment_method="pm_card_visa",
        expected_amount=None, capture_later=False, save_payment_method=False, return_url=None, idempotency_key=key,
    )  # fmt: skip
    with pytest.raises(IdempotencyKeyReused):
        await secret_of(wallet, key)
    for bad in (" " * 256, "\0"):
        with pytest.raises(InvalidInput):
            await secret_of(wallet, bad)
    assert await wallet.sandbox.every("/v1/setup_intents", {"customer": await wallet.customer()}) == []


async def test_only_people_get_one(wallet: Wallet) -> None:
    with pytest.raises(DomainError) as refusal:
        await create_setup_intent(wallet.services, viewer=SERVICE, idempotency_key="key")
    assert refusal.value.code == "FORBIDDEN"
    assert await Operation.all().count() == 0


async def test_where_the_customer_is_gone_the_next_try_makes_another(wallet: Wallet) -> None:
    await secret_of(wallet)
    gone = await wallet.customer()
    await wallet.sandbox.delete(f"/v1/customers/{gone}")
    key = str(uuid4())
    for _ in range(2):  # the refusal is recorded
        with pytest.raises(InvalidState) as refusal:
            await secret_of(wallet, key)
        assert refusal.value.state == "CUSTOMER_GONE"
    assert (await User.get(id=wallet.guest.id)).stripe_customer_id is None
    await secret_of(wallet)
    assert await wallet.customer() != gone


async def test_one_whose_answer_was_lost_for_a_day_is_found_and_not_made_again(wallet: Wallet) -> None:
    await secret_of(wallet)
    key = str(uuid4())
    await wallet.sandbox.faults(reset_after=1)
    with pytest.raises(DomainError):
        await secret_of(wallet, key)
    await wallet.sandbox.heal()
    wallet.clock.forward(seconds=timedelta(hours=25).total_seconds())
    await wallet.recover()
    secret = await secret_of(wallet, key)
    intents = await wallet.sandbox.every("/v1/setup_intents", {"customer": await wallet.customer()})
    assert secret in {intent["client_secret"] for intent in intents}
    assert len(intents) == 2
