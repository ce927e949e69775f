"""Everything at once on a guest who is nobody at Stripe yet, and a process that ends in the middle of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.operations import Operation, OperationStatus
from models.payments import PaymentStatus
from services.errors import DomainError
from services.payment_methods.setup_intents import create_setup_intent
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.wallet import Wallet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.shop import Shop


async def test_fifty_at_once_on_a_new_guest_make_one_customer(shop: Shop) -> None:
    wallet = Wallet(shop.services, shop.sandbox, shop.clock, shop.guest)
    kinds = ("visa", "mastercard", "amex", "discover", "jcb")
    made = [await wallet.made(kind) for kind in kinds]
    outcomes: list[Any] = await asyncio.gather(
        *(wallet.attach(method, default=bool(index % 2)) for index, method in enumerate(made * 4)),
        *(shop.pay(save_payment_method=True) for _ in range(20)),
        *(
            create_setup_intent(wallet.services, viewer=wallet.viewer, idempotency_key=str(uuid4()))
            for _ in range(10)
        ),
    )  # fmt: skip
    assert len(outcomes) == 50
    assert len(await wallet.customers_at_stripe()) == 1
    assert [c["id"] for c in await wallet.customers_at_stripe()] == [await wallet.customer()]
    assert all(outcome.payment.status is PaymentStatus.SUCCEEDED for outcome in outcomes[20:40])
    assert len(await wallet.methods()) == len(kinds) + 20
    assert await Operation.exclude(status=OperationStatus.SUCCEEDED).count() == 0
    await wallet.check()
    await wallet.deliver()
    await wallet.check()
    await shop.check()


async def test_the_same_asked_for_by_many_at_once_is_done_once(wallet: Wallet) -> None:
    method = await wallet.made()
    rows = await asyncio.gather(*(wallet.attach(method) for _ in range(20)))
    assert {row.id for row in rows} == {rows[0].id}
    assert len(await wallet.sandbox.requests_to(f"/v1/payment_methods/{method}/attach")) == 1
    rows = await asyncio.gather(*(wallet.detach(rows[0]) for _ in range(20)))
    assert {row.is_attached for row in rows} == {False}
    assert len(await wallet.sandbox.requests_to(f"/v1/payment_methods/{method}/detach")) == 1
    await wallet.check()


async def attach(wallet: Wallet) -> Any:
    return await wallet.attach("pm_card_amex", default=True)


async def prefer(wallet: Wallet) -> Any:
    return await wallet.prefer((await wallet.methods())[-1])


async def detach(wallet: Wallet) -> Any:
    return await wallet.detach((await wallet.methods())[0])


# The brands that are there in the end, the default first, of a Visa that was the default and a Mastercard.
_ENDS: dict[Any, list[str]] = {
    attach: ["amex", "mastercard", "visa"], prefer: ["mastercard", "visa"], detach: ["mastercard"],
}  # fmt: skip


@pytest.mark.parametrize("act", _ENDS)
@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(2))
async def test_a_process_that_ends_anywhere_leaves_nothing_half_done(
    wallet: Wallet, act: Callable[[Wallet], Awaitable[Any]], boundary: Boundary, writes: int
) -> None:
    for kind in ("visa", "mastercard"):
        await wallet.attach(f"pm_card_{kind}")
    trap = Trap()
    async with trapped(wallet.services, trap, wallet.sandbox) as services:
        trap.arm(Trouble.crash(boundary, writes))
        trap.begin()
        with suppress(Crash):
            await act(wallet.through(services))
    assert trap.sprung or writes
    for _ in range(2):
        await wallet.recover()
        assert [row.brand for row in await wallet.methods()] == _ENDS[act]
        await wallet.check()
        await wallet.deliver()


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(3))
async def test_a_new_guest_whose_first_try_died_is_one_customer_with_one_method_at_the_second(
    wallet: Wallet, boundary: Boundary, writes: int
) -> None:
    method = await wallet.made()
    trap = Trap()
    async with trapped(wallet.services, trap, wallet.sandbox) as services:
        trap.arm(Trouble.crash(boundary, writes))
        trap.begin()
        with suppress(Crash):
            await wallet.through(services).attach(method)
    assert trap.sprung
    await wallet.recover()
    assert (await wallet.attach(method)).is_default
    assert len(await wallet.customers_at_stripe()) == 1
    assert len(await wallet.methods()) == 1
    await wallet.check()


@pytest.mark.parametrize("fault", ["rate_429", "rate_500", "reset_before", "reset_after"])
@pytest.mark.parametrize("requests", range(3))
async def test_a_call_that_goes_wrong_is_made_good(wallet: Wallet, fault: str, requests: int) -> None:
    first = await wallet.attach()
    trap = Trap()
    async with trapped(wallet.services, trap, wallet.sandbox) as services:
        trap.arm(Trouble.failing(fault, 1, requests))
        trap.begin()
        for act in (wallet.through(services).attach("pm_card_amex"), wallet.through(services).detach(first)):
            with suppress(DomainError):
                await act
    await wallet.recover()
    await wallet.deliver()
    assert first.id not in {row.id for row in await wallet.methods()}
    await wallet.check()
