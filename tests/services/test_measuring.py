"""What operators are told of money that somebody waits for: as much as there is, and nothing once there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from models.disputes import Dispute
from services.jobs import periodic_jobs
from services.measuring import measure_cancellations, measure_debts, measure_disputes, measure_transfers
from tests.services.activity_cancellation.test_failures import decide, dispute
from tests.services.refunds.test_separate_refunds import add_protected, pay_out, shared
from tests.support.calling_off import CallingOff
from tests.support.disputing import Disputing
from tests.support.hosts import Hosts, shares

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.shop import Shop


@pytest.fixture
def hosts(shop: Shop) -> Hosts:
    """The shop's host and others."""
    return Hosts(shop)


def value(shop: Shop, name: str, **labels: str) -> float | None:
    """What Prometheus is told; None where there is no such line."""
    return shop.services.metrics.registry.get_sample_value(f"paydesk_{name}", labels)


def test_all_is_measured_by_jobs(services: Services) -> None:
    jobs = {job.run for job in periodic_jobs(services)}
    assert {measure_transfers, measure_debts, measure_disputes, measure_cancellations} <= jobs


async def test_parts_that_are_due_and_not_looked_at_are_counted_with_their_age(shop: Shop, hosts: Hosts) -> None:
    unready = await hosts.add(ready=False)
    await shop.paid(splits=shares((unready, "1")))
    await measure_transfers(shop.services)
    assert (value(shop, "transfers_overdue"), value(shop, "transfers_overdue_oldest_seconds")) == (0, 0)

    shop.clock.forward(hours=26)  # and the job has not run
    await measure_transfers(shop.services)
    assert value(shop, "transfers_overdue") == 1
    assert 7100 <= (value(shop, "transfers_overdue_oldest_seconds") or 0) <= 7300

    await hosts.work()
    await measure_transfers(shop.services)
    assert (value(shop, "transfers_overdue"), value(shop, "transfers_refused")) == (0, 0)


async def test_parts_that_stripe_refuses_to_send_are_counted_once_until_they_are_sent(
    shop: Shop, hosts: Hosts
) -> None:
    other = await hosts.add()
    id_ = (await hosts.account(other)).stripe_account_id
    await shop.sandbox.act(f"accounts/{id_}/restrict")
    await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")))
    await hosts.work(hours=1.1)
    await measure_transfers(shop.services)
    assert value(shop, "transfers_refused") == 1

    await shop.sandbox.act(f"accounts/{id_}/enable")
    await hosts.work(hours=25)
    await measure_transfers(shop.services)
    assert value(shop, "transfers_refused") == 0


async def test_what_hosts_owe_is_told_by_currency_until_it_is_paid(shop: Shop, hosts: Hosts) -> None:
    host = await add_protected(shop)
    payment = await shared(shop, host)
    await pay_out(shop, hosts, host, 900)
    await measure_debts(shop.services)
    assert value(shop, "indebted_hosts", currency="USD") is None

    await shop.refund(payment, 1000)
    await measure_debts(shop.services)
    assert value(shop, "indebted_hosts", currency="USD") == 1
    assert value(shop, "host_debts_minor_units", currency="USD") == 450

    await shared(shop, host)
    await measure_debts(shop.services)
    assert value(shop, "indebted_hosts", currency="USD") is None
    assert value(shop, "host_debts_minor_units", currency="USD") is None


async def test_disputes_are_counted_by_how_near_their_deadline_is_while_they_can_be_answered(shop: Shop) -> None:
    disputing = Disputing(shop)
    first = await disputing.disputed(await shop.paid())
    await disputing.disputed(await shop.paid())
    now = shop.clock()
    await Dispute.filter(id=first.id).update(evidence_due_by=now + timedelta(days=2))

    async def counted(*, days: int = 0) -> tuple[float | None, float | None]:
        services = replace(shop.services, clock=lambda: now + timedelta(days=days))
        await measure_disputes(services)
        return value(shop, "disputes_unanswered", deadline="soon"), value(shop, "disputes_unanswered", deadline="later")

    assert await counted() == (1, 1)
    assert await counted(days=3) == (0, 1)  # too late for the first
    await disputing.decide(first, "lost")
    assert await counted() == (0, 1)


async def test_guests_who_could_not_be_refunded_are_counted_until_they_were(shop: Shop) -> None:
    off = CallingOff(shop)
    payment = await shop.paid()
    await dispute(shop, payment)
    await off.begin()
    await off.finish()
    await measure_cancellations(shop.services)
    assert value(shop, "cancellation_items_failed") == 1

    await decide(shop, payment, "WON", 0)
    await off.watch()
    await off.finish()
    await measure_cancellations(shop.services)
    assert value(shop, "cancellation_items_failed") == 0
