"""Calling activities off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.activities import Activity as ActivityRow
from models.events import EventSubject
from resolvers.arguments import StreamAfter, input_path
from resolvers.streams import follow
from schema.activity_cancellations import (
    ActivityCancellation,
    ActivityCancellationChange,
    ActivityCancellationPayload,
    ActivityCancellationPreview,
    CancelActivityInput,
    RetryActivityCancellationInput,
)
from schema.context import Info
from schema.described import field, mutation, object_type, subscription
from schema.errors import payload
from schema.ids import require_id
from services.activity_cancellation.beginning import cancel_activity, retry_cancellation
from services.activity_cancellation.preview import cancellation_preview
from services.errors import NotFound
from services.live import EventFilter


@object_type
class ActivityCancellationQueries:
    """Queries about calling activities off."""

    @field
    async def activity_cancellation_preview(
        self,
        info: Info,
        activity_id: Annotated[strawberry.ID, strawberry.argument(description="The activity.")],
    ) -> ActivityCancellationPreview:
        """What `cancelActivity` would give back, at whose cost, and whether it is there. For service and admin."""
        preview = await cancellation_preview(
            info.context.services,
            viewer=info.context.require_viewer(),
            activity_id=require_id("Activity", activity_id, ["activityId"]),
        )
        return ActivityCancellationPreview.of(preview)


@object_type
class ActivityCancellationMutations:
    """Calling activities off."""

    @mutation
    @payload(ActivityCancellationPayload)
    async def cancel_activity(
        self, info: Info, input: Annotated[CancelActivityInput, strawberry.argument(description="What to call off.")]
    ) -> ActivityCancellationPayload:
        """Call an activity off: no more payments, no seats, and everybody's money back. For service and admin.

        The answer comes at once, and refunds are made in the background. Asked for again, it answers the same
        cancellation as it is by then.
        """
        row = await cancel_activity(
            info.context.services,
            viewer=info.context.require_viewer(),
            activity_id=require_id("Activity", input.activity_id, input_path("activityId")),
            reason=input.reason,
        )
        return ActivityCancellationPayload(cancellation=ActivityCancellation.of(row))

    @mutation
    @payload(ActivityCancellationPayload)
    async def retry_activity_cancellation(
        self,
        info: Info,
        input: Annotated[RetryActivityCancellationInput, strawberry.argument(description="Which activity's.")],
    ) -> ActivityCancellationPayload:
        """Try again to give their money back to those who could not get it. For service and admin.

        Nobody is paid back twice.
        """
        row = await retry_cancellation(
            info.context.services,
            viewer=info.context.require_viewer(),
            activity_id=require_id("Activity", input.activity_id, input_path("activityId")),
        )
        return ActivityCancellationPayload(cancellation=ActivityCancellation.of(row))


@object_type
class ActivityCancellationSubscriptions:
    """How far cancellations have come."""

    @subscription
    async def activity_cancellation_changed(
        self,
        info: Info,
        activity_id: Annotated[strawberry.ID, strawberry.argument(description="The activity, canceled yet or not.")],
        after: StreamAfter = None,
    ) -> AsyncIterator[ActivityCancellationChange]:
        """How far an activity's cancellation has come, from its beginning, for its host and the platform."""
        moment = await info.context.services.live.moment()
        viewer = info.context.require_viewer()
        id_ = require_id("Activity", activity_id, ["activityId"])
        activity = await info.context.loaders.visible(ActivityRow).load(id_)
        user = await info.context.user()
        if activity is None or not (viewer.sees_everything or (user is not None and user.id == activity.host_id)):
            raise NotFound("There is no such activity of yours.", path=["activityId"])
        wanted = EventFilter(EventSubject.ACTIVITY_CANCELLATION, activity_id=id_)
        return follow(info.context, wanted, after, moment, ActivityCancellationChange.of)
