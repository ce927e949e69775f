"""Processes that end in the middle of dunning: nothing is tried twice, nothing is left undone."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from models.dunning import DunningStatus
from models.invoices import InvoiceStatus
from models.subscriptions import BillingSubscriptionStatus
from services.dunning.collection import collect
from settings import DunningEnd
from tests.services.dunning.conftest import in_debt, with_settings
from tests.support.billing import DAY
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from services.core import Services
    from tests.services.dunning.conftest import Debtor
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

# Stripe's retries are stopped, one try is made, and the end takes two calls, or one where it is left unpaid.
TROUBLES = [
    *((boundary, writes, DunningEnd.CANCEL) for boundary in Boundary for writes in range(4)),
    *((boundary, 2, DunningEnd.UNPAID) for boundary in Boundary),
]


async def work(debtor: Debtor, services: Services, trap: Trap) -> None:
    """The job, which may end with its process; then other processes go on."""
    trap.begin(settles=True)
    with suppress(Crash):
        await collect(services)
    for _ in range(3):
        debtor.guest.clock.forward(seconds=120)
        await debtor.services.operations.recover(debtor.services)


@pytest.mark.parametrize(("boundary", "writes", "end"), TROUBLES)
async def test_a_process_that_ends_anywhere_leaves_the_same(
    services: Services, sandbox: Sandbox, clock: Clock, boundary: Boundary, writes: int, end: DunningEnd
) -> None:
    debtor = await in_debt(with_settings(services, dunning_days=(2,), dunning_end=end), sandbox, clock)
    await debtor.renewal_fails()
    trap = Trap()
    async with trapped(debtor.services, trap, sandbox) as trapping:
        trap.arm(Trouble.crash(boundary, writes))
        await work(debtor, trapping, trap)
        await debtor.guest.let_pass(2 * DAY)
        for _ in range(3):
            await work(debtor, trapping, trap)
    assert trap.sprung == 1
    await debtor.guest.deliver()
    # The first month's, the renewal's, and one try.
    assert len(await debtor.charges()) == 3
    dunning = await debtor.dunning()
    assert (dunning.status, dunning.retries) == (DunningStatus.EXHAUSTED, 1)
    cancels = end is DunningEnd.CANCEL
    assert (await debtor.invoice()).status is (InvoiceStatus.UNCOLLECTIBLE if cancels else InvoiceStatus.OPEN)
    wanted = BillingSubscriptionStatus.CANCELED if cancels else BillingSubscriptionStatus.UNPAID
    assert (await debtor.subscription()).status is wanted
    assert await debtor.told() == ["failed", "failed", "exhausted"]
    await debtor.rests()


@pytest.mark.parametrize("boundary", list(Boundary))
async def test_a_try_that_is_paid_while_its_process_ends_is_paid_once(
    debtor: Debtor, sandbox: Sandbox, boundary: Boundary
) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.let_pass(2 * DAY)
    await debtor.behaves_as("pm_card_visa")
    trap = Trap()
    async with trapped(debtor.services, trap, sandbox) as trapping:
        trap.arm(Trouble.crash(boundary, 0))
        await work(debtor, trapping, trap)
        await work(debtor, trapping, trap)
    assert trap.sprung == 1
    await debtor.guest.deliver()
    assert sum(charge["paid"] for charge in await debtor.charges()) == 2
    assert (await debtor.dunning()).status is DunningStatus.RECOVERED
    assert (await debtor.subscription()).status is BillingSubscriptionStatus.ACTIVE
    await debtor.rests()


@pytest.mark.parametrize("fault", ["rate_500", "reset_before", "reset_after", "rate_429"])
async def test_calls_that_go_wrong_change_nothing_of_it(debtor: Debtor, sandbox: Sandbox, fault: str) -> None:
    await debtor.renewal_fails()
    await debtor.work()
    await debtor.guest.let_pass(2 * DAY)
    await sandbox.faults(**{fault: 1.0})
    await collect(debtor.services)
    await sandbox.heal()
    for _ in range(4):
        debtor.guest.clock.forward(seconds=700)
        await debtor.services.operations.recover(debtor.services)
        await collect(debtor.services)
    assert len(await debtor.charges()) == 3
    assert (await debtor.dunning()).retries == 1
    await debtor.guest.deliver()
    await debtor.rests()
