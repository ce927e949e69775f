"""Runs: one at a time, each night, gone on with wherever they were broken off."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from models.base import new_id
from models.reconciliations import Drift, ReconciliationRun
from models.webhook_events import WebhookEvent
from services.exclusive import exclusively
from services.reconciliation import runs
from services.reconciliation.runs import Progress, RunUnderWayError, begin, reconcile, reconcile_if_due
from services.stripe_gateway import StripeUnknownOutcome
from tests.services.reconciliation.test_charges import change
from tests.support.audit import tampering
from tests.support.generated_books import GeneratedBooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.core import Services
    from services.stripe_gateway import StripeGateway
    from services.stripe_requests import StripeRequest
    from tests.services.reconciliation.conftest import Books
    from tests.support.clock import Clock
    from tests.support.shop import Shop


class Breaking:
    """A way to Stripe that breaks off after so many lists or objects."""

    def __init__(self, stripe: Any, after: int) -> None:
        self._stripe = stripe
        self._left = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stripe, name)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise StripeUnknownOutcome("no answer")

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        self._count()
        return await self._stripe.send(request, **options)

    async def list_all(self, request: StripeRequest, **options: Any) -> AsyncIterator[dict[str, Any]]:
        self._count()
        async for each in self._stripe.list_all(request, **options):
            yield each


async def test_a_run_that_is_broken_off_again_and_again_counts_everything_once(shop: Shop, books: Books) -> None:
    payments = [await shop.paid() for _ in range(3)]
    await shop.refund(payments[0], 300)
    whole = await books.agree()
    await change(shop, payments[1], "status = 'PARTIALLY_REFUNDED'")
    now = shop.clock()
    run = await begin(shop.services, now - timedelta(days=1), now, requested_by="test")
    assert run is not None
    broken, finished = 0, None
    for after in range(1, 60):
        try:
            finished = await reconcile(shop.through(Breaking(shop.services.stripe, after)).services)
        except StripeUnknownOutcome:
            broken += 1
            continue
        break
    assert finished is not None
    assert broken > 3
    assert (finished.id, finished.checked, finished.matched) == (run.id, whole, whole - 1)
    assert (Progress.of(finished).accounts_done, Progress.of(finished).accounts) == (2, 2)
    assert await Drift.filter(run_id=run.id).count() == 1


async def test_one_process_runs_at_a_time_and_one_run(shop: Shop, services: Services) -> None:
    now = shop.clock()
    first = await begin(services, now - timedelta(days=1), now, requested_by="test")
    assert first is not None
    assert await begin(services, now - timedelta(days=2), now, requested_by="test") is None
    async with exclusively(services.database, "paydesk:reconciliation"):
        with pytest.raises(RunUnderWayError):
            await reconcile(services)
        assert await reconcile_if_due(services) is None
    assert (await reconcile(services)) is not None
    assert await reconcile(services) is None


async def test_the_night_s_run_comes_once_and_what_was_asked_for_at_once(services: Services, clock: Clock) -> None:
    first = await reconcile_if_due(services)
    assert first is not None
    assert first.requested_by == runs.ACTOR
    assert first.to_at - first.from_at == timedelta(days=services.settings.reconcile_days)
    assert await reconcile_if_due(services) is None
    asked = await begin(services, clock() - timedelta(days=1), clock(), requested_by="admin:anna")
    done = await reconcile_if_due(services)
    assert asked is not None
    assert done is not None
    assert done.id == asked.id
    assert await reconcile_if_due(services) is None
    clock.forward(seconds=services.settings.reconcile_every_s + 1)
    assert (await reconcile_if_due(services)) is not None
    assert await ReconciliationRun.all().count() == 3


async def test_progress_is_told_as_it_goes(shop: Shop, books: Books) -> None:
    await shop.paid()
    shop.clock.forward(hours=2)
    now = shop.clock()
    await begin(shop.services, now - timedelta(days=1), now, requested_by="test")
    told: list[tuple[str, str, int]] = []
    await reconcile(
        shop.services,
        progress=lambda run: told.append((Progress.of(run).account, Progress.of(run).kind, run.checked)),
    )
    account = str(shop.account.stripe_account_id)
    kinds = list(dict.fromkeys((place, kind) for place, kind, _ in told))
    assert kinds == [
        ("", "charge"), ("", "refund"), ("", "transfer"), ("", "payout"), ("", "dispute"), ("", "balance_transaction"),
        (account, "payout"), (account, "balance_transaction"),
    ]  # fmt: skip
    counts = [checked for _, _, checked in told]
    assert counts == sorted(counts)
    assert counts[-1] >= 5


async def test_what_is_on_its_way_here_is_no_drift(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await change(shop, payment, "status = 'PARTIALLY_REFUNDED'")
    await WebhookEvent.create(
        id=new_id(), stripe_event_id="evt_waiting", stripe_created_at=shop.clock(), type="charge.updated",
        payload={"data": {"object": {"id": payment.stripe_charge_id}}},
    )  # fmt: skip
    await books.agree()
    await WebhookEvent.all().update(status="PROCESSED")
    assert len(await books.drifts()) == 1


async def test_memory_does_not_grow_with_what_is_compared(services: Services, clock: Clock) -> None:
    """Ten times as many take no more of it; `python -m benchmarks.reconciliation` compares a million."""
    peaks = []
    for count in (1_000, 10_000):
        since = int(clock().timestamp()) - 86_400
        books = GeneratedBooks(services.stripe, count=count, since=since)
        async with services.database.pool.acquire() as connection:
            await connection.execute("TRUNCATE balance_transactions, balance_watermarks")
            async with tampering(connection):
                await connection.execute("DELETE FROM ledger_postings")
                await connection.execute("DELETE FROM ledger_transactions")
            await books.fill(connection)
        await begin(services, datetime.fromtimestamp(since, UTC), clock(), requested_by="test")
        tracemalloc.start()
        run = await reconcile(replace(services, stripe=cast("StripeGateway", books)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert run is not None
        assert (run.checked, run.matched) == (count, count)
    assert peaks[1] < peaks[0] * 1.5
