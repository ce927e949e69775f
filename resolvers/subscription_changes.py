"""Following billing subscriptions live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.events import EventSubject
from models.subscriptions import BillingSubscription as BillingSubscriptionRow
from resolvers.arguments import StreamAfter
from resolvers.streams import follow
from schema.context import Info
from schema.described import object_type, subscription
from schema.ids import require_id
from schema.subscription_changes import BillingSubscriptionChange
from services.errors import NotFound
from services.live import EventFilter


@object_type
class BillingSubscriptionSubscriptions:
    """Changes of billing subscriptions."""

    @subscription
    async def subscription_status_changed(
        self,
        info: Info,
        subscription_id: Annotated[strawberry.ID, strawberry.argument(description="The billing subscription.")],
        after: StreamAfter = None,
    ) -> AsyncIterator[BillingSubscriptionChange]:
        """Each change of one billing subscription, for its guest and the platform."""
        moment = await info.context.services.live.moment()
        info.context.require_viewer()
        id_ = require_id("BillingSubscription", subscription_id, ["subscriptionId"])
        if await info.context.loaders.visible(BillingSubscriptionRow).load(id_) is None:
            raise NotFound("There is no such subscription.", path=["subscriptionId"])
        wanted = EventFilter(EventSubject.SUBSCRIPTION, subject_id=id_)
        return follow(info.context, wanted, after, moment, BillingSubscriptionChange.of)
