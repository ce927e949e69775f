"""Plans as the platform tells of them, and what Stripe has of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.money import Money
from models.operations import Operation, OperationStatus
from models.plans import Plan, PlanInterval, PlanPrice
from services.plans.contents import PlanContents
from services.plans.upsert import upsert_plan
from services.viewer import Role, Viewer

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

SERVICE = Viewer(Role.SERVICE, "platform")


def contents(**values: Any) -> PlanContents:
    """A plan of 10 USD a month, with one feature, but for what is said otherwise."""
    given: dict[str, Any] = {
        "external_id": f"plan-{uuid4()}", "name": "Premium", "price": Money(1000, "USD"), "prices": (),
        "interval": PlanInterval.MONTH, "interval_count": 1, "trial_days": 0, "features": ("priority",), "active": True,
    }  # fmt: skip
    return PlanContents(**{**given, **values})


@dataclass(frozen=True)
class Catalogue:
    """The plans of one database, and of the sandbox."""

    services: Services
    sandbox: Sandbox
    clock: Clock

    def through(self, services: Services) -> Catalogue:
        """The same by way of other services."""
        return replace(self, services=services)

    async def tell(self, wanted: PlanContents) -> Plan:
        """The platform's backend tells of a plan."""
        return await upsert_plan(self.services, viewer=SERVICE, contents=wanted)

    async def plan(self, **values: Any) -> Plan:
        """A new plan."""
        return await self.tell(contents(**values))

    async def offered(self, plan: Plan) -> PlanPrice:
        """What new subscribers pay."""
        return await PlanPrice.get(plan_id=plan.id, current=True)

    async def prices(self, plan: Plan) -> list[PlanPrice]:
        """All that it ever had, the newest first."""
        return await PlanPrice.filter(plan_id=plan.id).order_by("-id")

    async def products_at_stripe(self, plan: Plan) -> list[dict[str, Any]]:
        """All that were ever made for the plan."""
        products = await self.sandbox.every("/v1/products")
        return [product for product in products if product["metadata"].get("plan_id") == str(plan.id)]

    async def prices_at_stripe(self, plan: Plan) -> list[dict[str, Any]]:
        """All that were ever made for the plan, the newest first."""
        [product] = await self.products_at_stripe(plan)
        return await self.sandbox.every(
            "/v1/prices", {"product": product["id"], "expand": ["data.currency_options"]}
        )

    async def recover(self) -> None:
        """Let time pass until every operation has come to its end."""
        for _ in range(30):
            if not await Operation.filter(status=OperationStatus.RUNNING).exists():
                return
            self.clock.forward(seconds=700)
            await self.services.operations.recover(self.services)
        left = await Operation.filter(status=OperationStatus.RUNNING)
        raise AssertionError([(operation.kind, operation.attempts) for operation in left])

    async def check(self, wanted: PlanContents) -> None:
        """Here and at Stripe there is this plan, once, at this price alone, and nothing half."""
        plan = await Plan.get(external_id=wanted.external_id)
        price = await self.offered(plan)
        assert wanted.is_plan(plan)
        assert wanted.is_price(price)
        [product] = await self.products_at_stripe(plan)
        assert (product["id"], product["name"]) == (plan.stripe_product_id, wanted.name)
        assert product["active"] is wanted.active
        assert [feature["name"] for feature in product["marketing_features"]] == list(wanted.features)
        assert product["default_price"] == price.stripe_price_id
        made = await self.prices_at_stripe(plan)
        ours = [price for price in await self.prices(plan) if price.stripe_price_id is not None]
        assert {price.stripe_price_id for price in ours} == {price["id"] for price in made}
        assert [price["id"] for price in made if price["active"]] == [price.stripe_price_id]
        assert [price.id for price in ours if not price.archived] == [price.id]
        [sold] = [other for other in made if other["active"]]
        assert (sold["unit_amount"], sold["currency"]) == (wanted.price.wire, wanted.price.currency.lower())
        assert {code: option["unit_amount"] for code, option in sold["currency_options"].items()} == {
            amount.currency.lower(): amount.wire for amount in (wanted.price, *wanted.prices)
        }
        assert sold["recurring"]["interval"] == wanted.interval.value.lower()
        assert sold["recurring"]["interval_count"] == wanted.interval_count
