"""Payments with several hosts, refunds, disputes and payouts in any order, with crashes: every cent is somewhere.

TEST_SOAK=500 plays that many games, other ones each time, in place of the few and always the same ones of CI.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from models.disputes import Dispute
from models.payments import PaymentStatus
from tests.support.bazaar import ANNA, BERT, OFFERED, SHARES, STAN, Bazaar, Shares
from tests.support.games import DAY, MINUTE, SOAK, MarketGame, chosen, crashes, faults, opened, play, which

if TYPE_CHECKING:
    from tests.support.crashes import Trouble
    from tests.support.market import Asked
    from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(0 if SOAK else 180)

CARDS = (
    "pm_card_visa", "pm_card_visa", "pm_card_bypassPending", "pm_card_bypassPending", "pm_card_bypassPending",
    "pm_card_authenticationRequired", "pm_card_chargeDeclined", "pm_card_pendingRefund", "pm_card_refundFail",
)  # fmt: skip
CAPACITIES = (100, 100)
SPENT = (PaymentStatus.SUCCEEDED, PaymentStatus.PARTIALLY_REFUNDED)

activities = st.integers(0, OFFERED - 1)
shared = st.sampled_from((None, *SHARES))
parts = st.sampled_from((None, 1 / 3, 0.5, 0.999, 1.0))
troubles = st.one_of(st.none(), st.none(), st.none(), crashes, faults)
hosts = st.sampled_from((ANNA, BERT, STAN))
something_is_disputed = precondition(lambda game: bool(game.market.disputes))


class Game(MarketGame):
    """One market from its opening until every cent is explained."""

    market: Bazaar

    @initialize(first=st.lists(st.tuples(activities, shared), min_size=3, max_size=5))
    def open(self, first: list[tuple[int, Shares | None]]) -> None:
        async def paid() -> None:
            for guest, (activity, shares) in enumerate(first):
                await self.market.ask_anew(self._payment(guest % 3, activity, "pm_card_bypassPending", 2, shares))

        self.begin(paid, CAPACITIES)

    def _payment(
        self, guest: int, activity: int, method: str, quantity: int, shares: Shares | None, *, later: bool = False
    ) -> Asked:
        asked = self.market.payment(guest, activity, method, quantity, later=later, save=False)
        return self.market.shared(asked, shares)

    # --- clients ----------------------------------------------------------------------------------------------------

    @rule(
        guest=st.integers(0, 2), activity=activities, method=st.sampled_from(CARDS), quantity=st.integers(1, 3),
        shares=shared, later=st.sampled_from((False, False, False, True)), trouble=troubles,
    )  # fmt: skip
    def pay(
        self, guest: int, activity: int, method: str, quantity: int, shares: Shares | None, later: bool,
        trouble: Trouble | None,
    ) -> None:  # fmt: skip
        asked = self._payment(guest, activity, method, quantity, shares, later=later)
        self.step(self.market.ask_anew(asked), trouble)

    @rule(index=which, part=parts, by_rsvp=st.sampled_from((False, False, True)), trouble=troubles)
    def refund(self, index: int, part: float | None, by_rsvp: bool, trouble: Trouble | None) -> None:
        market = self.market

        async def refunded() -> None:
            for payment in chosen(await market.payments(*SPENT), index):
                if by_rsvp:
                    await market.cancel_rsvp(payment, by_host=True)
                else:
                    await market.refund(payment, part)

        self.step(refunded(), trouble)

    @rule(
        act=st.sampled_from(("retry", "capture", "capture")), index=which, method=st.sampled_from(CARDS), part=parts,
        trouble=troubles,
    )  # fmt: skip
    def go_on(self, act: str, index: int, method: str, part: float | None, trouble: Trouble | None) -> None:
        """With a payment that is not over."""
        market = self.market

        async def gone_on() -> None:
            if act == "retry":
                failed = await market.payments(PaymentStatus.FAILED, PaymentStatus.REQUIRES_ACTION)
                for payment in chosen(failed, index):
                    await market.retry(payment, method)
            else:
                for payment in chosen(await market.payments(PaymentStatus.AUTHORIZED), index):
                    await market.capture(payment, part)

        self.step(gone_on(), trouble)

    @rule(name=hosts, part=st.sampled_from((0.5, 1.0)), instant=st.booleans(), trouble=troubles)
    def pay_out(self, name: str, part: float, instant: bool, trouble: Trouble | None) -> None:
        self.step(self.market.pay_out(name, part, instant=instant), trouble)

    @something_is_disputed
    @rule(
        index=which, gives_up=st.booleans(), trouble=troubles,
        text=st.sampled_from(("winning_evidence", "losing_evidence", "Here they are.")),
    )  # fmt: skip
    def answer_dispute(self, index: int, gives_up: bool, text: str, trouble: Trouble | None) -> None:
        market = self.market

        async def answered() -> None:
            for dispute in chosen(await Dispute.all().order_by("id"), index):
                await market.answer(dispute, gives_up=gives_up, text=text)

        self.step(answered(), trouble)

    # --- people and banks at Stripe ---------------------------------------------------------------------------------

    @rule(index=which, inquiry=st.sampled_from((False, False, True)), part=st.sampled_from((None, None, 0.5)))
    def dispute(self, index: int, inquiry: bool, part: float | None) -> None:
        market = self.market

        async def disputed() -> None:
            for payment in chosen(await market.payments(*SPENT), index):
                if payment.status.is_captured:
                    await market.dispute(payment, inquiry=inquiry, part=part)

        self.step(disputed())

    @something_is_disputed
    @rule(index=which, outcome=st.sampled_from(("won", "lost", "lost", "warning_closed")))
    def decide(self, index: int, outcome: str) -> None:
        for dispute in chosen(self.market.disputes, index):
            self.step(self.market.act(f"disputes/{dispute}/decide", outcome=outcome))

    @rule(act=st.sampled_from(("authenticate", "fail", "fail", "succeed")), index=which)
    def happens_at_stripe(self, act: str, index: int) -> None:
        """A challenge is passed, or a refund ends as it ends."""
        market = self.market
        kinds = {
            "authenticate": ("payment_intents", "requires_action"), "succeed": ("refunds", "pending"),
            "fail": ("refunds", "pending", "succeeded"),
        }  # fmt: skip
        kind, *statuses = kinds[act]

        async def happened() -> None:
            for id_ in chosen(await market.at_stripe(kind, *statuses), index):
                await market.act(f"{kind}/{id_}/{act}")

        self.step(happened())

    @rule(
        name=st.sampled_from((ANNA, BERT, STAN, None)), what=st.sampled_from(("begin", "begin", "send", "pay", "fail")),
        index=which, code=st.sampled_from(("account_closed", "could_not_process")),
    )  # fmt: skip
    def payouts_move(self, name: str | None, what: str, index: int, code: str) -> None:
        self.step(self.market.move_payouts(name, index, what, code))

    @rule(index=which, part=parts, reverses=st.booleans(), refunds_fee=st.booleans())
    def refund_in_dashboard(self, index: int, part: float | None, reverses: bool, refunds_fee: bool) -> None:
        market = self.market

        async def refunded() -> None:
            for payment in chosen(await market.payments(*SPENT), index):
                if payment.status.is_captured:
                    await market.refund_past_paydesk(payment, part, reverses=reverses, refunds_fee=refunds_fee)

        self.step(refunded())

    @rule(index=which, part=parts)
    def reverse_in_dashboard(self, index: int, part: float | None) -> None:
        self.step(self.market.reverse_in_dashboard(index, part))

    @rule(
        what=st.sampled_from(("account", "top up", "restrict", "enable", "enable")), name=hosts,
        amount=st.integers(100, 9_999),
    )  # fmt: skip
    def turns(self, what: str, name: str, amount: int) -> None:
        """A host can be paid or not, and the platform has more."""
        market = self.market
        if what == "account":
            self.step(market.open_account())
        elif what == "top up":
            self.step(market.top_up(amount))
        else:
            self.step(market.act(f"accounts/{market.account_of(name)}/{what}"))

    # --- what goes on by itself -------------------------------------------------------------------------------------

    @rule(
        count=st.sampled_from((1, 2, 5, 20, 100)), seed=st.integers(0, 999),
        handled=st.sampled_from((True, True, False)), trouble=troubles,
    )  # fmt: skip
    def deliver(self, count: int, seed: int, handled: bool, trouble: Trouble | None) -> None:
        self.step(self.market.deliver(count, seed, handled=handled), trouble)

    @rule(
        job=st.sampled_from(("handle", "sweep", "recover", "release", "release", "mirror")), trouble=troubles,
        seconds=st.sampled_from((0, 2 * MINUTE, DAY, 9 * DAY)),
    )  # fmt: skip
    def work(self, job: str, seconds: float, trouble: Trouble | None) -> None:
        """A job runs, after some time."""
        market = self.market

        async def worked() -> None:
            await market.let_pass(seconds)
            jobs = {
                "handle": market.handle, "sweep": market.sweep, "recover": market.recover, "release": market.release,
                "mirror": market.mirror,
            }  # fmt: skip
            await jobs[job]()

        self.step(worked(), trouble)

    @rule(by_webhook=st.booleans())
    def come_to_rest(self, by_webhook: bool) -> None:
        self.step(self.market.come_to_rest(by_webhook=by_webhook))


@pytest.mark.usefixtures("quiet")
def test_in_whatever_order_every_cent_is_where_stripe_has_it(
    postgres: PostgresServer, valkey_server: str, accounts_sandbox: str
) -> None:
    markets = partial(opened, Bazaar, postgres, valkey_server, accounts_sandbox)
    play(lambda run: Game(run, markets), games=8, steps=25)
