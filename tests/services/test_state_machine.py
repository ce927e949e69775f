"""Payments, refunds, webhooks, faults and crashes in any order: at no moment and in the end is anything amiss.

TEST_SOAK=500 plays that many games, other ones each time, in place of the few and always the same ones of CI.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from models.payments import PaymentStatus
from tests.support.crashes import Boundary, Trouble
from tests.support.games import DAY, MINUTE, SOAK, MarketGame, chosen, crashes, faults, opened, play, which
from tests.support.market import Market

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(0 if SOAK else 120)

CARDS = (
    "pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_chargeDeclinedLostCard",
    "pm_card_authenticationRequired", "pm_card_threeDSecureRequiredChargeDeclined", "pm_usBankAccount_processing",
    "pm_card_pendingRefund", "pm_card_bypassPending",
)  # fmt: skip
parts = st.sampled_from((None, 1 / 3, 0.5, 1.0))
troubles = st.one_of(st.none(), st.none(), crashes, faults)
somebody_has_asked = precondition(lambda game: bool(game.market.asked))


class Game(MarketGame):
    """One market from its opening until everybody agrees."""

    @initialize(
        capacities=st.tuples(st.integers(4, 12), st.integers(1, 6)),
        first=st.lists(st.tuples(st.sampled_from(CARDS), st.booleans()), min_size=2, max_size=4),
    )
    def open(self, capacities: tuple[int, int], first: list[tuple[str, bool]]) -> None:
        async def paid() -> None:
            for guest, (method, later) in enumerate(first):
                await self.market.ask_anew(self.market.payment(guest % 3, 0, method, 1, later=later, save=False))

        self.begin(paid, capacities)

    # --- clients ----------------------------------------------------------------------------------------------------

    @rule(
        guest=st.integers(0, 2), activity=st.sampled_from((0, 0, 0, 1)), method=st.sampled_from(CARDS),
        quantity=st.integers(1, 3), later=st.booleans(), save=st.booleans(), trouble=troubles,
    )  # fmt: skip
    def pay(
        self, guest: int, activity: int, method: str, quantity: int, later: bool, save: bool, trouble: Trouble | None
    ) -> None:
        asked = self.market.payment(guest, activity, method, quantity, later=later, save=save)
        self.step(self.market.ask_anew(asked), trouble)

    @rule(
        quantities=st.lists(st.integers(1, 4), min_size=2, max_size=4), activity=st.integers(0, 1),
        method=st.sampled_from(CARDS), twice=st.booleans(), trouble=troubles,
    )  # fmt: skip
    def pay_together(
        self, quantities: list[int], activity: int, method: str, twice: bool, trouble: Trouble | None
    ) -> None:
        several = [
            self.market.payment(guest % 3, activity, method, quantity, later=False, save=False)
            for guest, quantity in enumerate(quantities)
        ]
        self.step(self.market.ask_together(several + several[:1] * twice), trouble)

    @rule(
        guest=st.integers(0, 2), method=st.sampled_from(CARDS), later=st.booleans(), boundary=st.sampled_from(Boundary),
        passes=st.booleans(), part=st.one_of(st.none(), parts), seed=st.integers(0, 999),
        seconds=st.sampled_from((2 * MINUTE, DAY)),
    )  # fmt: skip
    def pay_and_be_left_alone(
        self, guest: int, method: str, later: bool, boundary: Boundary, passes: bool, part: float | None, seed: int,
        seconds: float,
    ) -> None:  # fmt: skip
        """The process ends; guest, bank and dashboard go on, and webhooks tell of it all before another takes over."""
        market = self.market

        async def left_alone() -> None:
            await market.ask_anew(market.payment(guest, 0, method, 1, later=later, save=False))
            newest = (await market.at_stripe("payment_intents"))[-1:]
            for intent in newest:
                for act in ("authenticate", "settle"):
                    await market.act(f"payment_intents/{intent}/{act}", outcome="success" if passes else "failure")
                if part is not None:
                    await market.refund_in_dashboard(intent, part, reverse_transfer=True)
            await market.deliver(30, seed, handled=True)
            await market.let_pass(seconds)
            await market.recover()

        self.step(left_alone(), Trouble.crash(boundary, 0))

    @somebody_has_asked
    @rule(index=st.integers(0, 40), otherwise=st.booleans(), trouble=troubles)
    def ask_again(self, index: int, otherwise: bool, trouble: Trouble | None) -> None:
        for asked in chosen(self.market.asked, index):
            if otherwise:
                self.step(self.market.ask_otherwise(asked))
            else:
                self.step(self.market.ask(asked), trouble)

    @rule(
        act=st.sampled_from(("retry", "capture", "cancel", "cancel_rsvp", "refund", "refund")), index=which,
        method=st.sampled_from(CARDS), part=parts, by_host=st.booleans(), trouble=troubles,
    )  # fmt: skip
    def go_on(
        self, act: str, index: int, method: str, part: float | None, by_host: bool, trouble: Trouble | None
    ) -> None:
        """With a payment that stands where this makes sense, or with any where none does."""
        market = self.market
        fitting: dict[str, tuple[PaymentStatus, ...]] = {
            "retry": (PaymentStatus.FAILED, PaymentStatus.REQUIRES_ACTION),
            "capture": (PaymentStatus.AUTHORIZED,),
            "refund": (PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED),
        }

        async def gone_on() -> None:
            for payment in chosen(await market.payments(*fitting.get(act, ())), index):
                acts = {
                    "retry": partial(market.retry, payment, method), "capture": partial(market.capture, payment, part),
                    "cancel": partial(market.cancel, payment), "refund": partial(market.refund, payment, part),
                    "cancel_rsvp": partial(market.cancel_rsvp, payment, by_host=by_host),
                }  # fmt: skip
                await acts[act]()

        self.step(gone_on(), trouble)

    # --- people and banks at Stripe ---------------------------------------------------------------------------------

    @rule(
        act=st.sampled_from(("authenticate", "authenticate", "settle", "settle", "expire", "fail", "fail", "succeed")),
        index=which, passes=st.booleans(),
    )  # fmt: skip
    def happens_at_stripe(self, act: str, index: int, passes: bool) -> None:
        """A challenge is passed or not, a bank answers, an authorization runs out, a refund fails late or arrives."""
        market = self.market
        kinds = {
            "authenticate": ("payment_intents", "requires_action"), "settle": ("payment_intents", "processing"),
            "expire": ("payment_intents", "requires_capture"), "succeed": ("refunds", "pending"),
            "fail": ("refunds", "pending", "succeeded"),
        }  # fmt: skip
        kind, *statuses = kinds[act]

        async def happened() -> None:
            for id_ in chosen(await market.at_stripe(kind, *statuses), index):
                await market.act(f"{kind}/{id_}/{act}", outcome="success" if passes else "failure")

        self.step(happened())

    @rule(index=which, part=parts, reverses=st.booleans(), refunds_fee=st.booleans())
    def refund_in_dashboard(self, index: int, part: float | None, reverses: bool, refunds_fee: bool) -> None:
        options = {"reverse_transfer": reverses, "refund_application_fee": refunds_fee}

        async def refunded() -> None:
            for id_ in chosen(await self.market.at_stripe("payment_intents", "succeeded"), index):
                await self.market.refund_in_dashboard(id_, part, **options)

        self.step(refunded())

    @rule(what=st.sampled_from(("restrict", "enable", "enable", "enable")))
    def host_is(self, what: str) -> None:
        self.step(self.market.act(f"accounts/{self.market.accounts[0]}/{what}"))

    # --- what goes on by itself -------------------------------------------------------------------------------------

    @rule(count=st.integers(0, 12), seed=st.integers(0, 999), handled=st.booleans(), trouble=troubles)
    def deliver(self, count: int, seed: int, handled: bool, trouble: Trouble | None) -> None:
        self.step(self.market.deliver(count, seed, handled=handled), trouble)

    @rule(
        job=st.sampled_from(("handle", "sweep", "recover", "expire")), trouble=troubles,
        seconds=st.sampled_from((0, 2 * MINUTE, 2 * MINUTE, 20 * MINUTE, DAY, 8 * DAY)),
    )  # fmt: skip
    def work(self, job: str, seconds: float, trouble: Trouble | None) -> None:
        """A job runs, after some time."""
        market = self.market

        async def worked() -> None:
            await market.let_pass(seconds)
            jobs = {"handle": market.handle, "sweep": market.sweep, "recover": market.recover, "expire": market.expire}
            await jobs[job]()

        self.step(worked(), trouble)

    @rule(by_webhook=st.booleans())
    def come_to_rest(self, by_webhook: bool) -> None:
        self.step(self.market.come_to_rest(by_webhook=by_webhook))


@pytest.mark.usefixtures("quiet")
def test_in_whatever_order_nothing_is_lost_or_done_twice(
    postgres: PostgresServer, valkey_server: str, accounts_sandbox: str
) -> None:
    markets = partial(opened, Market, postgres, valkey_server, accounts_sandbox)
    play(lambda run: Game(run, markets), games=12, steps=30)
