"""Payments, refunds, webhooks, faults and crashes in any order: at no moment and in the end is anything amiss.

TEST_SOAK=500 plays that many games, other ones each time, in place of the few and always the same ones of CI.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import structlog
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr

from models.payments import Payment, PaymentStatus
from services import embedded
from settings import Settings
from tests.support.crashes import Boundary
from tests.support.market import Market
from tests.support.postgres import PostgresServer, create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from pathlib import Path

SOAK = int(os.environ.get("TEST_SOAK", "0"))
pytestmark = pytest.mark.timeout(0 if SOAK else 120)

CARDS = (
    "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_chargeDeclinedLostCard",
    "pm_card_authenticationRequired", "pm_card_threeDSecureRequiredChargeDeclined", "pm_usBankAccount_processing",
    "pm_card_pendingRefund", "pm_card_bypassPending",
)  # fmt: skip
FAULTS = ("rate_429", "rate_500", "reset_before", "reset_after")
MINUTE, DAY = 60, 86_400

which = st.integers(0, 11)
part = st.sampled_from((None, 1 / 3, 0.5, 1.0))
Chosen = TypeVar("Chosen")

somebody_has_asked = precondition(lambda game: bool(game.market.asked))


def chosen(things: list[Chosen], index: int) -> list[Chosen]:
    """One of them in a list, or none where there is none."""
    return [things[index % len(things)]] if things else []


class Game(RuleBasedStateMachine):
    """One market from its opening until everybody agrees."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], opened: Callable[[Any], Any]) -> None:
        super().__init__()
        self._run = run
        self._opened = opened
        self._stack = AsyncExitStack()
        self._is_sound = False
        self.market: Market = None  # type: ignore[assignment]  # opened first

    def step(self, move: Coroutine[Any, Any, Any]) -> None:
        """Make a move; whatever it was, all must hold."""

        async def moved() -> None:
            await move
            await self.market.check()

        self._is_sound = False
        self._run(moved())
        self._is_sound = True

    def teardown(self) -> None:
        """All comes to rest, half the time by webhooks and half the time by the sweeper."""

        async def ended() -> None:
            try:
                if self._is_sound:
                    await self.market.come_to_rest(by_webhook=len(self.market.asked) % 2 == 0)
            finally:
                await self._stack.aclose()

        self._run(ended())

    @initialize(capacities=st.tuples(st.integers(2, 12), st.integers(1, 6)))
    def open(self, capacities: tuple[int, int]) -> None:
        async def opened() -> None:
            self.market = await self._stack.enter_async_context(self._opened(capacities))

        self._run(opened())
        self._is_sound = True

    # --- clients ----------------------------------------------------------------------------------------------------

    @rule(
        guest=st.integers(0, 2), activity=st.sampled_from((0, 0, 0, 1)), method=st.sampled_from(CARDS),
        quantity=st.integers(1, 3), later=st.booleans(), save=st.booleans(),
    )  # fmt: skip
    def pay(self, guest: int, activity: int, method: str, quantity: int, later: bool, save: bool) -> None:
        asked = self.market.payment(guest, activity, method, quantity, later=later, save=save)
        self.step(self.market.ask_anew(asked))

    @rule(
        quantities=st.lists(st.integers(1, 4), min_size=2, max_size=4), activity=st.integers(0, 1),
        method=st.sampled_from(CARDS), twice=st.booleans(),
    )  # fmt: skip
    def pay_together(self, quantities: list[int], activity: int, method: str, twice: bool) -> None:
        several = [
            self.market.payment(guest % 3, activity, method, quantity, later=False, save=False)
            for guest, quantity in enumerate(quantities)
        ]
        self.step(self.market.ask_together(several + several[:1] * twice))

    @somebody_has_asked
    @rule(index=st.integers(0, 40))
    def ask_again(self, index: int) -> None:
        for asked in chosen(self.market.asked, index):
            self.step(self.market.ask(asked))

    @somebody_has_asked
    @rule(index=st.integers(0, 40))
    def ask_otherwise(self, index: int) -> None:
        for asked in chosen(self.market.asked, index):
            self.step(self.market.ask_otherwise(asked))

    def act_on(
        self, index: int, act: Callable[[Payment], Coroutine[Any, Any, Any]], *statuses: PaymentStatus
    ) -> None:
        """Do something with a payment that stands there, or with any where none does."""

        async def acted() -> None:
            for payment in chosen(await self.market.payments(*statuses), index):
                await act(payment)

        self.step(acted())

    @somebody_has_asked
    @rule(index=which, method=st.sampled_from(CARDS))
    def retry(self, index: int, method: str) -> None:
        retriable = (PaymentStatus.FAILED, PaymentStatus.REQUIRES_ACTION)
        self.act_on(index, lambda payment: self.market.retry(payment, method), *retriable)

    @somebody_has_asked
    @rule(index=which, part=part)
    def capture(self, index: int, part: float | None) -> None:
        self.act_on(index, lambda payment: self.market.capture(payment, part), PaymentStatus.AUTHORIZED)

    @somebody_has_asked
    @rule(index=which)
    def cancel(self, index: int) -> None:
        self.act_on(index, self.market.cancel)

    @somebody_has_asked
    @rule(index=which, by_host=st.booleans())
    def cancel_rsvp(self, index: int, by_host: bool) -> None:
        self.act_on(index, lambda payment: self.market.cancel_rsvp(payment, by_host=by_host))

    @somebody_has_asked
    @rule(index=which, part=part)
    def refund(self, index: int, part: float | None) -> None:
        paid = (PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED)
        self.act_on(index, lambda payment: self.market.refund(payment, part), *paid)

    # --- people and banks at Stripe ---------------------------------------------------------------------------------

    def at_stripe(self, listed: Coroutine[Any, Any, list[str]], index: int, act: Callable[[str], Any]) -> None:
        """Do something with one of what is listed there."""

        async def acted() -> None:
            for id_ in chosen(await listed, index):
                await act(id_)

        self.step(acted())

    @somebody_has_asked
    @rule(index=which, passes=st.booleans())
    def authenticate(self, index: int, passes: bool) -> None:
        outcome = "success" if passes else "failure"
        act = self.market.act
        self.at_stripe(
            self.market.intents("requires_action"), index,
            lambda id_: act(f"payment_intents/{id_}/authenticate", outcome=outcome),
        )  # fmt: skip

    @somebody_has_asked
    @rule(index=which, passes=st.booleans())
    def bank_answers(self, index: int, passes: bool) -> None:
        outcome = "success" if passes else "failure"
        act = self.market.act
        self.at_stripe(
            self.market.intents("processing"), index,
            lambda id_: act(f"payment_intents/{id_}/settle", outcome=outcome),
        )  # fmt: skip

    @somebody_has_asked
    @rule(index=which)
    def authorization_runs_out(self, index: int) -> None:
        act = self.market.act
        self.at_stripe(
            self.market.intents("requires_capture"), index, lambda id_: act(f"payment_intents/{id_}/expire")
        )

    @somebody_has_asked
    @rule(index=which, part=part, reverses=st.booleans(), refunds_fee=st.booleans())
    def refund_in_dashboard(self, index: int, part: float | None, reverses: bool, refunds_fee: bool) -> None:
        options = {"reverse_transfer": reverses, "refund_application_fee": refunds_fee}
        self.at_stripe(
            self.market.intents("succeeded"), index,
            lambda id_: self.market.refund_in_dashboard(id_, part, **options),
        )  # fmt: skip

    @somebody_has_asked
    @rule(index=which)
    def refund_fails(self, index: int) -> None:
        act = self.market.act
        self.at_stripe(
            self.market.refunds_at_stripe("pending", "succeeded"), index, lambda id_: act(f"refunds/{id_}/fail")
        )

    @somebody_has_asked
    @rule(index=which)
    def refund_arrives(self, index: int) -> None:
        act = self.market.act
        self.at_stripe(
            self.market.refunds_at_stripe("pending"), index, lambda id_: act(f"refunds/{id_}/succeed")
        )

    @rule(what=st.sampled_from(("restrict", "enable", "enable")))
    def host_is(self, what: str) -> None:
        self.step(self.market.act(f"accounts/{self.market.account}/{what}"))

    # --- what goes on by itself -------------------------------------------------------------------------------------

    @somebody_has_asked
    @rule(count=st.integers(0, 12), seed=st.integers(0, 999), handled=st.booleans())
    def deliver(self, count: int, seed: int, handled: bool) -> None:
        self.step(self.market.deliver(count, seed, handled=handled))

    @somebody_has_asked
    @rule()
    def handle(self) -> None:
        self.step(self.market.handle())

    @somebody_has_asked
    @rule()
    def sweep(self) -> None:
        self.step(self.market.sweep())

    @somebody_has_asked
    @rule(seconds=st.sampled_from((2 * MINUTE, 20 * MINUTE, DAY + MINUTE, 8 * DAY)))
    def time_passes(self, seconds: float) -> None:
        async def passed() -> None:
            await self.market.let_pass(seconds)
            await self.market.expire()
            await self.market.recover()

        self.step(passed())

    @somebody_has_asked
    @rule()
    def recover(self) -> None:
        async def recovered() -> None:
            await self.market.let_pass(2 * MINUTE)
            await self.market.recover()

        self.step(recovered())

    @somebody_has_asked
    @rule(by_webhook=st.booleans())
    def come_to_rest(self, by_webhook: bool) -> None:
        self.step(self.market.come_to_rest(by_webhook=by_webhook))

    # --- what goes wrong next ---------------------------------------------------------------------------------------

    @rule(boundary=st.sampled_from(Boundary), writes=st.sampled_from((0, 0, 1)))
    def crash_next(self, boundary: Boundary, writes: int) -> None:
        self.market.trap.boundary, self.market.trap.writes = boundary, writes

    @rule(fault=st.sampled_from(FAULTS), seed=st.integers(0, 5), requests=st.sampled_from((0, 0, 1, 2)))
    def fault_next(self, fault: str, seed: int, requests: int) -> None:
        self.market.trap.fault, self.market.trap.requests = {fault: 1, "seed": seed}, requests


