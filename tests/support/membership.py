"""A guest who subscribes through Paydesk, on a test clock, with the plans there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.operations import Operation, OperationStatus
from models.plans import PlanPrice
from models.subscriptions import BillingSubscription
from models.users import User
from services.subscriptions.creation import create_subscription
from services.subscriptions.ending import cancel_subscription, pause_subscription, resume_subscription
from services.subscriptions.plan_changes import change_subscription_plan
from services.subscriptions.preview import PlanChangePreview, plan_change_preview
from services.viewer import Role, Viewer
from tests.support.billing import Subscriber
from tests.support.catalogue import Catalogue

if TYPE_CHECKING:
    from datetime import datetime

    from models.plans import Plan
    from services.core import Services
    from services.subscriptions.result import SubscriptionResult
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@dataclass(frozen=True)
class Member:
    """The guest, the guest's customer on its clock, and the plans."""

    subscriber: Subscriber
    catalogue: Catalogue

    @classmethod
    async def join(cls, services: Services, sandbox: Sandbox, clock: Clock, method: str | None = None) -> Member:
        """A guest who is a customer already; without a saved method where none is given."""
        subscriber = await Subscriber.begin(services, sandbox, clock, method)
        return cls(subscriber, Catalogue(services, sandbox, clock))

    @property
    def services(self) -> Services:
        """Those that it asks."""
        return self.subscriber.services

    @property
    def sandbox(self) -> Sandbox:
        """Stripe."""
        return self.subscriber.sandbox

    @property
    def viewer(self) -> Viewer:
        """The guest."""
        return Viewer(Role.USER, self.subscriber.user.external_id)

    def through(self, services: Services) -> Member:
        """The same by way of other services."""
        return Member(replace(self.subscriber, services=services), self.catalogue)

    async def another(self, method: str | None = None) -> Member:
        """Somebody else."""
        return await Member.join(self.services, self.sandbox, self.subscriber.clock, method)

    async def try_(
        self, plan: Plan, method: Any = "pm_card_visa", *, viewer: Viewer | None = None, **values: Any
    ) -> SubscriptionResult:
        """Subscribe to a plan, come of it what may."""
        given: dict[str, Any] = {"currency": None, "trial": None, "idempotency_key": str(uuid4()), **values}
        return await create_subscription(
            self.services, viewer=viewer or self.viewer, plan_id=plan.id, payment_method=method, **given
        )

    async def subscribe(self, plan: Plan, method: Any = "pm_card_visa", **values: Any) -> BillingSubscription:
        """Subscribe to a plan, with success."""
        result = await self.try_(plan, method, **values)
        assert result.error is None
        return result.subscription

    async def change(
        self, subscription: BillingSubscription, plan: Plan, *, viewer: Viewer | None = None, key: str | None = None
    ) -> SubscriptionResult:
        """Change to another plan."""
        return await change_subscription_plan(
            self.services, viewer=viewer or self.viewer, subscription_id=subscription.id, plan_id=plan.id,
            idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def preview(
        self, subscription: BillingSubscription, plan: Plan, *, viewer: Viewer | None = None
    ) -> PlanChangePreview:
        """What that would cost."""
        return await plan_change_preview(
            self.services, viewer=viewer or self.viewer, subscription_id=subscription.id, plan_id=plan.id
        )

    async def cancel(
        self, subscription: BillingSubscription, *, now: bool = False, viewer: Viewer | None = None,
        key: str | None = None,
    ) -> SubscriptionResult:  # fmt: skip
        """Cancel, with the period's end or at once."""
        return await cancel_subscription(
            self.services, viewer=viewer or self.viewer, subscription_id=subscription.id, at_period_end=not now,
            idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def resume(
        self, subscription: BillingSubscription, *, viewer: Viewer | None = None, key: str | None = None
    ) -> SubscriptionResult:
        """Let it go on."""
        return await resume_subscription(
            self.services, viewer=viewer or self.viewer, subscription_id=subscription.id,
            idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def pause(
        self, subscription: BillingSubscription, *, until: datetime | None = None, viewer: Viewer | None = None,
        key: str | None = None,
    ) -> SubscriptionResult:  # fmt: skip
        """Let it rest."""
        return await pause_subscription(
            self.services, viewer=viewer or self.viewer, subscription_id=subscription.id, resumes_at=until,
            idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def days(self, days: float) -> None:
        """Time goes by, here and at Stripe, and the webhooks of it come in."""
        await self.subscriber.let_pass(int(days * 86_400))
        await self.subscriber.deliver()

    async def now(self, subscription: BillingSubscription) -> BillingSubscription:
        """The subscription as it is now."""
        return await BillingSubscription.get(id=subscription.id)

    async def at_stripe(self) -> list[dict[str, Any]]:
        """All subscriptions that were ever made for the guest, the oldest first."""
        customer = (await User.get(id=self.subscriber.user.id)).stripe_customer_id
        if customer is None:
            return []
        found = await self.sandbox.every("/v1/subscriptions", {"customer": customer, "status": "all"})
        return found[::-1]

    async def invoices_at_stripe(self) -> list[dict[str, Any]]:
        """All the guest's invoices, the oldest first."""
        customer = (await User.get(id=self.subscriber.user.id)).stripe_customer_id
        return (await self.sandbox.every("/v1/invoices", {"customer": customer}))[::-1]

    async def charged(self) -> list[int]:
        """What was taken from the guest, in cents, in order."""
        customer = (await User.get(id=self.subscriber.user.id)).stripe_customer_id
        charges = await self.sandbox.every("/v1/charges", {"customer": customer})
        return [charge["amount_captured"] for charge in charges[::-1] if charge["captured"] and charge["paid"]]

    async def recover(self) -> None:
        """Let the operations' leases run out, without moving Stripe's clock, until each has come to its end."""
        for _ in range(30):
            if not await Operation.filter(status=OperationStatus.RUNNING).exists():
                return
            await self.services.database.pool.execute(
                "UPDATE operations SET leased_until = now() - interval '1 hour' WHERE status = 'RUNNING'"
            )
            await self.services.operations.recover(self.services)
        left = await Operation.filter(status=OperationStatus.RUNNING)
        raise AssertionError([(operation.kind, operation.attempts) for operation in left])

    async def check(self) -> None:
        """Here is what Stripe has, of each subscription, its invoices and the ledger."""
        theirs = {subscription["id"]: subscription for subscription in await self.at_stripe()}
        guest = self.subscriber.user.id
        ours = await BillingSubscription.filter(user_id=guest, stripe_subscription_id__not_isnull=True)
        assert {row.stripe_subscription_id for row in ours} == set(theirs)
        for row in ours:
            assert row.stripe_subscription_id is not None
            await self._check_one(row, theirs[row.stripe_subscription_id])
        await self.subscriber.check()

    async def _check_one(self, row: BillingSubscription, theirs: dict[str, Any]) -> None:
        [item] = theirs["items"]["data"]
        price = await PlanPrice.get(id=row.price_id)
        assert row.stripe_status == theirs["status"]
        assert (price.stripe_price_id, price.plan_id) == (item["price"]["id"], row.plan_id)
        assert row.currency.lower() == theirs["currency"]
        assert row.cancel_at_period_end is theirs["cancel_at_period_end"]
        assert row.stripe_schedule_id == theirs["schedule"]
        assert row.default_payment_method == theirs["default_payment_method"]
        assert (row.paused_at is not None) == (theirs["status"] == "paused" or theirs["pause_collection"] is not None)
        assert row.current_period_end is not None
        assert int(row.current_period_end.timestamp()) == item["current_period_end"]
