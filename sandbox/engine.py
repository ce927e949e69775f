"""Turns a request's work into what is stored, delivered and done later."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sandbox import clocks, discounts
from sandbox.delivery import Deliveries
from sandbox.disputes import lifecycle as disputes
from sandbox.errors import ApiError, Json
from sandbox.faults import Faults
from sandbox.invoices import close, collect, draft, settle
from sandbox.payouts import automatic, schedule
from sandbox.payouts import lifecycle as payouts
from sandbox.resources import (
    confirmation,
    early_fraud_warnings,
    onboarding,
    payment_intents,
    refund_outcomes,
    test_clocks,
    topups,
)
from sandbox.resources.account_bodies import platform_body
from sandbox.resources.payment_methods import behaviour
from sandbox.resources.webhook_endpoints import make, wants
from sandbox.store import Store
from sandbox.stored import Row, Timer
from sandbox.subscriptions import phases, renewing, schedules, timers
from sandbox.subscriptions.reminding import remind_upcoming
from sandbox.work import Origin, Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_ONLY_PLATFORM: Final = "acct_1SandboxPlatform"
_log: Final = logging.getLogger("sandbox")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where all events of the platform, or of connected accounts, are sent; a secret is made where none is given."""

    url: str
    secret: str | None
    connect: bool


@dataclass(frozen=True, slots=True)
class Options:
    """How the sandbox is run.

    Attributes:
        accounts_by_key: each secret key opens an account of its own, not all the same.
        country: of the platform.
        async_delay_s: how long a bank takes to answer.
        public_url: where the pages are, if not where the API is called.
        endpoints: are registered at the start.
    """

    data_dir: Path
    accounts_by_key: bool = False
    country: str = "US"
    async_delay_s: float = 1.0
    public_url: str | None = None
    endpoints: tuple[Endpoint, ...] = ()


