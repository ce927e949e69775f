"""Random histories of what guests, hosts, banks, Stripe's dashboard and time do to a platform's money."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.connect_accounts import ConnectAccountType
from models.disputes import Dispute
from models.payments import ChargeModel, Payment
from models.payouts import Payout
from models.refunds import Refund
from services.balances.mirror import mirror_now
from services.balances.unexplained import unexplained_of
from services.errors import DomainError
from services.transfers.job import release_due
from services.webhooks.handlers import handler_of
from services.webhooks.processing import process_due
from tests.support.books import accounts, assert_books_agree
from tests.support.hosts import shares
from tests.support.sandbox import RefusedError
from tests.support.shop import Shop, receive_signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models.users import User
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

DAY = 86_400
# Where a host is, what the activity costs there, and whose the charge is.
SHOPS = (
    ("US", "USD", ConnectAccountType.EXPRESS), ("DE", "EUR", ConnectAccountType.EXPRESS),
    ("GB", "USD", ConnectAccountType.EXPRESS), ("US", "EUR", ConnectAccountType.STANDARD),
)  # fmt: skip


@dataclass
class History:
    """One platform, and dice that say what happens next; what is refused moves nothing."""

    services: Services
    sandbox: Sandbox
    clock: Clock
    dice: random.Random
    shops: list[Shop] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    @classmethod
    async def begin(cls, services: Services, sandbox: Sandbox, clock: Clock, seed: int) -> History:
        """Hosts in several countries, each with an activity."""
        history = cls(services, sandbox, clock, random.Random(seed))
        for country, currency, type_ in SHOPS:
            price = history.dice.randint(1_000, 9_999)
            shop = await Shop.open(
                services, sandbox, clock, country=country, type_=type_, currency=currency, price_minor=price
            )
            history.shops.append(shop)
        return history

    async def step(self) -> None:
        """Something happens."""
        what: Callable[[], Awaitable[bool]] = self.dice.choice(
            [
                self.pay, self.pay, self.pay, self.split, self.split, self.refund, self.refund, self.refund_at_stripe,
                self.fail_refund, self.dispute, self.decide, self.decide, self.pay_out, self.move_payout, self.top_up,
                self.hear, self.hear, self.hear, self.look, self.let_pass,
            ]
        )  # fmt: skip
        if await what():
            self.done[what.__name__] += 1

    async def pay(self) -> bool:
        """A guest pays a host."""
        shop = self.dice.choice(self.shops)
        try:
            await shop.pay(quantity=self.dice.randint(1, 3), capture_later=False)
        except DomainError:
            return False
        return True

    async def split(self) -> bool:
        """A guest pays several hosts."""
        taking = [shop for shop in self.shops if shop.account.type is ConnectAccountType.EXPRESS]
        hosts: list[User] = [shop.host for shop in self.dice.sample(taking, self.dice.randint(1, 3))]
        cuts = sorted(self.dice.sample(range(1, 100), len(hosts) - 1))
        parts = [(b - a) / 100 for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        splits = shares(*((host, f"{part:.2f}") for host, part in zip(hosts, parts, strict=True)))
        try:
            await self.dice.choice(taking).pay(splits=splits)
        except DomainError:
            return False
        return True

    async def refund(self) -> bool:
        """A host gives something back."""
        payment = await self._any(captured_minor__gt=0)
        if payment is None:
            return False
        shop = next(shop for shop in self.shops if shop.host.id == payment.host_id)
        amount = self.dice.choice([None, self.dice.randint(1, payment.captured_minor)])
        try:
            await shop.refund(payment, amount)
        except DomainError:
            return False
        return True

    async def refund_at_stripe(self) -> bool:
        """Somebody gives something back in Stripe's dashboard."""
        payment = await self._any(captured_minor__gt=0)
        if payment is None:
            return False
        flags: dict[str, Any] = {}
        if payment.charge_model is ChargeModel.DESTINATION:
            flags["reverse_transfer"] = self.dice.random() < 0.5
        if payment.charge_model is not ChargeModel.SEPARATE:
            flags["refund_application_fee"] = self.dice.random() < 0.5
        amount = self.dice.randint(1, payment.captured_minor)
        return await self._ask(
            "/v1/refunds", {"payment_intent": payment.stripe_payment_intent_id, "amount": amount, **flags},
            payment.stripe_account,
        )  # fmt: skip

    async def fail_refund(self) -> bool:
        """A refund comes back."""
        refunds = await Refund.filter(stripe_refund_id__not_isnull=True).order_by("id")
        return bool(refunds) and await self._act(f"refunds/{self.dice.choice(refunds).stripe_refund_id}/fail")

    async def dispute(self) -> bool:
        """A guest's bank takes a payment back, or asks about it."""
        payment = await self._any(captured_minor__gt=0)
        if payment is None:
            return False
        status = self.dice.choice(["needs_response", "needs_response", "warning_needs_response"])
        return await self._act(f"charges/{payment.stripe_charge_id}/dispute", status=status)

    async def decide(self) -> bool:
        """The bank decides, perhaps once more."""
        disputes = await Dispute.all().order_by("id")
        if not disputes:
            return False
        outcome = self.dice.choice(["won", "lost"])
        return await self._act(f"disputes/{self.dice.choice(disputes).stripe_dispute_id}/decide", outcome=outcome)

    async def pay_out(self) -> bool:
        """What somebody has goes to their bank."""
        account = str(self.dice.choice(self.shops).account.stripe_account_id)
        if self.dice.random() < 0.2:
            account = (await self.sandbox.get("/v1/account"))["id"]
        return await self._act("balance/settle", account=account) and await self._act(f"accounts/{account}/pay_out")

    async def move_payout(self) -> bool:
        """A bank does something with a payout."""
        payouts = await Payout.filter(stripe_payout_id__not_isnull=True).order_by("id")
        if not payouts:
            return False
        payout = self.dice.choice(payouts)
        if not await self._act(f"payouts/{payout.stripe_payout_id}/{self.dice.choice(['send', 'pay', 'fail'])}"):
            return False
        if payout.stripe_account:  # new details, or nothing goes there any more
            await self._act(f"accounts/{payout.stripe_account}/bank_account", account_number="000123456789")
        return True

    async def top_up(self) -> bool:
        """The platform adds money of its own."""
        return await self._ask("/v1/topups", {"amount": self.dice.randint(100, 9_999), "currency": "usd"}, "")

    async def hear(self) -> bool:
        """Some of Stripe's webhooks come in, not all of them in order."""
        news = await self._news()
        some = self.dice.sample(news, min(len(news), self.dice.randint(1, 12)))
        await self._hear(some)
        return bool(some)

    async def look(self) -> bool:
        """Somebody's books are looked at."""
        return bool(await mirror_now(self.services, self.dice.choice(await accounts(self.services))))

    async def let_pass(self) -> bool:
        """Time passes, and the jobs run."""
        self.clock.forward(seconds=700)
        await self.services.operations.recover(self.services)
        await release_due(self.services)
        return True

    async def come_to_rest(self) -> None:
        """All that is still to come comes, and then everything holds."""
        for _ in range(6):
            while news := await self._news():
                await self._hear(news)
            await self.let_pass()
        await assert_books_agree(self.services, self.sandbox)
        for payment in await Payment.all().order_by("id"):
            found = (await unexplained_of(self.services, [payment.id])).get(payment.id, [])
            assert not any(found), (payment.id, payment.charge_model, found)
        await self.shops[0].check()

    async def _any(self, **conditions: Any) -> Payment | None:
        payments = await Payment.filter(**conditions).order_by("id")
        return self.dice.choice(payments) if payments else None

    async def _ask(self, path: str, params: dict[str, Any], account: str) -> bool:
        try:
            await self.sandbox.post(path, params, account=account or None)
        except RefusedError:
            return False
        return True

    async def _act(self, path: str, **body: Any) -> bool:
        try:
            await self.sandbox.act(path, **body)
        except RefusedError:
            return False
        return True

    async def _news(self) -> list[dict[str, Any]]:
        """Events that have not come in, the oldest first, of whom somebody here handles them."""
        found = []
        for account in await accounts(self.services):
            events = (await self.sandbox.every("/v1/events", account=account or None))[::-1]
            found += [
                {**event, "account": account} if account else event
                for event in events if event["id"] not in self.seen and handler_of(event["type"], account)
            ]  # fmt: skip
        return found

    async def _hear(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self.seen.add(event["id"])
            await receive_signed(self.services, event)
        await process_due(self.services)
        failed = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE last_error IS NOT NULL"
        )
        assert failed == []
