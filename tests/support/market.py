"""A market in which anything may happen: guests, hosts, banks, Stripe's dashboard, lost answers and ended processes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import orjson
from pydantic import SecretStr

from models.money import Money
from models.payments import Payment, PaymentStatus
from models.refunds import Refund
from models.rsvps import Rsvp
from services.cancellation import end_tasks
from services.disputes.submission import AnsweredDispute
from services.errors import DomainError, IdempotencyKeyReused, OperationInProgress, StripeUnavailable
from services.payments.actions import cancel_payment, capture_payment, retry_payment
from services.payments.holds import expire_holds
from services.payments.pay import pay_for_activity
from services.payments.result import PaymentResult
from services.payouts.creation import PayoutResult
from services.refunds.creation import refund_payment
from services.rsvps import CanceledRsvp, cancel_rsvp
from services.stripe_gateway import StripeNotSent, StripeUnknownOutcome
from services.viewer import Role, Viewer
from services.webhooks.handlers import EventSource, handler_of
from services.webhooks.inbox import receive
from services.webhooks.processing import process_due
from services.webhooks.sweeper import sweep
from services.wiring import open_services
from tests.support.agreement import assert_agreement, assert_always
from tests.support.crashes import Crash, Trap, trapped
from tests.support.rows import add_account, add_activity, add_user
from tests.support.sandbox import RefusedError, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from models.activities import Activity
    from services.core import Services
    from settings import Settings

_PASSING = (StripeUnavailable.__name__, OperationInProgress.__name__)

GROW_OLDER = (
    "UPDATE operations SET created_at = created_at - $1::interval, leased_until = leased_until - $1::interval",
    "UPDATE operation_steps SET created_at = created_at - $1::interval",
    "UPDATE rsvps SET hold_expires_at = hold_expires_at - $1::interval",
    "UPDATE webhook_events SET created_at = created_at - $1::interval",
    "UPDATE webhook_events SET next_attempt_at = next_attempt_at - $1::interval",
)


@dataclass(slots=True)
class Asked:
    """What a client asked for, the same with other arguments, and what it was told for good."""

    ask: Callable[..., Coroutine[Any, Any, Any]]
    arguments: dict[str, Any]
    other: dict[str, Any]
    told: Any = None

    @property
    def key(self) -> tuple[str, str]:
        """What the operation is known by."""
        return self.arguments["viewer"].caller, self.arguments["idempotency_key"]


@dataclass(slots=True)
class Market:
    """One database and one account at the sandbox."""

    settings: Settings
    sandbox: Sandbox
    trap: Trap = field(default_factory=Trap)
    asked: list[Asked] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    activities: list[Activity] = field(default_factory=list)
    guests: list[Viewer] = field(default_factory=list)
    host: Viewer = field(init=False)
    accounts: list[str] = field(default_factory=list)
    grow_older: tuple[str, ...] = GROW_OLDER
    _services: Services | None = None
    _process: AsyncExitStack = field(default_factory=AsyncExitStack)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, sandbox_url: str, capacities: tuple[int, int]) -> AsyncIterator[Self]:
        """A host whose activities have that many seats, and three guests, two of whom are no customers yet."""
        key = f"sk_test_{uuid4().hex}"
        settings = settings.model_copy(update={"stripe_secret_key": SecretStr(key), "stripe_api_base": sandbox_url})
        async with Sandbox.open(sandbox_url, key=key) as sandbox:
            market = cls(settings, sandbox)
            await market._start()
            try:
                await market._settle_in(capacities)
                yield market
            finally:
                await market._process.aclose()

    async def _settle_in(self, capacities: tuple[int, int]) -> None:
        self.accounts.append(await self.sandbox.onboarded_account())
        customer = await self.sandbox.post("/v1/customers", {"email": "guest@example.com"})
        async with self.services.database.transaction() as connection:
            host = await add_user(connection, external_id="host", stripe_customer_id=None)
            await add_account(connection, host, stripe_account_id=self.accounts[0])
            for number, customer_id in enumerate((customer["id"], None, None)):
                guest = await add_user(connection, external_id=f"guest-{number}", stripe_customer_id=customer_id)
                self.guests.append(Viewer(Role.USER, guest.external_id))
            for price, currency, capacity in zip((1999, 1001), ("USD", "JPY"), capacities, strict=True):
                offered = {"price_minor": price, "currency": currency, "capacity": capacity}
                self.activities.append(await add_activity(connection, host, **offered))
        self.host = Viewer(Role.USER, host.external_id)

    @property
    def services(self) -> Services:
        """Those of the process that runs now."""
        assert self._services is not None
        return self._services

    async def _start(self) -> None:
        services = await self._process.enter_async_context(open_services(self.settings))
        self._services = await self._process.enter_async_context(trapped(services, self.trap, self.sandbox))

    async def run(self, work: Callable[[Services], Coroutine[Any, Any, Any]], *, settles: bool = False) -> Any:
        """What comes of it; where the process ends on the way there is a new one.

        Raises: Crash, DomainError.
        """
        before = asyncio.all_tasks()
        self.trap.begin(settles=settles)
        try:
            return await work(self.services)
        except Crash:
            await end_tasks([task for task in asyncio.all_tasks() - before if not task.done()])
            self.services.database.pool.terminate()  # what was about to be given back never will be
            await self._process.aclose()
            self._process = AsyncExitStack()
            await self._start()
            raise

    # --- what clients ask for ---------------------------------------------------------------------------------------

    async def ask(self, asked: Asked) -> None:
        """Ask, for the first time or again: what was told for good is told again."""
        try:
            told = _described(await self.run(lambda services: asked.ask(services, **asked.arguments)))
        except Crash:
            return
        except DomainError as error:
            told = _described(error)
        if asked.told is not None:
            assert told == asked.told
        elif told[0] not in _PASSING and await self._has_ended(asked):
            asked.told = told

    async def ask_anew(self, asked: Asked) -> None:
        """Ask, and remember it."""
        self.asked.append(asked)
        await self.ask(asked)

    async def ask_together(self, several: list[Asked]) -> None:
        """Ask for several things at once."""
        self.asked += several

        async def answers(services: Services) -> None:
            asking = (asked.ask(services, **asked.arguments) for asked in several)
            for answer in await asyncio.gather(*asking, return_exceptions=True):
                if isinstance(answer, BaseException) and not isinstance(answer, DomainError):
                    raise answer

        with suppress(Crash):
            await self.run(answers)

    async def ask_otherwise(self, asked: Asked) -> None:
        """The key of something else is refused, whatever became of that."""
        known = await self._operation(asked)
        if known is None:
            return
        arguments = {**asked.arguments, **asked.other}
        try:
            told = _described(await self.run(lambda services: asked.ask(services, **arguments)))
        except DomainError as error:
            told = _described(error)
        assert told[0] == IdempotencyKeyReused.__name__

    async def _operation(self, asked: Asked) -> Any:
        return await self.services.database.pool.fetchrow(
            "SELECT status FROM operations WHERE caller = $1 AND idempotency_key = $2", *asked.key
        )

    async def _has_ended(self, asked: Asked) -> bool:
        operation = await self._operation(asked)
        return operation is not None and operation["status"] in {"SUCCEEDED", "FAILED"}

    def payment(self, guest: int, activity: int, method: str, quantity: int, *, later: bool, save: bool) -> Asked:
        """A guest pays for seats."""
        return Asked(
            pay_for_activity,
            {
                "viewer": self.guests[guest], "activity_id": self.activities[activity].id, "quantity": quantity,
                "payment_method": method, "expected_amount": None, "capture_later": later,
                "save_payment_method": save, "return_url": None, "idempotency_key": self._new_key(),
            },
            {"quantity": quantity + 1},
        )  # fmt: skip

    async def retry(self, payment: Payment, method: str) -> None:
        """Its guest tries another card."""
        viewer = await self._payer(payment)
        asked = {"viewer": viewer, "payment_id": payment.id, "payment_method": method, "return_url": None}
        await self._ask_new(retry_payment, asked, {"payment_method": "pm_card_amex"})

    async def capture(self, payment: Payment, part: float | None) -> None:
        """Its host takes it."""
        amount = part_of(payment.amount, part)
        asked = {"viewer": self.host, "payment_id": payment.id, "amount": amount}
        await self._ask_new(capture_payment, asked, {"amount": Money(777, payment.currency)})

    async def cancel(self, payment: Payment) -> None:
        """Its guest thinks better of it."""
        viewer = await self._payer(payment)
        await self._ask_new(cancel_payment, {"viewer": viewer, "payment_id": payment.id}, {"payment_id": uuid4()})

    async def cancel_rsvp(self, payment: Payment, *, by_host: bool) -> None:
        """Guest or host give the seats up."""
        viewer = self.host if by_host else await self._payer(payment)
        await self._ask_new(cancel_rsvp, {"viewer": viewer, "rsvp_id": payment.rsvp_id}, {"rsvp_id": uuid4()})

    async def refund(self, payment: Payment, part: float | None) -> None:
        """Its host gives back."""
        amount = part_of(payment.captured, part) if payment.captured else None
        asked = {"viewer": self.host, "payment_id": payment.id, "amount": amount, "reason": None}
        await self._ask_new(refund_payment, asked, {"amount": Money(777, payment.currency)})

    async def _ask_new(self, ask: Callable[..., Any], arguments: dict[str, Any], other: dict[str, Any]) -> None:
        await self.ask_anew(Asked(ask, {**arguments, "idempotency_key": self._new_key()}, other))

    def _new_key(self) -> str:
        return f"key-{len(self.asked)}-{uuid4().hex[:6]}"

    async def _payer(self, payment: Payment) -> Viewer:
        name = await self.services.database.pool.fetchval(
            "SELECT external_id FROM users WHERE id = $1", payment.payer_id
        )
        return Viewer(Role.USER, name)

    async def payments(self, *statuses: PaymentStatus) -> list[Payment]:
        """All of them, the oldest first, or all where there is none of these."""
        payments = await Payment.all().order_by("id")
        return [payment for payment in payments if payment.status in statuses] or payments

    # --- what people and banks do at Stripe -------------------------------------------------------------------------

    async def act(self, path: str, **body: Any) -> None:
        """A person or a bank does something; where that is not possible any more, nothing."""
        with suppress(RefusedError):
            await self.sandbox.act(path, **body)

    async def at_stripe(self, kind: str, *statuses: str) -> list[str]:
        """Stripe's payment intents or refunds that stand there, or anywhere, the oldest first."""
        things = await self.sandbox.every(f"/v1/{kind}")
        return [thing["id"] for thing in reversed(things) if not statuses or thing["status"] in statuses]

    async def refund_in_dashboard(
        self, intent: str, part: float | None, *, account: str | None = None, **options: Any
    ) -> None:
        """Somebody gives money back past Paydesk; with more than is left, or twice from a host, nothing happens."""
        amount = None
        if part is not None:
            received = (await self.sandbox.get(f"/v1/payment_intents/{intent}", account=account))["amount_received"]
            amount = max(1, int(received * part))
        with suppress(RefusedError):
            asked = {"payment_intent": intent, "amount": amount, **options}
            await self.sandbox.post("/v1/refunds", asked, account=account)

    # --- what goes on by itself -------------------------------------------------------------------------------------

    async def deliver(self, count: int, seed: int, *, handled: bool) -> None:
        """Some of Stripe's events arrive, in any order; among them some that came before."""
        events = await self._events()
        dice = random.Random(seed)
        new = [event for event in events if event["id"] not in self.delivered]
        chosen = dice.sample(new, min(count, len(new)))
        if events:
            chosen += dice.choices(events, k=dice.randint(0, 2))
        dice.shuffle(chosen)
        await self._receive(chosen)
        if handled:
            await self.handle()

    async def handle(self) -> None:
        """A worker takes what is due."""
        with suppress(Crash):
            await self.run(process_due, settles=True)

    async def sweep(self) -> None:
        """Look for what no webhook brought."""
        with suppress(Crash, StripeNotSent, StripeUnknownOutcome):
            await self._sweep()

    async def _sweep(self) -> None:
        await self.run(sweep, settles=True)

    async def let_pass(self, seconds: float) -> None:
        """Time goes by: all that is kept here becomes that much older. (Stripe, PostgreSQL and we share one clock.)"""
        for statement in self.grow_older:
            await self.services.database.pool.execute(statement, timedelta(seconds=seconds))

    async def expire(self) -> None:
        """Give back seats whose hold ran out."""
        with suppress(Crash):
            await self.run(expire_holds)

    async def recover(self) -> None:
        """Take over what nobody works on."""
        with suppress(Crash):
            await self.run(lambda services: services.operations.recover(services))

    async def _events(self) -> list[dict[str, Any]]:
        lists = [await self.sandbox.every("/v1/events", account=account) for account in (None, *self.accounts)]
        events = sorted(chain.from_iterable(lists), key=lambda event: event["created"])
        return [event for event in events if handler_of(event["type"], event.get("account") or "")]

    async def _receive(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            source = EventSource.of(event.get("account") or "")
            of_platform = source is EventSource.PLATFORM
            settings = self.settings
            secret = (settings.stripe_webhook_secret if of_platform else settings.stripe_connect_webhook_secret)[0]
            payload, at = orjson.dumps(event), int(time.time())
            digest = hmac.new(secret.get_secret_value().encode(), f"{at}.".encode() + payload, hashlib.sha256)
            await receive(self.services, source=source, payload=payload, signature=f"t={at},v1={digest.hexdigest()}")
            self.delivered.add(event["id"])

    # --- what must hold ---------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """At any moment."""
        await assert_always(self.services.database.pool, self.sandbox)

    async def come_to_rest(self, *, by_webhook: bool) -> None:
        """Nothing goes wrong any more, all is delivered or swept up, and everybody agrees on everything."""
        self.trap.arm(None)
        await self._finish_operations()
        if by_webhook:
            await self._receive([event for event in await self._events() if event["id"] not in self.delivered])
        else:
            await self._sweep()
        await self._finish_events()
        await self.check()
        await self.agree()
        for asked in self.asked:
            if asked.told is not None:
                await self.ask(asked)

    async def agree(self) -> None:
        """With Stripe, when nothing is under way."""
        await assert_agreement(self.services.database.pool, self.sandbox)

    async def _finish_operations(self) -> None:
        for _ in range(10):
            await self.services.operations.recover(self.services)
            if not await self._count("SELECT count(*) FROM operations WHERE status = 'RUNNING'"):
                return
            await self.let_pass(700)
        left = await self.services.database.pool.fetch("SELECT kind, attempts FROM operations WHERE status = 'RUNNING'")
        raise AssertionError(f"still running: {left}")

    async def _finish_events(self) -> None:
        for _ in range(10):
            await process_due(self.services, limit=1000)
            if not await self._count("SELECT count(*) FROM webhook_events WHERE status = 'RECEIVED'"):
                return
            await self.let_pass(4000)
        left = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE status = 'RECEIVED'"
        )
        raise AssertionError(f"not handled: {left}")

    async def _count(self, query: str) -> int:
        return int(await self.services.database.pool.fetchval(query))


def part_of(whole: Money, part: float | None) -> Money | None:
    """Such a part of an amount; None for none."""
    return None if part is None else Money(max(1, int(whole.minor * part)), whole.currency)


def _described(answer: Any) -> tuple[Any, ...]:
    """An answer as far as it stays the same."""
    if isinstance(answer, DomainError):
        return type(answer).__name__, answer.to_record()
    if isinstance(answer, PaymentResult):
        return "payment", answer.payment.id, answer.error and answer.error.to_record()
    if isinstance(answer, CanceledRsvp):
        refund: Refund | None = answer.refund
        rsvp: Rsvp = answer.rsvp
        return "rsvp", rsvp.id, refund and refund.id, answer.error and answer.error.to_record()
    if isinstance(answer, PayoutResult):
        return "payout", answer.payout.id, answer.error and answer.error.to_record()
    if isinstance(answer, AnsweredDispute):
        return "dispute", answer.dispute.id, answer.error and answer.error.to_record()
    assert isinstance(answer, Refund)
    id_: UUID = answer.id
    return "refund", id_
