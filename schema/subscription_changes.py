"""Changes of billing subscriptions: what history lists and the live stream delivers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

import strawberry

from schema import subscriptions
from schema.context import Info
from schema.described import field, object_type
from schema.enums import BillingSubscriptionStatus
from schema.pages import Connection
from services.live import LiveChange

if TYPE_CHECKING:
    from schema.subscriptions import BillingSubscription
    from services.pages import Page


@object_type
class BillingSubscriptionChange:
    """One change of a subscription. Another plan or period is a change too, where the status stays the same."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    previous_status: BillingSubscriptionStatus | None = strawberry.field(
        description="The status before; null for the subscription's creation."
    )
    status: BillingSubscriptionStatus = strawberry.field(description="The status that it changed to.")
    notice: str | None = strawberry.field(
        description="What is told while nothing need change: `trial_will_end`, three days before a trial ends; and of a"
        " renewal that failed `dunning.failed` at each try, `dunning.new_method` when another is to be tried, then"
        " `dunning.recovered`, `dunning.exhausted` or `dunning.closed`."
    )
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> BillingSubscriptionChange:
        """From an event of the stream."""
        event = change.event
        previous = event.previous_status
        return cls(
            cursor=change.cursor,
            previous_status=None if previous is None else BillingSubscriptionStatus(previous),
            status=BillingSubscriptionStatus(event.status),
            notice=event.detail.get("notice"),
            occurred_at=event.created_at,
            change=change,
        )

    @field
    async def subscription(
        self, info: Info
    ) -> Annotated[BillingSubscription, strawberry.lazy("schema.subscriptions")]:
        """The subscription as it is now, which may be later than this change."""
        row = await info.context.loaders.subscriptions.load(self.change.event.subject_id)
        return subscriptions.BillingSubscription.of(row)


@object_type
class BillingSubscriptionChangeConnection(Connection[BillingSubscriptionChange]):
    """A page of a subscription's history, the oldest first."""

    @classmethod
    def of_changes(cls, page: Page[LiveChange]) -> Self:
        """From the service's answer."""
        return cls.of(page, BillingSubscriptionChange.of, lambda change: change.cursor)
