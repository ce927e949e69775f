"""What Stripe's events say of saved methods: in any order, however often, of our own guests alone."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest

from models.audit import AuditEntry
from models.payment_methods import SavedPaymentMethod
from models.users import User
from services.payment_methods.settlement import settle_methods
from services.webhooks.processing import process_due
from tests.support.shop import pool_fetch, receive_signed

if TYPE_CHECKING:
    from tests.support.wallet import Wallet

_VOLATILE = {"created_at", "updated_at", "attached_at", "detached_at"}


async def state(wallet: Wallet) -> bytes:
    records = await pool_fetch(
        wallet.services, "SELECT * FROM payment_methods WHERE user_id = $1 ORDER BY stripe_payment_method_id",
        wallet.guest.id,
    )  # fmt: skip
    rows = [{name: value for name, value in record.items() if name not in _VOLATILE} for record in records]
    return orjson.dumps(rows, default=str)


async def at_stripe(wallet: Wallet, kind: str = "visa") -> str:
    """A method that was saved past Paydesk."""
    customer = await wallet.customer()
    method = await wallet.sandbox.post(f"/v1/payment_methods/pm_card_{kind}/attach", {"customer": customer})
    return str(method["id"])


async def test_a_method_that_was_saved_past_paydesk_comes_in(wallet: Wallet) -> None:
    first = await wallet.attach()
    other = await at_stripe(wallet, "mastercard")
    assert len(await wallet.methods()) == 1
    await wallet.deliver()
    found = await wallet.methods()
    assert [row.stripe_payment_method_id for row in found] == [first.stripe_payment_method_id, other]
    assert found[1].brand == "mastercard"
    await wallet.check()
    [entry] = await AuditEntry.filter(subject_id=found[1].id)
    assert entry.action == "payment_method.attached"
    assert entry.actor.startswith("stripe:evt_")


async def test_a_method_that_was_removed_past_paydesk_goes_and_leaves_its_heir(wallet: Wallet) -> None:
    first, second = await wallet.attach(), await wallet.attach("pm_card_mastercard")
    await wallet.deliver()
    await wallet.sandbox.post(f"/v1/payment_methods/{first.stripe_payment_method_id}/detach")
    await wallet.deliver()
    assert [(row.id, row.is_default) for row in await wallet.methods()] == [(second.id, True)]
    await wallet.check()


async def test_a_default_that_was_set_past_paydesk_is_the_default(wallet: Wallet) -> None:
    first, second = await wallet.attach(), await wallet.attach("pm_card_mastercard")
    settings = {"default_payment_method": second.stripe_payment_method_id}
    await wallet.sandbox.post(f"/v1/customers/{await wallet.customer()}", {"invoice_settings": settings})
    await wallet.deliver()
    assert [(row.id, row.is_default) for row in await wallet.methods()] == [(second.id, True), (first.id, False)]
    await wallet.check()


async def test_a_card_that_was_renewed_shows_its_new_date_and_may_be_made_known_again(wallet: Wallet) -> None:
    method = await wallet.attach()
    await SavedPaymentMethod.filter(id=method.id).update(expiry_noticed_at=wallet.clock())
    path = f"/v1/payment_methods/{method.stripe_payment_method_id}"
    await wallet.sandbox.post(path, {"billing_details": {"name": "Gustav"}})
    await wallet.deliver()
    assert (await SavedPaymentMethod.get(id=method.id)).expiry_noticed_at is not None
    await wallet.sandbox.post(path, {"card": {"exp_month": 1, "exp_year": 2040}})
    events = [event for event in await wallet.events() if event["type"] == "payment_method.updated"]
    # Stripe's own updates come as this type ("Automatic card updates"); the sandbox has no card network.
    await wallet.deliver([{**events[-1], "type": "payment_method.automatically_updated"}])
    [renewed] = await wallet.methods()
    assert (renewed.exp_month, renewed.exp_year, renewed.expiry_noticed_at) == (1, 2040, None)
    assert renewed.is_default


async def test_events_of_customers_that_are_not_ours_change_nothing(wallet: Wallet) -> None:
    await wallet.attach()
    before = await state(wallet)
    customer = await wallet.sandbox.post("/v1/customers", {"email": "nobody@example.com"})
    await wallet.sandbox.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer["id"]})
    method = (await wallet.sandbox.every(f"/v1/customers/{customer['id']}/payment_methods"))[0]["id"]
    settings = {"default_payment_method": method}
    await wallet.sandbox.post(f"/v1/customers/{customer['id']}", {"invoice_settings": settings})
    intent = await wallet.sandbox.post("/v1/setup_intents", {"customer": customer["id"]})
    await wallet.sandbox.post(f"/v1/setup_intents/{intent['id']}/confirm", {"payment_method": "pm_card_amex"})
    await wallet.sandbox.post(f"/v1/payment_methods/{method}/detach")
    await wallet.sandbox.delete(f"/v1/customers/{customer['id']}")
    named = {customer["id"], method}
    events = [
        event for event in await wallet.sandbox.events()
        if named & {event["data"]["object"].get("id"), event["data"]["object"].get("customer")}
    ]  # fmt: skip
    told = {event["type"] for event in events}
    assert told >= {"payment_method.attached", "customer.deleted", "setup_intent.succeeded"}
    await wallet.deliver(events)
    assert await state(wallet) == before
    assert await SavedPaymentMethod.all().count() == 1


async def test_a_deleted_customer_is_forgotten_with_all_that_it_had_saved(wallet: Wallet) -> None:
    for kind in ("visa", "mastercard"):
        await wallet.attach(f"pm_card_{kind}")
    events, customer = await wallet.events(), await wallet.customer()
    await wallet.sandbox.delete(f"/v1/customers/{customer}")
    deleted = [event for event in await wallet.events() if event["type"] == "customer.deleted"]
    await wallet.deliver(deleted)
    assert (await User.get(id=wallet.guest.id)).stripe_customer_id is None
    assert await wallet.methods() == []
    rows = await SavedPaymentMethod.filter(user_id=wallet.guest.id)
    assert [(row.is_attached, row.is_default) for row in rows] == [(False, False)] * 2
    # What was told before and comes late brings nothing back.
    after = await state(wallet)
    await wallet.deliver([*events, *deleted])
    assert await state(wallet) == after
    assert (await wallet.attach()).is_default
    assert await wallet.customer() != customer
    await wallet.check()


async def life(wallet: Wallet) -> list[dict[str, Any]]:
    """A good deal, all of it at Stripe: every kind of event."""
    await wallet.attach("pm_card_discover")
    customer = await wallet.customer()
    visa, amex = await at_stripe(wallet), await at_stripe(wallet, "amex")
    settings = {"default_payment_method": amex}
    await wallet.sandbox.post(f"/v1/customers/{customer}", {"invoice_settings": settings})
    await wallet.sandbox.post(f"/v1/payment_methods/{visa}", {"card": {"exp_month": 2, "exp_year": 2041}})
    intent = await wallet.sandbox.post("/v1/setup_intents", {"customer": customer})
    await wallet.sandbox.post(f"/v1/setup_intents/{intent['id']}/confirm", {"payment_method": "pm_card_jcb"})
    await wallet.sandbox.post(f"/v1/payment_methods/{amex}/detach")
    return await wallet.events()


@pytest.mark.parametrize("seed", range(4))
async def test_doubled_and_shuffled_events_come_to_the_same_end(wallet: Wallet, seed: int) -> None:
    events = await life(wallet)
    dice = random.Random(seed)
    told = [*events, *dice.choices(events, k=len(events))]
    dice.shuffle(told)
    await wallet.deliver(told)
    await wallet.deliver()  # what making another one the default has told
    assert len(await wallet.methods()) == 3
    await wallet.check()


async def test_all_events_at_once_by_several_workers_come_to_the_same_end(wallet: Wallet) -> None:
    for event in await life(wallet):
        await receive_signed(wallet.services, event)
    await asyncio.gather(*(process_due(wallet.services, limit=2) for _ in range(12)))
    await wallet.deliver()
    await wallet.recover()
    assert len(await wallet.methods()) == 3
    await wallet.check()


class Late:
    """Stripe, whose answers are handed over only when a test says so."""

    def __init__(self, stripe: Any) -> None:
        self._stripe = stripe
        self.answered, self.go_on = asyncio.Event(), asyncio.Event()

    async def send(self, request: Any, **options: Any) -> Any:
        answer = await self._stripe.send(request, **options)
        self.answered.set()
        await self.go_on.wait()
        return answer

    def list_all(self, request: Any, **options: Any) -> Any:
        return self._stripe.list_all(request, **options)


async def test_an_answer_that_was_overtaken_undoes_nothing(wallet: Wallet) -> None:
    await wallet.attach()
    late = Late(wallet.services.stripe)
    services = replace(wallet.services, stripe=cast("Any", late))
    asking = settle_methods(services, wallet.guest.id, await wallet.customer(), actor="system:late")
    slow = asyncio.create_task(asking)
    await late.answered.wait()
    new = await wallet.attach("pm_card_mastercard", default=True)
    late.go_on.set()
    assert (await slow).methods[0].id == new.id
    await wallet.check()
