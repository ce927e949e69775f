"""A subscriber's life in any order, with crashes and faults between the steps: in the end nothing is amiss.

TEST_SOAK=500 plays that many lives, other ones each time, in place of the few and always the same ones of CI.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import SecretStr

from models.money import Money
from models.payment_methods import SavedPaymentMethod
from models.payments import Payment, PaymentStatus
from models.subscriptions import BillingSubscription
from services import embedded
from services.dunning.collection import collect
from services.errors import DomainError
from services.ledger_check import check_ledger
from services.payment_methods.attaching import attach_payment_method
from services.payment_methods.detaching import detach_payment_method
from services.payments.actions import retry_payment
from services.refunds.creation import refund_payment
from services.viewer import Role, Viewer
from services.webhooks.processing import process_due
from services.wiring import open_services
from settings import Settings
from tests.support.clock import Clock
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.games import FAULTS, SOAK, play
from tests.support.membership import Member
from tests.support.postgres import PostgresServer, create_database, drop_database
from tests.support.sandbox import RefusedError, Sandbox
from tests.support.shop import receive_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from models.plans import Plan
    from services.core import Services

pytestmark = pytest.mark.timeout(0 if SOAK else 180)

CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_mastercard", "pm_card_chargeDeclined",
         "pm_card_chargeCustomerFail", "pm_card_authenticationRequired")  # fmt: skip
LIVE = ("trialing", "active", "past_due", "unpaid", "paused", "incomplete")
SERVICE = Viewer(Role.SERVICE, "platform")

which = st.integers(0, 7)
cards = st.sampled_from(CARDS)
crashes = st.builds(Trouble.crash, st.sampled_from(Boundary), st.sampled_from((0, 0, 1, 2)))
faults = st.builds(Trouble.failing, st.sampled_from(FAULTS), st.integers(0, 5), st.sampled_from((0, 0, 1, 2)))
troubles = st.one_of(st.none(), st.none(), crashes, faults)


class Life:
    """One guest on a test clock, two plans, and what may go wrong."""

    def __init__(self, services: Services, trapped_services: Services, trap: Trap, member: Member) -> None:
        self.services = services
        self.trap = trap
        self.member = member
        self.asking = member.through(trapped_services)
        self.told: list[dict[str, Any]] = []
        self.plans: list[Plan] = []

    async def begin(self) -> None:
        """The plans; Stripe's test limits are lifted."""
        clock = f"test_clocks/{self.member.subscriber.test_clock}/limits"
        await self.member.sandbox.act(clock, subscriptions=1000)
        for minor, days in ((1000, 7), (3000, 0)):
            self.plans.append(await self.member.catalogue.plan(price=Money(minor, "USD"), trial_days=days))

    async def tried(self, move: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Ask for something, come of it what may: a refusal, a crash, an answer that is lost."""
        self.trap.begin()
        with suppress(DomainError, Crash):
            await move()

    async def subscriptions(self) -> list[BillingSubscription]:
        return await BillingSubscription.filter(user_id=self.member.subscriber.user.id).order_by("-id")

    async def deliver(self, seed: int, share: float) -> None:
        """Some of the webhooks come in, some of them twice, in any order."""
        dice = random.Random(seed)
        self.told += await self.member.subscriber.events()
        coming = [event for event in self.told if dice.random() < share]
        self.told = [event for event in self.told if event not in coming]
        coming += dice.choices(coming, k=min(3, len(coming))) if coming else []
        dice.shuffle(coming)
        for event in coming:
            await receive_signed(self.services, event)
        self.trap.begin(settles=True)
        with suppress(Crash):
            await process_due(self.asking.services)

    async def rest(self) -> None:
        """Nothing goes wrong any more: all is told, recovered and collected, until nothing moves."""
        self.trap.arm(None)
        pool = self.services.database.pool
        for _ in range(12):
            await self.member.recover()
            await self.deliver(0, 1.1)
            await pool.execute("UPDATE webhook_events SET next_attempt_at = NULL WHERE status = 'RECEIVED'")
            await process_due(self.services, limit=1000)
            await collect(self.services)
            self.told += await self.member.subscriber.events()
            left = await pool.fetchval(
                "SELECT (SELECT count(*) FROM webhook_events WHERE status = 'RECEIVED')"
                " + (SELECT count(*) FROM operations WHERE status = 'RUNNING')"
            )
            if not left and not self.told:
                break
        else:
            waiting = "SELECT type, last_error FROM webhook_events WHERE status <> 'PROCESSED'"
            raise AssertionError(await pool.fetch(waiting))
        parked = await pool.fetch("SELECT kind, arguments FROM operations WHERE status = 'PARKED'")
        assert parked == []
        await self.check()
        await self.member.check()

    async def check(self) -> None:
        """What holds at any moment."""
        async with self.services.database.pool.acquire() as connection:
            assert (await check_ledger(connection)).findings == []
        live = [
            subscription["items"]["data"][0]["price"]["product"]
            for subscription in await self.member.at_stripe()
            if subscription["status"] in LIVE
        ]
        assert len(live) == len(set(live))
        customer = self.member.subscriber.customer
        charges = await self.member.sandbox.every("/v1/charges", {"customer": customer})
        paid = [charge["payment_intent"] for charge in charges if charge["paid"] and charge["captured"]]
        assert len(paid) == len(set(paid))
        for invoice in await self.member.invoices_at_stripe():
            assert invoice["amount_paid"] <= invoice["total"], "more was taken than was asked for"


class Game(RuleBasedStateMachine):
    """One life from its beginning until everybody agrees."""

    life: Life

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], opened: Callable[[], Any]) -> None:
        super().__init__()
        self._run = run
        self._opened = opened
        self._stack = AsyncExitStack()
        self._is_sound = False

    def step(self, move: Callable[[], Coroutine[Any, Any, Any]], trouble: Trouble | None = None) -> None:
        """Make a move, in trouble or not; whatever came of it, all must hold."""

        async def moved() -> None:
            self.life.trap.arm(trouble)
            await self.life.tried(move)
            self.life.trap.arm(None)
            await self.life.check()

        self._is_sound = False
        self._run(moved())
        self._is_sound = True

    def teardown(self) -> None:
        async def ended() -> None:
            try:
                if self._is_sound:
                    await self.life.rest()
            finally:
                await self._stack.aclose()

        self._run(ended())

    @initialize(card=cards, plan=st.integers(0, 1))
    def begin(self, card: str, plan: int) -> None:
        async def begun() -> None:
            self.life = await self._stack.enter_async_context(self._opened())
            await self.life.begin()
            await self.life.tried(lambda: self.life.asking.try_(self.life.plans[plan], card))

        self._run(begun())
        self._is_sound = True

    @rule(plan=st.integers(0, 1), card=st.one_of(st.none(), cards), trouble=troubles)
    def subscribe(self, plan: int, card: str | None, trouble: Trouble | None) -> None:
        self.step(lambda: self.life.asking.try_(self.life.plans[plan], card), trouble)

    @rule(plan=st.integers(0, 1), index=which, trouble=troubles)
    def change(self, plan: int, index: int, trouble: Trouble | None) -> None:
        self._with(index, lambda row: self.life.asking.change(row, self.life.plans[plan]), trouble)

    @rule(
        what=st.sampled_from(("cancel", "cancel_now", "pause", "resume", "resume")), index=which, trouble=troubles,
    )  # fmt: skip
    def go_on_or_not(self, what: str, index: int, trouble: Trouble | None) -> None:
        asking = self.life.asking
        acts = {
            "cancel": asking.cancel, "cancel_now": partial(asking.cancel, now=True), "pause": asking.pause,
            "resume": asking.resume,
        }  # fmt: skip
        self._with(index, acts[what], trouble)

    @rule(card=cards, preferred=st.booleans(), trouble=troubles)
    def save_a_card(self, card: str, preferred: bool, trouble: Trouble | None) -> None:
        asking = self.life.asking
        self.step(
            lambda: attach_payment_method(
                asking.services, viewer=asking.viewer, stripe_payment_method_id=card, make_it_default=preferred
            ),
            trouble,
        )

    @rule(index=which, trouble=troubles)
    def take_a_card_away(self, index: int, trouble: Trouble | None) -> None:
        async def taken() -> None:
            asking = self.life.asking
            for method in _one(await SavedPaymentMethod.filter(detached_at=None).order_by("id"), index):
                await detach_payment_method(asking.services, viewer=asking.viewer, method_id=method.id)

        self.step(taken, trouble)

    @rule(index=which, card=cards, trouble=troubles)
    def pay_what_failed(self, index: int, card: str, trouble: Trouble | None) -> None:
        async def paid() -> None:
            asking = self.life.asking
            open_ = Payment.filter(status__in=[PaymentStatus.FAILED, PaymentStatus.REQUIRES_ACTION]).order_by("id")
            for payment in _one(await open_, index):
                await retry_payment(
                    asking.services, viewer=asking.viewer, payment_id=payment.id, payment_method=card, return_url=None,
                    idempotency_key=str(uuid4()),
                )  # fmt: skip

        self.step(paid, trouble)

    @rule(index=which, trouble=troubles)
    def give_back(self, index: int, trouble: Trouble | None) -> None:
        async def given() -> None:
            for payment in _one(await Payment.filter(status=PaymentStatus.SUCCEEDED).order_by("id"), index):
                await refund_payment(
                    self.life.asking.services, viewer=SERVICE, payment_id=payment.id, amount=None, reason=None,
                    idempotency_key=str(uuid4()),
                )  # fmt: skip

        self.step(given, trouble)

    @rule(index=which, passes=st.booleans())
    def answer_the_bank(self, index: int, passes: bool) -> None:
        async def answered() -> None:
            for payment in _one(await Payment.filter(status=PaymentStatus.REQUIRES_ACTION).order_by("id"), index):
                with suppress(RefusedError):
                    await self.life.member.sandbox.authenticate(
                        str(payment.stripe_payment_intent_id), "success" if passes else "failure"
                    )

        self.step(answered)

    @rule(index=which, what=st.sampled_from(("cancel", "void", "mark_uncollectible")))
    def somebody_acts_in_the_dashboard(self, index: int, what: str) -> None:
        async def acted() -> None:
            member = self.life.member
            with suppress(RefusedError):
                if what == "cancel":
                    for theirs in _one([one for one in await member.at_stripe() if one["status"] in LIVE], index):
                        await member.sandbox.delete(f"/v1/subscriptions/{theirs['id']}")
                else:
                    open_ = [one for one in await member.invoices_at_stripe() if one["status"] == "open"]
                    for invoice in _one(open_, index):
                        await member.sandbox.post(f"/v1/invoices/{invoice['id']}/{what}")

        self.step(acted)

    @rule(index=which, card=cards)
    def a_card_behaves_otherwise(self, index: int, card: str) -> None:
        async def behaves() -> None:
            for method in _one(await SavedPaymentMethod.filter(detached_at=None).order_by("id"), index):
                path = f"payment_methods/{method.stripe_payment_method_id}/behave_as"
                await self.life.member.sandbox.act(path, test=card)

        self.step(behaves)

    @rule(trouble=troubles)
    def a_month_goes_by(self, trouble: Trouble | None) -> None:
        """A renewal, and a week in which it is tried again where it failed."""
        self.time_goes_by(31, True, trouble)
        self.time_goes_by(3, True, trouble)
        self.time_goes_by(5, True, trouble)

    @rule(days=st.sampled_from((1, 3, 8, 20)), told=st.booleans(), trouble=troubles)
    def time_goes_by(self, days: int, told: bool, trouble: Trouble | None) -> None:
        async def passed() -> None:
            await self.life.member.subscriber.let_pass(days * 86_400 + 7_200)
            if told:
                await self.life.deliver(days, 1.1)
            await collect(self.life.asking.services)

        self.step(passed, trouble)

    @rule(seed=st.integers(0, 999), share=st.sampled_from((0.3, 1.1)), trouble=troubles)
    def deliver(self, seed: int, share: float, trouble: Trouble | None) -> None:
        self.step(lambda: self.life.deliver(seed, share), trouble)

    @rule(trouble=troubles)
    def recover(self, trouble: Trouble | None) -> None:
        self.step(self.life.asking.recover, trouble)

    @rule()
    def come_to_rest(self) -> None:
        self.step(self.life.rest)

    def _with(
        self, index: int, act: Callable[[BillingSubscription], Coroutine[Any, Any, Any]], trouble: Trouble | None
    ) -> None:
        async def acted() -> None:
            for row in _one(await self.life.subscriptions(), index % 3):
                await act(row)

        self.step(acted, trouble)


def _one(things: list[Any], index: int) -> list[Any]:
    """One of them in a list, or none where there is none."""
    return [things[index % len(things)]] if things else []


@pytest.fixture
async def lives_sandbox(session_folder: Path) -> AsyncIterator[str]:
    """A sandbox where each life has an account of its own."""
    async with embedded.sandbox(session_folder / "lives", options=("--accounts-by-key",)) as url:
        yield url


@pytest.mark.usefixtures("quiet")
def test_whatever_a_subscriber_does_nothing_is_charged_twice_or_lost(
    postgres: PostgresServer, valkey_server: str, lives_sandbox: str
) -> None:
    lives = partial(opened, postgres, valkey_server, lives_sandbox)
    play(lambda run: Game(run, lives), games=8, steps=30)


@asynccontextmanager
async def opened(postgres: PostgresServer, valkey: str, sandbox_url: str) -> AsyncIterator[Life]:
    """A life on a database of its own."""
    name, key, clock, trap = await create_database(postgres), f"sk_test_{uuid4().hex}", Clock(), Trap()
    settings = Settings(
        _env_file=None, database_url=SecretStr(postgres.database(name)), redis_url=SecretStr(valkey),
        stripe_secret_key=SecretStr(key), stripe_api_base=sandbox_url,
        stripe_webhook_secret=(SecretStr("whsec_platform"),), return_urls=("https://front.example/",),
        stripe_connect_webhook_secret=(SecretStr("whsec_connect"),),
        stripe_rate=5000, breaker_failures=1_000_000, stripe_deadline_s=0.001, duplicate_wait_s=0.05,
    )  # fmt: skip
    try:
        async with (
            Sandbox.open(sandbox_url, key=key) as sandbox,
            open_services(settings, clock=clock) as services,
            trapped(services, trap, sandbox) as asking,
        ):
            member = await Member.join(services, sandbox, clock)
            yield Life(services, asking, trap, member)
    finally:
        await drop_database(postgres, name)
