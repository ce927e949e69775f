"""Processes that end, and calls that go wrong, between the steps of a release: each host is sent theirs once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from models.operations import Operation, OperationStatus
from models.payments import Payment
from models.transfers import Transfer, TransferStatus
from services.errors import DomainError
from services.transfers.job import release_some
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.hosts import Hosts, shares

if TYPE_CHECKING:
    from services.stripe_requests import StripeRequest
    from tests.support.shop import Shop

# The payment's own call and transaction, what is planned, and a call and a transaction for each host.
TROUBLES = [
    *((boundary, at) for boundary in (Boundary.RESERVED, Boundary.CALLED) for at in range(3)),
    *((boundary, at) for boundary in (Boundary.SETTLING, Boundary.SETTLED) for at in range(4)),
]


async def goes_on(shop: Shop, hosts: Hosts) -> None:
    """Other processes take over, in whatever time it takes."""
    await shop.recover()
    await hosts.work(hours=1)
    await shop.recover()
    await hosts.work(hours=30)
    await shop.recover()


@pytest.mark.parametrize(("boundary", "at"), TROUBLES)
async def test_a_process_that_ends_while_hosts_are_paid_leaves_the_same(
    shop: Shop, hosts: Hosts, boundary: Boundary, at: int
) -> None:
    other, trap = await hosts.add(), Trap()
    async with trapped(shop.services, trap, shop.sandbox) as trapping:
        there = replace(shop, services=trapping)
        trap.arm(Trouble.crash(boundary, at + 1 if boundary in {Boundary.RESERVED, Boundary.CALLED} else at))
        trap.begin()
        with suppress(Crash):
            # A guest who is no customer yet: making one is the first call.
            await there.pay(splits=shares((shop.host, "0.5"), (other, "0.5")))
    assert trap.sprung == 1
    await goes_on(shop, hosts)
    payment = await Payment.get()
    assert await hosts.sent_to(payment, shop.host, other) == [900, 900]
    assert await Transfer.filter(status=TransferStatus.PAID).count() == 2
    await shop.deliver_all(payment)
    await hosts.check(payment)


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("at", [0, 1])
async def test_a_job_that_ends_anywhere_is_done_by_the_next(
    shop: Shop, hosts: Hosts, boundary: Boundary, at: int
) -> None:
    late, trap = [await hosts.add(ready=False) for _ in range(2)], Trap()
    payment = await shop.paid(splits=shares((late[0], "0.5"), (late[1], "0.5")))
    for host in late:
        await hosts.onboard(host)
    async with trapped(shop.services, trap, shop.sandbox) as trapping:
        trap.arm(Trouble.crash(boundary, at))
        trap.begin(settles=True)
        with suppress(Crash):
            await release_some(trapping)
    assert trap.sprung == 1
    await goes_on(shop, hosts)
    assert await hosts.sent_to(payment, *late) == [900, 900]
    assert await Transfer.all().count() == 2
    await hosts.check(payment)


@pytest.mark.parametrize("fault", ["rate_500", "reset_before", "reset_after", "rate_429"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_an_answer_that_is_lost_is_found(shop: Shop, hosts: Hosts, fault: str, seed: int, at: int) -> None:
    other, trap = await hosts.add(), Trap()
    async with trapped(shop.services, trap, shop.sandbox) as trapping:
        there = replace(shop, services=trapping)
        trap.arm(Trouble.failing(fault, seed, at))
        trap.begin()
        with suppress(DomainError):
            await there.pay(splits=shares((shop.host, "0.5"), (other, "0.5")))
    await goes_on(shop, hosts)
    payment = await Payment.get()
    assert await hosts.sent_to(payment, shop.host, other) == [900, 900]
    await hosts.check(payment)


async def test_a_transfer_whose_key_stripe_forgot_is_found_in_its_group(shop: Shop, hosts: Hosts) -> None:
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as trapping:
        trap.arm(Trouble.crash(Boundary.CALLED, 2))
        trap.begin()
        with suppress(Crash):
            await replace(shop, services=trapping).pay(splits=shares((shop.host, "1")))
    payment = await Payment.get()
    assert await hosts.sent_to(payment, shop.host) == [1800]
    assert await Operation.filter(kind="send_transfer", status=OperationStatus.RUNNING).count() == 1
    shop.clock.forward(hours=30)
    await shop.recover()
    assert await hosts.sent_to(payment, shop.host) == [1800]
    assert (await Transfer.get()).status is TransferStatus.PAID
    await hosts.check(payment)


class Broken:
    """The way to Stripe, which has a bug of its own for each of these accounts."""

    def __init__(self, stripe: Any, *accounts: str) -> None:
        self._stripe = stripe
        self._accounts = accounts

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        """As the gateway's."""
        for account in self._accounts:
            if request.method == "post" and account in request.body:
                raise RuntimeError(account)
        return await self._stripe.send(request, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)


async def test_what_goes_wrong_with_some_transfers_hides_none_of_them_and_keeps_no_other(
    shop: Shop, hosts: Hosts
) -> None:
    others = [await hosts.add() for _ in range(2)]
    broken = [str((await hosts.account(host)).stripe_account_id) for host in others]
    with structlog.testing.capture_logs() as logs:
        payment = await shop.through(Broken(shop.services.stripe, *broken)).paid(
            splits=shares((others[0], "0.3"), (others[1], "0.3"), (shop.host, "0.4"))
        )
    failed = [entry for entry in logs if entry["event"] == "transfers.send_failed"]
    unsent = await Transfer.filter(status=TransferStatus.PLANNED)
    assert sorted(entry["transfer"] for entry in failed) == sorted(str(transfer.id) for transfer in unsent)
    assert len(failed) == 2
    assert {entry["log_level"] for entry in failed} == {"error"}
    assert await hosts.sent_to(payment, *others, shop.host) == [0, 0, 720]
    await shop.recover()
    assert await hosts.sent_to(payment, *others, shop.host) == [540, 540, 720]
    await hosts.check(payment)