class Engine:
    """The running sandbox."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.store = Store(options.data_dir / "sandbox.sqlite")
        self.faults = Faults()
        self.deliveries = Deliveries(self.store, self.faults)
        self._endpoints: dict[str, list[Json]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_set = asyncio.Event()
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._known: set[str] = set()
        self.base_url = options.public_url or ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver events and let time pass, until the end."""
        for endpoint in self.options.endpoints:
            await self._register(endpoint)
        for timer in self.store.timers():
            heapq.heappush(self._timers, (timer.due, timer.id, timer))
        tasks = [asyncio.create_task(self.deliveries.run()), asyncio.create_task(self._keep_time())]
        # After the deliveries have taken up what was left: what is made from here on comes to them as well.
        for clock in self.store.clocks():
            self._move(clock)
        try:
            yield
        finally:
            tasks += self._moving.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.store.close()

    def platform_of(self, key: str) -> str:
        """The account that a secret key opens; it is made when it is first used."""
        id_ = _ONLY_PLATFORM
        if self.options.accounts_by_key:
            id_ = f"acct_1{sha256(key.encode()).hexdigest()[:15]}"
        if id_ not in self._known:
            if self.store.row(id_) is None:
                self._make_platform(id_)
            self._plan_days(id_)
            self._known.add(id_)
        return id_

    def _plan_days(self, platform: str) -> None:
        """From the next midnight on, a day begins for a platform and its accounts."""
        if not self.store.is_planned(automatic.BEGIN_DAY, platform):
            due = schedule.next_day(int(time.time()))
            timer = self.store.add_timer(due, platform, automatic.BEGIN_DAY, platform, "")
            heapq.heappush(self._timers, (timer.due, timer.id, timer))
            self._timer_set.set()

    def _make_platform(self, id_: str) -> None:
        now = int(time.time())
        body = platform_body(id_, self.options.country, now)
        self.store.write([(id_, Row(self.store.next_seq(), "", "account", now, False, body), True)])

    def work(self, platform: str, account: str | None = None, origin: Origin | None = None, base_url: str = "") -> Work:
        """Something to do for an account."""
        now = int(time.time())
        return Work(
            store=self.store, platform=platform, account=account or platform, now=now, wall=now,
            base_url=self.options.public_url or base_url or self.base_url, async_delay_s=self.options.async_delay_s,
            origin=origin or Origin(),
        )  # fmt: skip

    def work_on(self, id_: str, base_url: str = "") -> Work | None:
        """Something to do with an object, for the account that has it; None where there is no such object."""
        row = self.store.row(id_)
        if row is None:
            return None
        return self._work_of(row.body["id"] if row.account == "" else row.account, base_url)

    def _work_of(self, account: str, base_url: str = "") -> Work:
        row = self.store.row(account)
        owner = row.body.get("_owner") if row is not None else None
        return self.work(owner or account, account, base_url=base_url)

    async def finish(self, work: Work) -> None:
        """Store all that was done, and come back when it is on disk."""
        if not (work.rows or work.events or work.timers or work.appointments or work.cancelled):
            await self.store.committed()
            return
        now = time.time()
        deliveries = []
        for index, event in enumerate(work.events):
            endpoints = self._listening(work.platform, event.type, of_connected=event.account != work.platform)
            if endpoints:
                work.events[index] = replace(event, body=_pending(event.body, len(endpoints)))
                deliveries += [self.store.add_delivery(event.id, endpoint, now) for endpoint in endpoints]
        work.write()
        timers = [self.store.add_timer(now + delay, *what) for delay, *what in work.timers]
        for made in work.appointments:
            timer = self.store.add_timer(made.due, made.account, made.action, made.subject, made.clock)
            if made.clock == "":
                timers.append(timer)
            else:
                self._move(made.clock)
        if any(row.kind == "webhook_endpoint" for row in work.rows.values()):
            self._endpoints.pop(work.platform, None)
        await self.store.committed()
        self.deliveries.add(deliveries)
        for timer in timers:
            heapq.heappush(self._timers, (timer.due, timer.id, timer))
            self._timer_set.set()

    def _listening(self, platform: str, type_: str, *, of_connected: bool) -> list[str]:
        endpoints = self._endpoints.get(platform)
        if endpoints is None:
            endpoints = [row.body for row in self.store.rows(platform, "webhook_endpoint")]
            self._endpoints[platform] = endpoints
        return [body["id"] for body in endpoints if wants(body, type_, of_connected=of_connected)]

    async def deliver_again(self, event_id: str) -> bool:
        """Send an event once more to all endpoints that want it; False if there is no such event."""
        event = self.store.event(event_id)
        if event is None:
            return False
        account = self.store.row(event.account)
        platform = (account.body.get("_owner") if account is not None else None) or event.account
        endpoints = self._listening(platform, event.type, of_connected=event.account != platform)
        deliveries = [self.store.add_delivery(event_id, endpoint, time.time()) for endpoint in endpoints]
        await self.store.committed()
        self.deliveries.add(deliveries)
        return True

    async def _register(self, endpoint: Endpoint) -> None:
        """In place of one that was registered with this URL before."""
        platform = self.platform_of("sk_test_sandbox")
        work = self.work(platform)
        for known in work.listed("webhook_endpoint"):
            if known["url"] == endpoint.url and known["_connect"] == endpoint.connect:
                body = work.edit("webhook_endpoint", known["id"])
                body["_secret"] = endpoint.secret or body["_secret"]
                break
        else:
            make(work, endpoint.url, ["*"], connect=endpoint.connect, secret=endpoint.secret)
        await self.finish(work)

    async def _keep_time(self) -> None:
        while True:
            self._timer_set.clear()
            while self._timers and self._timers[0][0] <= time.time():
                await self._ring(heapq.heappop(self._timers)[2])
            timeout = self._timers[0][0] - time.time() if self._timers else None
            # Not wait_for, which loses the end of the sandbox where that comes together with a timer.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._timer_set.wait()

    async def _ring(self, timer: Timer) -> None:
        if timer.action == clocks.START:
            self._move(timer.subject)
            return
        # What was scheduled for a date may have been called off.
        if timer.clock is not None and not self.store.has_timer(timer.id):
            return
        work = self._work_of(timer.account)
        try:
            ACTIONS[timer.action](work, timer.subject)
        except ApiError as refusal:
            # What was to happen may have happened by other means.
            if not refusal.keeps_changes:
                work = self._work_of(timer.account)
        except Exception as mistake:  # noqa: BLE001 -- time goes on, and the log says what did not happen
            _log.error("%s of %s failed", timer.action, timer.subject, exc_info=mistake)
            work = self._work_of(timer.account)
        self.store.forget_timer(timer.id)
        await self.finish(work)

    def _move(self, clock: str) -> None:
        """Have all happen that is due by a clock, unless that is under way."""
        if clock not in self._moving:
            self._moving[clock] = asyncio.create_task(self._keep_time_of(clock))

    def is_moving(self, clock: str) -> bool:
        """Whether something that is due by a clock is yet to happen."""
        return clock in self._moving

    async def _keep_time_of(self, id_: str) -> None:
        """Do what is due by a clock, one after the other, until it is where it was to go."""
        try:
            while (row := self.store.row(id_)) is not None and row.listed:
                work, status = self._work_of(row.account), row.body["status"]
                until = clocks.target_of(row.body) if status == "advancing" else row.body["frozen_time"]
                timer = self.store.first_timer(id_, until)
                if timer is not None:
                    work = self._act_in_time_of(id_, timer, work)
                    self.store.forget_timer(timer.id)
                elif status == "advancing":
                    clocks.arrive(work, id_)
                else:
                    break
                await self.finish(work)
        finally:
            del self._moving[id_]

    def _act_in_time_of(self, clock: str, timer: Timer, work: Work) -> Work:
        clocks.move(work, clock, int(timer.due))
        try:
            ACTIONS[timer.action](work, timer.subject)
        except ApiError as refusal:
            if not refusal.keeps_changes:
                work = self._work_of(timer.account)
                clocks.move(work, clock, int(timer.due))
        except Exception as mistake:  # noqa: BLE001 -- the clock says that it has failed, as Stripe's does
            _log.error("%s of %s failed at %s", timer.action, timer.subject, timer.due, exc_info=mistake)
            work = self._work_of(timer.account)
            clocks.break_down(work, clock)
        return work


