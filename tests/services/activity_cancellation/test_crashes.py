"""A process that ends, or a Stripe that does not answer, in the middle of a cancellation: nobody is refunded twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models.activity_cancellations import CancellationOutcome, CancellationStatus
from models.refunds import Refund
from services.cancellation import end_tasks
from tests.support.calling_off import CallingOff
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from tests.support.shop import Shop


async def until_it_ends(off: CallingOff) -> None:
    """A run of the job whose process ends on the way."""
    before = asyncio.all_tasks()
    with pytest.raises(BaseExceptionGroup) as ended:
        await off.work()
    assert ended.value.subgroup(Crash) is not None
    await end_tasks([task for task in asyncio.all_tasks() - before if task.get_name() == "cancellation-item"])


@pytest.mark.parametrize("boundary", list(Boundary), ids=lambda boundary: boundary.name.lower())
async def test_a_killed_process_is_carried_on_without_refunding_anybody_twice(
    shop: Shop, off: CallingOff, boundary: Boundary
) -> None:
    payments = [await shop.paid() for _ in range(5)]
    unpaid = (await shop.pay("pm_card_authenticationRequired")).payment
    await off.begin()
    trap = Trap()
    # Few at once, for what is in flight when a process ends is left to the recovery: the next one has to find some.
    settings = shop.services.settings.model_copy(update={"cancellation_at_once": 2})
    async with trapped(replace(shop.services, settings=settings), trap, shop.sandbox) as services:
        dying = CallingOff(replace(shop, services=services))
        for calls in (1, 2):
            trap.arm(Trouble.crash(boundary, calls))
            await until_it_ends(dying)
            shop.clock.forward(seconds=5)
    assert trap.sprung == 2
    ended = await off.finish()
    assert (ended.status, ended.total, ended.done, ended.failed) == (CancellationStatus.FINISHED, 6, 6, 0)
    for payment in payments:
        assert await off.outcome(payment) is CancellationOutcome.REFUNDED
        assert await off.refunds_at_stripe(payment) == [2000]
    assert await off.outcome(unpaid) is CancellationOutcome.CANCELED
    assert await Refund.all().count() == 5
    await shop.check()


@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_500", "rate_429"])
async def test_answers_that_are_lost_delay_refunds_and_repeat_none(shop: Shop, off: CallingOff, fault: str) -> None:
    payments = [await shop.paid() for _ in range(6)]
    await off.begin()
    await shop.sandbox.faults(seed=3, **{fault: 0.5})
    await off.work()
    await shop.sandbox.heal()
    ended = await off.finish()
    assert (ended.done, ended.failed) == (6, 0)
    for payment in payments:
        assert await off.refunds_at_stripe(payment) == [2000]
    assert await Refund.all().count() == 6
    await shop.check()


async def test_two_processes_share_no_guest(shop: Shop, off: CallingOff) -> None:
    payments = [await shop.paid() for _ in range(6)]
    await off.begin()
    await asyncio.gather(off.work(), off.work(), off.work())
    await off.finish()
    for payment in payments:
        assert await off.refunds_at_stripe(payment) == [2000]
    assert await Refund.all().count() == 6
