"""Following payments live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.activities import Activity as ActivityRow
from models.events import EventSubject
from models.payments import Payment as PaymentRow
from resolvers.arguments import StreamAfter
from resolvers.streams import follow
from schema.context import Info
from schema.described import object_type, subscription
from schema.ids import require_id
from schema.payment_changes import PaymentStatusChange
from services.errors import NotFound
from services.live import EventFilter


@object_type
class PaymentSubscriptions:
    """Changes of payments."""

    @subscription
    async def payment_status_changed(
        self,
        info: Info,
        payment_id: Annotated[strawberry.ID, strawberry.argument(description="The payment.")],
        after: StreamAfter = None,
    ) -> AsyncIterator[PaymentStatusChange]:
        """Each change of one payment, for whoever may see it."""
        moment = await info.context.services.live.moment()
        info.context.require_viewer()
        id_ = require_id("Payment", payment_id, ["paymentId"])
        if await info.context.loaders.visible(PaymentRow).load(id_) is None:
            raise NotFound("There is no such payment.", path=["paymentId"])
        return follow(
            info.context, EventFilter(EventSubject.PAYMENT, subject_id=id_), after, moment, PaymentStatusChange.of
        )

    @subscription
    async def activity_payment_status_changed(
        self,
        info: Info,
        activity_id: Annotated[strawberry.ID, strawberry.argument(description="The activity.")],
        after: StreamAfter = None,
    ) -> AsyncIterator[PaymentStatusChange]:
        """Each change of each payment for an activity, for its host and the platform."""
        moment = await info.context.services.live.moment()
        viewer = info.context.require_viewer()
        id_ = require_id("Activity", activity_id, ["activityId"])
        activity = await info.context.loaders.visible(ActivityRow).load(id_)
        user = await info.context.user()
        if activity is None or not (viewer.sees_everything or (user is not None and user.id == activity.host_id)):
            raise NotFound("There is no such activity of yours.", path=["activityId"])
        return follow(
            info.context, EventFilter(EventSubject.PAYMENT, activity_id=id_), after, moment, PaymentStatusChange.of
        )

    @subscription
    async def viewer_payment_status_changed(
        self, info: Info, after: StreamAfter = None
    ) -> AsyncIterator[PaymentStatusChange]:
        """Each change of each payment that the viewer makes or, as a host, is paid by."""
        moment = await info.context.services.live.moment()
        info.context.require_viewer()
        user = await info.context.user()
        if user is None:
            raise NotFound("There is no such person here yet.")
        return follow(
            info.context, EventFilter(EventSubject.PAYMENT, party_id=user.id), after, moment, PaymentStatusChange.of
        )
