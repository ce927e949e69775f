"""A market whose hosts are paid in every way: at once, later, in shares, on accounts of their own; and paid out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from models.activities import PayoutTiming
from models.connect_accounts import ConnectAccountType
from models.money import Money
from models.payments import ChargeModel, Payment
from models.users import User
from services.balances.schedule import mirror_latecomers
from services.balances.unexplained import unexplained_of
from services.disputes.acceptance import accept_dispute
from services.disputes.submission import submit_dispute_evidence
from services.payments.charging import Split
from services.payouts.creation import create_payout
from services.stripe_gateway import StripeNotSent, StripeUnknownOutcome
from services.transfers.job import release_some
from services.viewer import Role, Viewer
from tests.support.books import assert_books_agree, mirror_all
from tests.support.crashes import Crash
from tests.support.market import GROW_OLDER, Asked, Market, part_of
from tests.support.rows import add_account, add_activity, add_user
from tests.support.sandbox import RefusedError

if TYPE_CHECKING:
    from models.disputes import Dispute

ANNA, BERT, CARL, STAN = "anna", "bert", "carl", "stan"
"""At home; across the border; without an account until one is opened; with Stripe's own dashboard."""

Shares = tuple[tuple[str, str], ...]
SHARES: Final[tuple[Shares, ...]] = (
    ((ANNA, "0.5"), (BERT, "0.5")),
    ((ANNA, "0.3"), (BERT, "0.3"), (CARL, "0.4")),
    ((BERT, "0.333333"), (ANNA, "0.333333"), (CARL, "0.333334")),
)
_OFFERS: Final = (
    (ANNA, 1999, "USD", PayoutTiming.IMMEDIATE),
    (ANNA, 2777, "EUR", PayoutTiming.IMMEDIATE),
    (BERT, 1003, "JPY", PayoutTiming.IMMEDIATE),
    (ANNA, 3001, "USD", PayoutTiming.AFTER_ACTIVITY),
    (BERT, 1501, "EUR", PayoutTiming.AFTER_ACTIVITY),
    (STAN, 2503, "USD", PayoutTiming.IMMEDIATE),
)
"""Whose, for how much, and when the host is paid."""
OFFERED: Final = len(_OFFERS)
_DIRECT: Final = 5
"""Which of these is charged for on the host's own account, and cannot be shared."""


