"""The default: one at a time, the same here and at Stripe."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.dunning import Dunning
from models.operations import Operation
from services.errors import InvalidState, NotFound
from services.payment_methods.defaults import set_default_payment_method
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.rows import add_dunning, add_invoice, add_plan, add_subscription

if TYPE_CHECKING:
    from tests.support.wallet import Wallet


async def test_another_method_becomes_the_default_here_and_at_stripe(wallet: Wallet) -> None:
    first = await wallet.attach()
    second = await wallet.attach("pm_card_mastercard")
    assert (await wallet.prefer(second)).is_default
    assert await wallet.default_at_stripe() == second.stripe_payment_method_id
    assert [(row.id, row.is_default) for row in await wallet.methods()] == [(second.id, True), (first.id, False)]
    assert (await wallet.prefer(first)).is_default
    assert await wallet.default_at_stripe() == first.stripe_payment_method_id
    await wallet.check()


async def test_anothers_unknown_and_removed_ones_are_refused_and_nothing_moves(wallet: Wallet) -> None:
    other = await wallet.another()
    theirs = await other.attach()
    removed = await wallet.attach("pm_card_amex")
    kept = await wallet.attach()
    await wallet.detach(removed)
    before = await Operation.all().count()
    for id_ in (theirs.id, uuid4()):
        with pytest.raises(NotFound):
            await set_default_payment_method(wallet.services, viewer=wallet.viewer, method_id=id_)
    with pytest.raises(InvalidState) as refusal:
        await wallet.prefer(removed)
    assert refusal.value.state == "DETACHED"
    assert await Operation.all().count() == before
    assert await wallet.default_at_stripe() == kept.stripe_payment_method_id
    await wallet.check()
    await other.check()


async def test_one_that_stripe_has_lost_meanwhile_is_refused_and_removed_here(wallet: Wallet) -> None:
    kept = await wallet.attach()
    lost = await wallet.attach("pm_card_mastercard")
    await wallet.sandbox.post(f"/v1/payment_methods/{lost.stripe_payment_method_id}/detach")
    with pytest.raises(InvalidState):
        await wallet.prefer(lost)
    assert [(row.id, row.is_default) for row in await wallet.methods()] == [(kept.id, True)]
    await wallet.check()


async def test_a_race_for_the_default_ends_with_exactly_one_which_is_stripes(wallet: Wallet) -> None:
    methods = [await wallet.attach(f"pm_card_{kind}") for kind in ("visa", "mastercard", "amex", "discover")]
    for _ in range(3):
        await asyncio.gather(*(wallet.prefer(method) for method in methods * 3))
        await wallet.check()
    # The last word is the last.
    for method in (methods[2], methods[0]):
        await wallet.prefer(method)
        assert await wallet.default_at_stripe() == method.stripe_payment_method_id
    await wallet.check()


async def test_a_race_of_setting_removing_and_saving_ends_as_stripe_has_it(wallet: Wallet) -> None:
    methods = [await wallet.attach(f"pm_card_{kind}") for kind in ("visa", "mastercard", "amex", "discover")]
    await asyncio.gather(
        *(wallet.prefer(method) for method in methods),
        *(wallet.detach(method) for method in methods[:2]),
        *(wallet.attach("pm_card_jcb", default=default) for default in (True, False)),
        return_exceptions=True,
    )
    await wallet.recover()
    await wallet.deliver()
    assert len(await wallet.methods()) == 4
    await wallet.check()


async def dunned(wallet: Wallet) -> Dunning:
    """A renewal that failed, and is tried again in two days."""
    async with wallet.services.database.transaction() as connection:
        subscription = await add_subscription(connection, wallet.guest, await add_plan(connection), status="PAST_DUE")
        return await add_dunning(connection, await add_invoice(connection, subscription))


async def is_due(wallet: Wallet, dunning: Dunning) -> bool:
    now = await Dunning.get(id=dunning.id)
    return now.next_attempt_at is not None and now.next_attempt_at <= wallet.clock()


async def test_another_default_has_failed_invoices_tried_at_once(wallet: Wallet) -> None:
    await wallet.attach()
    dunning = await dunned(wallet)
    second = await wallet.attach("pm_card_mastercard")
    assert not await is_due(wallet, dunning)
    await wallet.prefer(second)
    assert await is_due(wallet, dunning)
    assert (await Dunning.get(id=dunning.id)).payment_method == second.stripe_payment_method_id


async def test_a_default_that_was_set_or_renewed_past_paydesk_does_so_once(wallet: Wallet) -> None:
    first, second = await wallet.attach(), await wallet.attach("pm_card_mastercard")
    await wallet.deliver()
    dunning = await dunned(wallet)
    later = wallet.clock() + timedelta(days=2)
    customer = f"/v1/customers/{await wallet.customer()}"
    settings = {"default_payment_method": second.stripe_payment_method_id}
    await wallet.sandbox.post(customer, {"invoice_settings": settings})
    await wallet.deliver()
    assert await is_due(wallet, dunning)
    await Dunning.filter(id=dunning.id).update(next_attempt_at=later)
    await wallet.deliver()
    await wallet.sandbox.post(f"/v1/payment_methods/{first.stripe_payment_method_id}", {"card": {"exp_year": 2040}})
    await wallet.sandbox.post(customer, {"name": "Gustav"})
    await wallet.deliver()
    assert not await is_due(wallet, dunning)
    await wallet.sandbox.post(f"/v1/payment_methods/{second.stripe_payment_method_id}", {"card": {"exp_year": 2041}})
    await wallet.deliver()
    assert await is_due(wallet, dunning)


async def test_a_process_that_ends_before_it_has_told_of_a_new_default_is_made_good(wallet: Wallet) -> None:
    await wallet.attach()
    second = await wallet.attach("pm_card_mastercard")
    dunning = await dunned(wallet)
    trap = Trap()
    async with trapped(wallet.services, trap, wallet.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.SETTLED, 0))
        trap.begin()
        with pytest.raises(Crash):
            await wallet.through(services).prefer(second)
    assert (await wallet.methods())[0].id == second.id
    assert not await is_due(wallet, dunning)
    await wallet.recover()
    assert await is_due(wallet, dunning)
