"""The background jobs of one process. Any number of processes may run them at the same time.

The inbox is worked on as it fills; the others run at intervals. What goes wrong in one run of one job is logged, and
neither ends the job nor touches the others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from services.activity_cancellation.watching import watch_canceled
from services.activity_cancellation.working import refund_canceled
from services.audit.sealing import measure_backlog, seal_entries
from services.balances.schedule import mirror_due, mirror_latecomers
from services.billing_review import review_if_due
from services.circuit_breaker import BreakerState
from services.dunning.collection import collect
from services.exclusive import exclusively
from services.measuring import measure_cancellations, measure_debts, measure_disputes, measure_transfers
from services.pauses import backoff_s, pause
from services.payment_methods.expiry import notice_expiring
from services.payments.holds import expire_holds
from services.payments.off_session import retry_due_payments
from services.reconciliation.runs import reconcile_if_due
from services.stripe_gateway import StripeError
from services.transfers.job import release_due
from services.transfers.recovery import recover_debts
from services.webhooks.inbox import CHANNEL
from services.webhooks.processing import by_object, claim_due, process_together
from services.webhooks.sweeper import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import asyncpg

    from services.core import Services

log = structlog.get_logger("jobs")

_AT_ONCE: Final = 32
"""Events that one process handles at the same time."""
_AT_ONCE_WHILE_AWAY: Final = 2
_BACKOFF_S: Final = 1.0
_BACKOFF_AT_MOST_S: Final = 60.0
_MEASURE_EVERY_S: Final = 15.0
_MEASURE_SLOWLY_EVERY_S: Final = 60.0
_REVIEW_LOOK_EVERY_S: Final = 600.0
"""How soon a review of billing that was broken off goes on; the settings say how often one begins."""
_WATCH_CANCELED_EVERY_S: Final = 30.0
_LATECOMERS_EVERY_S: Final = 86_400.0
_RECONCILE_LOOK_EVERY_S: Final = 5.0
"""How soon a reconciliation begins that somebody asked for, or goes on that was broken off."""
_CARDS_EVERY_S: Final = 21_600.0
_CARDS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Job:
    """What is done every so many seconds."""

    name: str
    every_s: float
    run: Callable[[Services], Coroutine[Any, Any, Any]]
    grace_s: float = 0.0
    """How long a run may go on after the order to stop. None is needed for what goes on anywhere just as well."""


def periodic_jobs(services: Services) -> list[Job]:
    """All of them: a new one is a row here."""
    settings = services.settings
    grace_s = _grace_s(services)
    return [
        Job("recover", settings.recover_every_s, recover_operations, grace_s),
        Job("expire_holds", settings.expire_every_s, expire_due_holds, grace_s),
        Job("release", settings.release_every_s, release_due, grace_s),
        Job("recover_debts", settings.recover_debts_every_s, recover_debts, grace_s),
        Job("refund_canceled", settings.cancellation_every_s, refund_canceled, grace_s),
        Job("watch_canceled", _WATCH_CANCELED_EVERY_S, watch_canceled),
        Job("retry_off_session", settings.off_session_retry_every_s, retry_off_session, grace_s),
        Job("dunning", settings.dunning_every_s, collect_failed_invoices, grace_s),
        Job("sweep", settings.gap_every_s, sweep),
        Job("billing_review", min(_REVIEW_LOOK_EVERY_S, settings.billing_review_every_s), review_if_due),
        Job("mirror_balances", settings.balance_every_s, mirror_due),
        Job("mirror_latecomers", _LATECOMERS_EVERY_S, mirror_latecomers),
        Job("reconcile", min(_RECONCILE_LOOK_EVERY_S, settings.reconcile_every_s), reconcile_if_due),
        Job("seal_audit", settings.audit_seal_every_s, seal_audit),
        Job("notice_expiring_cards", _CARDS_EVERY_S, notice_expiring_cards),
        Job("measure_inbox", _MEASURE_EVERY_S, measure_inbox),
        Job("measure_operations", _MEASURE_EVERY_S, measure_operations),
        Job("measure_audit", _MEASURE_EVERY_S, measure_backlog),
        Job("measure_transfers", _MEASURE_SLOWLY_EVERY_S, measure_transfers),
        Job("measure_debts", _MEASURE_SLOWLY_EVERY_S, measure_debts),
        Job("measure_disputes", _MEASURE_SLOWLY_EVERY_S, measure_disputes),
        Job("measure_cancellations", _MEASURE_SLOWLY_EVERY_S, measure_cancellations),
    ]


async def recover_operations(services: Services) -> None:
    """Finish what other processes left unfinished."""
    services.metrics.recovered.inc(await services.operations.recover(services))


async def expire_due_holds(services: Services) -> None:
    """Give back seats whose hold ran out; one process does it for all, or they would wait for one another."""
    async with exclusively(services.database, "paydesk:expire_holds") as mine:
        if mine:
            services.metrics.expired.inc(await expire_holds(services))


async def retry_off_session(services: Services) -> None:
    """Try what was declined while its guest was away again where it is due; one process does it for all."""
    async with exclusively(services.database, "paydesk:retry_off_session") as mine:
        if mine:
            await retry_due_payments(services)


async def collect_failed_invoices(services: Services) -> None:
    """Try failed invoices again where they are due; one process does it for all."""
    async with exclusively(services.database, "paydesk:dunning") as mine:
        if mine:
            await collect(services)


async def notice_expiring_cards(services: Services) -> None:
    """Note which saved cards are about to expire, some at a time; one process does it for all."""
    async with exclusively(services.database, "paydesk:expiring_cards") as mine:
        while mine and await notice_expiring(services, limit=_CARDS_AT_ONCE) == _CARDS_AT_ONCE:
            pass


async def seal_audit(services: Services) -> None:
    """Seal what was recorded; one process does it for all."""
    async with exclusively(services.database, "paydesk:seal_audit") as mine:
        if mine:
            await seal_entries(services)


async def measure_inbox(services: Services) -> None:
    """Say how many events wait, and how long the first of them has been due."""
    now = services.clock()
    record = await services.database.pool.fetchrow(
        """
        SELECT count(*) AS waiting, min(coalesce(next_attempt_at, created_at)) AS due FROM webhook_events
        WHERE status = 'RECEIVED'
        """
    )
    assert record is not None
    services.metrics.inbox_waiting.set(record["waiting"])
    late = (now - record["due"]).total_seconds() if record["due"] is not None else 0.0
    services.metrics.inbox_oldest_s.set(max(0.0, late))


async def measure_operations(services: Services) -> None:
    """Say how many operations are unfinished, and how many wait for a person."""
    records = await services.database.pool.fetch(
        "SELECT status, count(*) AS number FROM operations WHERE status IN ('RUNNING', 'PARKED') GROUP BY status"
    )
    numbers = {record["status"]: record["number"] for record in records}
    services.metrics.operations_unfinished.set(numbers.get("RUNNING", 0))
    services.metrics.operations_parked.set(numbers.get("PARKED", 0))


async def run_worker(services: Services, stop: asyncio.Event) -> None:
    """Run all jobs until `stop` is set, then finish what is in flight."""
    log.info("jobs.started")
    async with asyncio.TaskGroup() as group:
        group.create_task(InboxWorker(services).run(stop), name="job-inbox")
        for job in periodic_jobs(services):
            group.create_task(repeat(services, job, stop), name=f"job-{job.name}")
    log.info("jobs.stopped")


async def repeat(services: Services, job: Job, stop: asyncio.Event, *, first_s: float = _BACKOFF_S) -> None:
    """Run a job again and again until `stop` is set; a failing one ever less often, from `first_s` on."""
    failures = 0
    while not stop.is_set():
        try:
            await _finished_or_stopped(job.run(services), stop, job.grace_s)
            failures = 0
        except Exception as error:  # noqa: BLE001 - the next run may go well: the job itself never ends
            failures += 1
            _log_failure(services, job.name, failures, error)
        await pause(stop, job.every_s if not failures else max(job.every_s, _delay_s(failures, first_s)))


async def _finished_or_stopped(run: Coroutine[Any, Any, Any], stop: asyncio.Event, grace_s: float) -> None:
    """Wait for a run, but no longer than the grace after the order to stop."""
    running = asyncio.ensure_future(run)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=grace_s)
    finally:
        stopping.cancel()
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


def _grace_s(services: Services) -> float:
    """Most of the time that the process has to stop in."""
    return 0.8 * services.settings.shutdown_s


def _delay_s(failures: int, first_s: float = _BACKOFF_S) -> float:
    return backoff_s(failures, first_s=first_s, at_most_s=_BACKOFF_AT_MOST_S)


def _log_failure(services: Services, job: str, failures: int, error: Exception) -> None:
    """Log the first failure of a row in full, and the rest in short, as all that comes of Stripe being away."""
    services.metrics.job_failures.labels(job).inc()
    if isinstance(error, StripeError):
        log.warning("jobs.stripe_failed", job=job, failures=failures, error=str(error))
    elif failures == 1:
        log.error("jobs.failed", job=job, exc_info=error)
    else:
        log.warning("jobs.failed_again", job=job, failures=failures, error=type(error).__name__)


class InboxWorker:
    """Handles events as they come in, several at a time.

    PostgreSQL's notification says that there are some; where it is lost they are found by looking.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._look = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._listener: asyncpg.Connection[Any] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what was claimed."""
        stopping = asyncio.create_task(self._wake_on(stop), name="inbox-stop")
        failures = 0
        try:
            while not stop.is_set():
                try:
                    await self._listen()
                    full = await self._take()
                    failures = 0
                except Exception as error:  # noqa: BLE001 - the database may be away: look again, less often
                    failures += 1
                    _log_failure(self._services, "inbox", failures, error)
                    await pause(stop, _delay_s(failures))
                    continue
                if not full:
                    await pause(self._look, self._services.settings.inbox_every_s)
        finally:
            stopping.cancel()
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=_grace_s(self._services))
                for task in late:
                    task.cancel()
            if self._listener is not None:
                self._listener.terminate()

    async def _take(self) -> bool:
        """Claim as much as there is room for and begin with it; whether there may be more to claim at once."""
        self._look.clear()
        # While Stripe is away nearly every event would only be put back: a few show when it is there again.
        reachable = self._services.stripe.breaker.state is BreakerState.CLOSED
        room = (_AT_ONCE if reachable else _AT_ONCE_WHILE_AWAY) - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return True
        events = await claim_due(self._services, room)
        for group in by_object(events):
            task = asyncio.create_task(process_together(self._services, group), name="inbox-events")
            self._running.add(task)
            task.add_done_callback(self._done)
        return reachable and len(events) == room

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # It could not even be noted what became of it: its lease ends, and it is claimed again.
            log.error("jobs.event_not_ended", exc_info=error)

    async def _listen(self) -> None:
        """Hear notifications on a connection of its own, again where it was lost."""
        if self._listener is not None and not self._listener.is_closed():
            return
        listener = await self._services.database.connect()
        await listener.add_listener(CHANNEL, self._heard)
        self._listener = listener

    def _heard(self, *_notification: object) -> None:
        self._look.set()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._look.set()