@dataclass(slots=True)
class Bazaar(Market):
    """Hosts of four kinds, and an activity of each kind."""

    grow_older: tuple[str, ...] = (
        *GROW_OLDER,
        "UPDATE activities SET starts_at = starts_at - $1::interval",
        "UPDATE payment_allocations SET release_at = release_at - $1::interval",
        "UPDATE payments SET next_attempt_at = next_attempt_at - $1::interval",
    )
    hosts: dict[str, User] = field(default_factory=dict)
    disputes: list[str] = field(default_factory=list)

    async def _settle_in(self, capacities: tuple[int, int]) -> None:
        countries = {ANNA: "US", BERT: "DE", STAN: "US"}
        accounts = {
            name: await self.sandbox.onboarded_account(country=country, standard=name == STAN)
            for name, country in countries.items()
        }
        self.accounts += accounts.values()
        async with self.services.database.transaction() as connection:
            for name in (ANNA, BERT, CARL, STAN):
                self.hosts[name] = await add_user(connection, external_id=name, stripe_customer_id=None)
            for name, country in countries.items():
                type_ = ConnectAccountType.STANDARD if name == STAN else ConnectAccountType.EXPRESS
                kept: dict[str, Any] = {"stripe_account_id": accounts[name], "country": country, "type": type_}
                await add_account(connection, self.hosts[name], **kept)
            for number in range(3):
                guest = await add_user(connection, external_id=f"guest-{number}", stripe_customer_id=None)
                self.guests.append(Viewer(Role.USER, guest.external_id))
            for number, (name, price, currency, timing) in enumerate(_OFFERS):
                offered = {"price_minor": price, "currency": currency, "payout_timing": timing}
                capacity = capacities[number % len(capacities)]
                self.activities.append(await add_activity(connection, self.hosts[name], capacity=capacity, **offered))
        self.host = Viewer(Role.SERVICE, "platform")

    # --- what clients ask for ---------------------------------------------------------------------------------------

    def shared(self, asked: Asked, shares: Shares | None) -> Asked:
        """The same, with its hosts' part shared, where that can be."""
        if shares is not None and asked.arguments["activity_id"] != self.activities[_DIRECT].id:
            asked.arguments["splits"] = [Split(name, Decimal(share)) for name, share in shares]
        return asked

    async def pay_out(self, name: str, part: float, *, instant: bool) -> None:
        """A host wants part of what there is."""
        balance = await self.sandbox.get("/v1/balance", account=self.account_of(name))
        there = [entry for entry in balance["available"] if entry["amount"] > 0]
        for entry in there[:1]:
            amount = part_of(Money.from_wire(entry["amount"], entry["currency"]), part)
            asked = {"viewer": Viewer(Role.USER, name), "amount": amount, "instant": instant}
            await self._ask_new(create_payout, asked, {"instant": not instant})

    async def answer(self, dispute: Dispute, *, gives_up: bool, text: str) -> None:
        """The platform gives a dispute up, or hands evidence in."""
        asked: dict[str, Any] = {"viewer": self.host, "dispute_id": dispute.id}
        if gives_up:
            await self._ask_new(accept_dispute, asked, {"dispute_id": dispute.payment_id})
            return
        asked |= {"texts": {"uncategorized_text": text}, "files": [], "submit": True}
        await self._ask_new(submit_dispute_evidence, asked, {"submit": False})

    # --- what people and banks do at Stripe -------------------------------------------------------------------------

    def account_of(self, name: str) -> str:
        """Of a host who has one."""
        return self.accounts[(ANNA, BERT, STAN, CARL).index(name)]

    async def open_account(self) -> None:
        """The host without an account gets one."""
        if len(self.accounts) > 3:
            return
        self.accounts.append(await self.sandbox.onboarded_account())
        async with self.services.database.transaction() as connection:
            await add_account(connection, self.hosts[CARL], stripe_account_id=self.accounts[-1])

    async def dispute(self, payment: Payment, *, inquiry: bool, part: float | None) -> None:
        """The guest's bank takes a payment back, or asks."""
        body: dict[str, Any] = {"status": "warning_needs_response" if inquiry else "needs_response"}
        if part is not None:
            body["amount"] = max(1, int(payment.captured.wire * part))
        with suppress(RefusedError):
            made = await self.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute", **body)
            self.disputes.append(made["id"])

    async def refund_past_paydesk(
        self, payment: Payment, part: float | None, *, reverses: bool, refunds_fee: bool
    ) -> None:
        """Somebody gives money back in Stripe's dashboard, as that is possible for such a payment."""
        options: dict[str, bool] = {}
        if payment.charge_model is ChargeModel.DESTINATION:
            options["reverse_transfer"] = reverses
        if payment.charge_model is not ChargeModel.SEPARATE:
            options["refund_application_fee"] = refunds_fee
        account = payment.stripe_account or None
        await self.refund_in_dashboard(str(payment.stripe_payment_intent_id), part, account=account, **options)

    async def reverse_in_dashboard(self, index: int, part: float | None) -> None:
        """Somebody takes a transfer back past Paydesk."""
        transfers = await self.sandbox.every("/v1/transfers")
        for transfer in transfers[index % len(transfers) :][:1] if transfers else []:
            amount = None if part is None else max(1, int(transfer["amount"] * part))
            with suppress(RefusedError):
                await self.sandbox.post(f"/v1/transfers/{transfer['id']}/reversals", {"amount": amount})

    async def move_payouts(self, name: str | None, index: int, what: str, code: str) -> None:
        """Stripe pays out by itself, or the bank does something with a payout; the platform's is `name` None."""
        account = self.account_of(name) if name else (await self.sandbox.get("/v1/account"))["id"]
        if what == "begin":
            await self.act("balance/settle", account=account)
            await self.act(f"accounts/{account}/pay_out")
            return
        payouts = await self.sandbox.every("/v1/payouts", account=account if name else None)
        for payout in payouts[index % len(payouts) :][:1] if payouts else []:
            await self.act(f"payouts/{payout['id']}/{what}", **({"failure_code": code} if what == "fail" else {}))
            if name:  # new details, or nothing goes there any more
                await self.act(f"accounts/{account}/bank_account", account_number="000123456789")

    async def top_up(self, amount: int) -> None:
        """The platform adds money of its own."""
        await self.sandbox.post("/v1/topups", {"amount": amount, "currency": "usd"})

    # --- what goes on by itself -------------------------------------------------------------------------------------

    async def release(self) -> None:
        """Hosts are sent what is due."""
        with suppress(Crash):
            await self.run(release_some)

    async def mirror(self) -> None:
        """Stripe's books are taken in."""
        with suppress(Crash, StripeNotSent, StripeUnknownOutcome):
            await self.run(mirror_all)

    # --- what must hold ---------------------------------------------------------------------------------------------

    async def agree(self) -> None:
        """Every account holds here what it holds at Stripe, and nothing is left to be explained."""
        await mirror_all(self.services)
        await mirror_latecomers(self.services)
        await assert_books_agree(self.services, self.sandbox)
        payments = await Payment.filter(captured_minor__gt=0)
        unexplained = await unexplained_of(self.services, [payment.id for payment in payments])
        assert {id_: [str(money) for money in sums] for id_, sums in unexplained.items() if any(sums)} == {}