def _pending(body: bytes, count: int) -> bytes:
    head, _, tail = body.rpartition(b'"pending_webhooks":0')
    return head + b'"pending_webhooks":%d' % count + tail


def _settle_intent(work: Work, id_: str) -> None:
    intent = work.edit("payment_intent", id_)
    test = behaviour(work.get("payment_method", intent["payment_method"] or ""))
    confirmation.settled(work, intent, None if test.settles == "succeeds" else test.settles)


def _expire(work: Work, id_: str) -> None:
    intent = work.edit("payment_intent", id_)
    if intent["status"] == "requires_capture":
        payment_intents.cancel_intent(work, intent, "automatic")


def _settle_refund(work: Work, id_: str) -> None:
    refund_outcomes.succeed(work, id_)


def _fail_refund(work: Work, id_: str) -> None:
    refund_outcomes.fail(work, id_)


ACTIONS: Final[dict[str, Callable[[Work, str], None]]] = {
    "settle_charge": confirmation.late_settlement,
    "settle_intent": _settle_intent,
    "settle_refund": _settle_refund,
    "fail_refund": _fail_refund,
    "expire_authorization": _expire,
    "pass_deadline": onboarding.pass_deadline,
    "delete_test_clock": test_clocks.expire,
    "open_dispute": disputes.open_by_card,
    "decide_dispute": disputes.decide_by_evidence,
    "pass_dispute_deadline": disputes.pass_deadline,
    "warn_of_fraud": early_fraud_warnings.open_by_card,
    "send_payout": payouts.send,
    "land_payout": payouts.land,
    "settle_topup": topups.settle,
    automatic.BEGIN_DAY: automatic.begin_day,
    automatic.OPEN_ACCOUNT: automatic.open_account,
    "end_discount": discounts.end,
    draft.FINALIZE: collect.advance,
    settle.RETRY: collect.retry,
    settle.DUE: collect.fall_due,
    settle.RELEASE: close.release,
    timers.REMIND_UPCOMING: remind_upcoming,
    phases.NEXT: schedules.next_phase,
    phases.EXPIRING: schedules.remind,
    **renewing.ACTIONS,
}
