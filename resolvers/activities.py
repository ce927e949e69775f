"""Activities."""

from __future__ import annotations

from typing import Annotated

import strawberry

from models.activities import Activity as ActivityRow
from resolvers.arguments import Id, input_path
from schema.activities import Activity, UpsertActivityInput, UpsertActivityPayload
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.ids import id_of
from services import activities


@object_type
class ActivityQueries:
    """Queries about activities."""

    @field
    async def activity(self, info: Info, id: Id) -> Activity | None:
        """An activity, for everyone with a token; null for an unknown id."""
        info.context.require_viewer()
        id_ = id_of("Activity", id)
        row = None if id_ is None else await info.context.loaders.visible(ActivityRow).load(id_)
        return None if row is None else Activity.of(row)


@object_type
class ActivityMutations:
    """What the platform's own backend tells of activities."""

    @mutation
    @payload(UpsertActivityPayload)
    async def upsert_activity(
        self, info: Info, input: Annotated[UpsertActivityInput, strawberry.argument(description="The activity.")]
    ) -> UpsertActivityPayload:
        """Create or update an activity by the platform's own id. For the roles service and admin."""
        viewer = info.context.require_viewer()
        row = await activities.upsert_activity(
            info.context.services,
            viewer=viewer,
            external_id=input.external_id,
            title=input.title,
            host_external_id=input.host_external_id,
            price=input.price.to_money(input_path("price")),
            starts_at=input.starts_at,
            ends_at=input.ends_at,
            capacity=input.capacity,
            payout_timing=input.payout_timing,
        )
        return UpsertActivityPayload(activity=Activity.of(row))
