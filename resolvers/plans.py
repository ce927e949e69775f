"""Plans."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers.arguments import input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.plans import Plan, UpsertPlanInput, UpsertPlanPayload
from services.plans.contents import PlanContents
from services.plans.reading import list_plans
from services.plans.upsert import upsert_plan


@object_type
class PlanQueries:
    """Queries about plans."""

    @field
    async def plans(self, info: Info) -> list[Plan]:
        """What can be subscribed to, for everyone with a token, the oldest first."""
        info.context.require_viewer()
        return [Plan.of(row) for row in await list_plans(info.context.services)]


@object_type
class PlanMutations:
    """What the platform's own backend tells of plans."""

    @mutation
    @payload(UpsertPlanPayload)
    async def upsert_plan(
        self, info: Info, input: Annotated[UpsertPlanInput, strawberry.argument(description="The plan.")]
    ) -> UpsertPlanPayload:
        """Create or update a plan by the platform's own id, here and at Stripe. For the roles service and admin."""
        row = await upsert_plan(
            info.context.services,
            viewer=info.context.require_viewer(),
            contents=PlanContents(
                external_id=input.external_id,
                name=input.name,
                price=input.price.to_money(input_path("price")),
                prices=tuple(price.to_money(input_path("prices")) for price in input.prices),
                interval=input.interval,
                interval_count=input.interval_count,
                trial_days=input.trial_days,
                features=tuple(input.features),
                active=input.active,
            ),
        )
        return UpsertPlanPayload(plan=Plan.of(row))
