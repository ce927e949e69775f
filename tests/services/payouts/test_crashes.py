"""Payouts whose process ends anywhere, or whose call goes wrong: made once, and found again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from models.money import Money
from models.operations import Operation, OperationStatus
from models.payouts import Payout, PayoutInterval, PayoutStatus
from models.webhook_events import WebhookEvent
from services.errors import InvalidInput, OperationInProgress, StripeUnavailable
from services.payouts.creation import create_payout
from services.payouts.events import payout_changed
from services.payouts.schedule import PayoutSchedule, set_payout_schedule
from services.webhooks.processing import process_due
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.payouts import receive_signed

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.payouts import Earner


async def ask(earner: Earner, services: Services, *, minor: int = 4_000) -> Any:
    """The host asks, in a process that may end."""
    return await create_payout(
        services, viewer=earner.viewer, amount=Money(minor, "USD"), instant=False, idempotency_key="once"
    )


async def made_once(earner: Earner) -> None:
    """One payout, at Stripe and here, and the ledger says so."""
    assert len(await earner.at_stripe()) == 1
    assert await Payout.all().count() == 1
    assert await earner.has() == 6_000
    assert (await earner.pots())["HOST_BALANCE"] == -4_000
    assert (await Operation.get(kind="create_payout")).status is OperationStatus.SUCCEEDED
    await earner.check()


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("event_first", [False, True])
async def test_a_process_that_ends_anywhere_leaves_one_payout(
    earner: Earner, boundary: Boundary, event_first: bool
) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        trap.begin()
        with pytest.raises(Crash):
            await ask(earner, services)
    assert trap.sprung == 1
    if event_first:
        await earner.deliver()
    await earner.recover()
    again = await earner.pay_out(4_000, key="once")
    assert again.error is None
    await earner.deliver()
    await made_once(earner)


@pytest.mark.parametrize("fault", ["rate_429", "rate_500", "reset_before", "reset_after"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_call_that_goes_wrong_is_made_good(earner: Earner, fault: str, seed: int) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.begin()
        trap.arm(Trouble.failing(fault, seed, 1))  # what is there is looked up first, and well
        with suppress(StripeUnavailable):
            await ask(earner, services)
    assert trap.sprung == 1
    await earner.recover()
    await earner.pay_out(4_000, key="once")
    await made_once(earner)


async def test_while_stripe_is_away_nothing_is_claimed(earner: Earner) -> None:
    await earner.sandbox.faults(reset_before=1.0)
    with pytest.raises(StripeUnavailable):
        await earner.pay_out(4_000, key="once")
    assert await Operation.all().count() == 0
    await earner.sandbox.heal()
    await earner.pay_out(4_000, key="once")
    await made_once(earner)


async def test_a_day_later_it_is_found_in_stripe_s_list_and_not_made_again(earner: Earner) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.CALLED, 0))
        with pytest.raises(Crash):
            await ask(earner, services)
    earner.clock.forward(seconds=25 * 3600)
    await earner.recover()
    await made_once(earner)
    assert (await Payout.get()).stripe_payout_id == (await earner.at_stripe())[0]["id"]


async def test_a_day_later_what_was_never_made_is_made(earner: Earner) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.RESERVED, 0))
        with pytest.raises(Crash):
            await ask(earner, services)
    earner.clock.forward(seconds=25 * 3600)
    await earner.recover()
    await made_once(earner)


async def test_what_the_balance_lost_meanwhile_is_refused_in_the_end(earner: Earner) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.RESERVED, 0))
        with pytest.raises(Crash):
            await ask(earner, services)
    await earner.earn(-9_000)
    await earner.recover()
    result = await earner.pay_out(4_000, key="once")
    assert isinstance(result.error, InvalidInput)
    assert result.payout.status is PayoutStatus.FAILED
    assert await earner.at_stripe() == []
    assert await earner.pots() == {}


@pytest.mark.parametrize("boundary", [Boundary.SETTLING, Boundary.SETTLED])
async def test_a_worker_that_ends_over_an_event_leaves_it_to_the_next(earner: Earner, boundary: Boundary) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "pay")
    events = await earner.events()
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.begin(settles=True)
        trap.arm(Trouble.crash(boundary, 0))
        await receive_signed(services, events[-1])
        with pytest.raises(Crash):
            await process_due(services)
    earner.clock.forward(seconds=200)
    await process_due(earner.services)
    await earner.deliver(events)
    assert await earner.causes() == ["payout", "payout_paid"]
    await earner.check()


async def test_the_answer_and_the_event_at_once_settle_it_once(earner: Earner) -> None:
    trap = Trap()
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.CALLED, 0))
        with pytest.raises(Crash):
            await ask(earner, services)
    for event in await earner.events():
        await receive_signed(earner.services, event)
    earner.clock.forward(seconds=100)
    await asyncio.gather(process_due(earner.services), earner.services.operations.recover(earner.services))
    await earner.recover()
    await made_once(earner)


async def test_events_at_once_take_a_payout_in_once(earner: Earner) -> None:
    made = await earner.sandbox.post("/v1/payouts", {"amount": 3_000, "currency": "usd"}, account=earner.stripe_account)
    await earner.sandbox.act(f"payouts/{made['id']}/pay")
    for event in await earner.events():
        await receive_signed(earner.services, event)
    await asyncio.gather(*(payout_changed(earner.services, event) for event in await WebhookEvent.all()))
    assert await Payout.all().count() == 1
    assert await earner.causes() == ["payout", "payout_paid"]
    await earner.check()


@pytest.mark.parametrize("boundary", list(Boundary))
async def test_a_schedule_whose_process_ends_is_set_in_the_end(earner: Earner, boundary: Boundary) -> None:
    trap = Trap()
    schedule = PayoutSchedule(PayoutInterval.MONTHLY, monthly_days=(1, 15))
    async with trapped(earner.services, trap, earner.sandbox) as services:
        trap.arm(Trouble.crash(boundary, 0))
        with pytest.raises(Crash):
            await set_payout_schedule(services, viewer=earner.viewer, schedule=schedule, idempotency_key="set")
    earner.clock.forward(seconds=25 * 3600 if boundary is Boundary.CALLED else 0)
    await earner.recover()
    with suppress(OperationInProgress):
        account = await set_payout_schedule(
            earner.services, viewer=earner.viewer, schedule=schedule, idempotency_key="set"
        )
    assert PayoutSchedule.of(account) == PayoutSchedule(PayoutInterval.MONTHLY, (), (1, 15), 2)
