"""The background jobs: each by itself, none ended by a failure, all ended by the order to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from services.exclusive import exclusively
from services.jobs import Job, measure_inbox, repeat, run_worker
from tests.services.webhooks.conftest import Clock, ScriptedStripe, make_event
from tests.services.webhooks.test_inbox import deliver

if TYPE_CHECKING:
    from services.core import Services
    from services.database import Database


async def test_a_job_that_fails_runs_again_and_is_logged_in_full_once(services: Services) -> None:
    runs = 0
    stop = asyncio.Event()

    async def fail(_services: Services) -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            stop.set()
        raise RuntimeError("broken")

    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(repeat(services, Job("broken", 0.01, fail), stop, first_s=0.01), 10)
    assert [line["event"] for line in logs] == ["jobs.failed", "jobs.failed_again", "jobs.failed_again"]
    assert services.metrics.registry.get_sample_value("paydesk_job_failures_total", {"job": "broken"}) == 3


async def test_what_can_go_on_anywhere_is_left_at_once_and_the_rest_is_finished(services: Services) -> None:
    stop = asyncio.Event()
    finished = []

    async def work(_services: Services) -> None:
        stop.set()
        await asyncio.sleep(0.1)
        finished.append(True)

    await asyncio.wait_for(repeat(services, Job("patient", 60, work, grace_s=5), stop), 10)
    assert finished == [True]
    stop.clear()
    await asyncio.wait_for(repeat(services, Job("interruptible", 60, work), stop), 10)
    assert finished == [True]


async def test_all_jobs_run_and_stop_promptly(services: Services, scripted: ScriptedStripe) -> None:
    scripted.answers["/v1/events"] = [{"object": "list", "data": [], "has_more": False}]
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(services, stop))
    async with asyncio.timeout(10):
        while not scripted.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(worker, 5)
    for job in ("recover", "expire_holds", "sweep", "measure_inbox", "inbox"):
        assert not services.metrics.registry.get_sample_value("paydesk_job_failures_total", {"job": job})


async def test_what_waits_in_the_inbox_is_measured(services: Services, clock: Clock) -> None:
    await deliver(services, make_event())
    clock.pass_(minutes=5)
    await measure_inbox(services)
    registry = services.metrics.registry
    assert registry.get_sample_value("paydesk_inbox_waiting") == 1
    assert 299 <= (registry.get_sample_value("paydesk_inbox_oldest_seconds") or 0) <= 301


async def test_only_one_holds_a_lock_and_it_is_free_once_its_holder_is_gone(database: Database) -> None:
    async with exclusively(database, "a") as first, exclusively(database, "a") as second:
        assert (first, second) == (True, False)
        async with exclusively(database, "b") as other:
            assert other
    async with exclusively(database, "a") as again:
        assert again