@pytest.fixture
async def accounts_sandbox(session_folder: Path) -> AsyncIterator[str]:
    """A sandbox where each game has an account of its own, and nothing happens by itself."""
    options = ("--accounts-by-key", "--async-delay", str(DAY))
    async with embedded.sandbox(session_folder / "games", options=options) as url:
        yield url


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of lines about faults that were wanted."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("quiet")
def test_in_whatever_order_nothing_is_lost_or_done_twice(
    postgres: PostgresServer, valkey_server: str, accounts_sandbox: str
) -> None:
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    game = hypothesis_settings(
        max_examples=SOAK or 12, stateful_step_count=60 if SOAK else 30, derandomize=not SOAK, database=None,
        deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # making a failure's game shorter takes minutes
    )  # fmt: skip
    with runner:
        run_state_machine_as_test(
            lambda: Game(runner.run, partial(opened, postgres, valkey_server, accounts_sandbox)),
            settings=game,
        )


@asynccontextmanager
async def opened(
    postgres: PostgresServer, valkey: str, sandbox: str, capacities: tuple[int, int]
) -> AsyncIterator[Market]:
    """A market on a database of its own. A call that fails is not tried again at once: that takes its time."""
    name = await create_database(postgres)
    settings = Settings(
        _env_file=None, database_url=SecretStr(postgres.database(name)), redis_url=SecretStr(valkey),
        stripe_api_base=sandbox, stripe_webhook_secret=(SecretStr("whsec_platform"),),
        stripe_connect_webhook_secret=(SecretStr("whsec_connect"),), return_urls=("https://front.example/",),
        stripe_rate=5000, breaker_failures=1_000_000, stripe_deadline_s=0.001, duplicate_wait_s=0.05,
    )  # fmt: skip
    try:
        async with Market.open(settings, sandbox, capacities) as market:
            yield market
    finally:
        await drop_database(postgres, name)
