"""What can be subscribed to."""

from __future__ import annotations

import strawberry

from models.plans import Plan as PlanRow
from models.plans import PlanPrice as PlanPriceRow
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import PlanInterval
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money, MoneyInput
from schema.nodes import Node


@object_type
class Plan(Node):
    """What can be subscribed to. Visible to everyone with a token.

    Its price, interval and currencies are what new subscribers get; those who have subscribed keep theirs
    (`BillingSubscription.price`).
    """

    external_id: str = strawberry.field(description="The platform's own id of it.")
    name: str = strawberry.field(description="Its name.")
    trial_days: int = strawberry.field(description="How long it is free for a guest who never tried it; 0: not at all.")
    features: list[str] = strawberry.field(description="What it grants.")
    active: bool = strawberry.field(description="Whether it takes new subscribers.")
    row: strawberry.Private[PlanRow]

    @classmethod
    def of(cls, row: PlanRow) -> Plan:
        """From its row."""
        return cls(
            id=global_id("Plan", row.id),
            external_id=row.external_id,
            name=row.name,
            trial_days=row.trial_days,
            features=list(row.features),
            active=row.active,
            row=row,
        )

    @field
    async def price(self, info: Info) -> Money:
        """What a period costs, in the plan's main currency."""
        return Money.of((await self._price(info)).amount)

    @field
    async def prices(self, info: Info) -> list[Money]:
        """What a period costs in each currency that it can be paid in, the main one first."""
        return [Money.of(amount) for amount in (await self._price(info)).amounts]

    @field
    async def interval(self, info: Info) -> PlanInterval:
        """The unit of a period."""
        return (await self._price(info)).interval

    @field
    async def interval_count(self, info: Info) -> int:
        """How many of that unit a period has."""
        return (await self._price(info)).interval_count

    async def _price(self, info: Info) -> PlanPriceRow:
        return await info.context.loaders.offered_prices.load(self.row.id)


@input_type
class UpsertPlanInput:
    """A plan as the platform knows it."""

    external_id: str = strawberry.field(description="The platform's own id of it.")
    name: str = strawberry.field(description="Its name, as it stands on invoices: at most 250 characters.")
    price: MoneyInput = strawberry.field(
        description="What a period costs, in the plan's main currency; nothing for a free plan. Another price than"
        " before is for new subscribers: those who have subscribed keep theirs."
    )
    prices: list[MoneyInput] = strawberry.field(
        default_factory=list, description="The same in other currencies, one price for each."
    )
    interval: PlanInterval = strawberry.field(description="The unit of a period.")
    interval_count: int = strawberry.field(
        default=1, description="How many of that unit a period has; a period is three years at most."
    )
    trial_days: int = strawberry.field(
        default=0, description="How long it is free for a guest who never tried it, 0 to 730 days."
    )
    features: list[str] = strawberry.field(
        default_factory=list, description="What it grants: at most 15, each named once in at most 80 characters."
    )
    active: bool = strawberry.field(
        default=True, description="Whether it takes new subscribers; those who have subscribed keep it."
    )


@object_type
class UpsertPlanPayload(Payload):
    """What became of it."""

    plan: Plan | None = strawberry.field(default=None, description="The plan as it is now.")
