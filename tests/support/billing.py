"""A guest who subscribes at Stripe itself, on a test clock, and whose webhooks come in as a test wishes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models.base import new_id
from models.invoices import Invoice, InvoiceStatus
from models.money import Money
from models.payments import ChargeModel, Payment
from models.sets import insert_rows
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.ledger_check import check_ledger
from services.webhooks.handlers import handler_of
from services.webhooks.processing import process_due
from tests.support.rows import add_plan, add_user
from tests.support.shop import receive_signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.plans import PlanPrice
    from models.users import User
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

DAY = 86_400
MONTH = 31 * DAY


@dataclass
class Subscriber:
    """One guest, the customer at Stripe, and the clock that both live by."""

    services: Services
    sandbox: Sandbox
    clock: Clock
    user: User
    customer: str
    test_clock: str
    frozen: int
    last_event: str | None = None
    """The last of Stripe's events that was looked at."""
    waiting: list[dict[str, Any]] = field(default_factory=list)
    """Events that have not been handed out: of others, or of what nobody is known to own yet."""
    mine: set[str] = field(default_factory=set)
    """The ids of what belongs to the guest."""

    @classmethod
    async def begin(
        cls, services: Services, sandbox: Sandbox, clock: Clock, method: str | None = "pm_card_visa"
    ) -> Subscriber:
        """A guest with a default method, or with none, on a 1 July: two months of 31 days follow."""
        now = clock()
        begun = now.replace(year=now.year + 1, month=7, day=1, microsecond=0)
        clock.forward(seconds=(begun - now).total_seconds())
        frozen = int(begun.timestamp())
        test_clock = (await sandbox.post("/v1/test_helpers/test_clocks", {"frozen_time": frozen}))["id"]
        customer = (await sandbox.post("/v1/customers", {"email": "guest@example.com", "test_clock": test_clock}))["id"]
        async with services.database.transaction() as connection:
            user = await add_user(connection, stripe_customer_id=customer)
        subscriber = cls(services, sandbox, clock, user, customer, test_clock, frozen)
        if method is not None:
            await subscriber.give(method)
        return subscriber

    def through(self, stripe: Any) -> Subscriber:
        """The same over another way to Stripe."""
        return replace(self, services=replace(self.services, stripe=stripe))

    async def give(self, method: str) -> str:
        """A test method, attached and made the default."""
        attached = (await self.sandbox.post(f"/v1/payment_methods/{method}/attach", {"customer": self.customer}))["id"]
        settings = {"invoice_settings": {"default_payment_method": attached}}
        await self.sandbox.post(f"/v1/customers/{self.customer}", settings)
        return str(attached)

    async def plan(self, minor: int = 1000, currency: str = "USD") -> PlanPrice:
        """A monthly plan, here and at Stripe."""
        product = await self.sandbox.post("/v1/products", {"name": "Premium"})
        price = await self.sandbox.post(
            "/v1/prices",
            {
                "product": product["id"], "currency": currency.lower(), "unit_amount": Money(minor, currency).wire,
                "recurring": {"interval": "month"},
            },
        )  # fmt: skip
        async with self.services.database.transaction() as connection:
            return await add_plan(
                connection, amount_minor=minor, currency=currency, stripe_price_id=price["id"]
            )

    async def reserved(self, price: PlanPrice) -> BillingSubscription:
        """The row of a subscription that is being made: what there is before Stripe has answered."""
        row = BillingSubscription(
            id=new_id(), user_id=self.user.id, plan_id=price.plan_id, price_id=price.id, currency=price.currency,
            status=BillingSubscriptionStatus.INCOMPLETE,
        )  # fmt: skip
        async with self.services.database.transaction() as connection:
            await insert_rows(connection, BillingSubscription, [row])
        return row

    async def subscribe(self, price: PlanPrice, **params: Any) -> BillingSubscription:
        """Subscribe at Stripe; here nothing is known yet but that it was asked for."""
        row = await self.reserved(price)
        await self.sandbox.post(
            "/v1/subscriptions",
            {
                "customer": self.customer, "items": [{"price": price.stripe_price_id}],
                "metadata": {"subscription_id": str(row.id), "user_id": str(self.user.id)},
                "payment_behavior": "allow_incomplete", **params,
            },
        )  # fmt: skip
        return row

    async def let_pass(self, seconds: int) -> None:
        """Time goes by, here and at Stripe."""
        self.frozen += seconds
        self.clock.forward(seconds=seconds)
        path = f"/v1/test_helpers/test_clocks/{self.test_clock}/advance"
        await self.sandbox.post(path, {"frozen_time": self.frozen})
        await self.sandbox.act(f"test_clocks/{self.test_clock}/settled")

    async def events(self) -> list[dict[str, Any]]:
        """Stripe's events of this guest that somebody here handles, the oldest first; each is handed out once."""
        new = await self.sandbox.events(self.last_event)
        if new:
            self.last_event = new[-1]["id"]
        for event in new:
            thing = event["data"]["object"]
            if thing.get("customer") == self.customer and thing.get("id"):
                self.mine.add(thing["id"])
        self.waiting += [event for event in new if handler_of(event["type"], "")]
        coming = [event for event in self.waiting if self._is_mine(event["data"]["object"])]
        self.waiting = [event for event in self.waiting if event not in coming]
        return coming

    def _is_mine(self, thing: dict[str, Any]) -> bool:
        if thing.get("customer") == self.customer or thing.get("id") == self.customer:
            return True
        # Invoice payments and refunds name nobody, but what they belong to.
        return bool({thing.get("invoice"), thing.get("payment_intent")} & self.mine)

    async def deliver(self, events: Sequence[dict[str, Any]] | None = None) -> None:
        """Webhooks come in, one after another, and are handled; by default all that were not handed out yet."""
        for event in await self.events() if events is None else events:
            await receive_signed(self.services, event)
            await process_due(self.services)
        failed = await self.services.database.pool.fetch(
            "SELECT type, last_error FROM webhook_events WHERE last_error IS NOT NULL"
        )
        assert failed == []

    async def now(self, row: BillingSubscription) -> BillingSubscription:
        """The subscription as it is now."""
        return await BillingSubscription.get(id=row.id)

    async def theirs(self, row: BillingSubscription) -> dict[str, Any]:
        """What Stripe has of it."""
        found = await self.now(row)
        return dict(await self.sandbox.get(f"/v1/subscriptions/{found.stripe_subscription_id}"))

    async def invoices(self) -> list[Invoice]:
        """The guest's invoices, the oldest first."""
        return await Invoice.filter(user_id=self.user.id).order_by("stripe_created_at", "stripe_invoice_id")

    async def payments(self) -> list[Payment]:
        """The payments of those."""
        return await Payment.filter(payer_id=self.user.id, charge_model=ChargeModel.PLATFORM).order_by("id")

    async def balance(self, kind: str, currency: str = "USD") -> int:
        """What a pot of the platform holds."""
        async with self.services.database.pool.acquire() as connection:
            report = await check_ledger(connection)
        return sum(minor for pot, _, of, minor in report.balances if (pot, of) == (kind, currency))

    async def check(self) -> None:
        """Everything that must hold at rest: of the ledger, and between us and Stripe."""
        async with self.services.database.pool.acquire() as connection:
            report = await check_ledger(connection)
        assert report.findings == []
        theirs = await self.sandbox.every("/v1/invoices", {"customer": self.customer})
        ours = {invoice.stripe_invoice_id: invoice for invoice in await self.invoices()}
        assert {one["id"]: (one["status"], one["total"], one["amount_remaining"]) for one in theirs} == {
            id_: (invoice.status.value.lower(), invoice.total_minor, invoice.amount_remaining_minor)
            for id_, invoice in ours.items()
            if invoice.number is not None or invoice.status is InvoiceStatus.DRAFT  # a draft can be deleted
        }
        for payment in await self.payments():
            intent = await self.sandbox.get(f"/v1/payment_intents/{payment.stripe_payment_intent_id}")
            assert payment.captured.wire == intent["amount_received"]
            assert payment.amount.wire == intent["amount"]
