"""What hosts offer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.activities import Activity as ActivityRow
from models.activity_cancellations import ActivityCancellation as ActivityCancellationRow
from schema import activity_cancellations
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import PayoutTiming
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money, MoneyInput
from schema.nodes import Node
from schema.users import User

if TYPE_CHECKING:
    from schema.activity_cancellations import ActivityCancellation


@object_type
class Activity(Node):
    """What a host offers. Visible to everyone with a token."""

    external_id: str = strawberry.field(description="The platform's own id of it.")
    title: str = strawberry.field(description="Its title.")
    starts_at: datetime = strawberry.field(description="When it starts.")
    ends_at: datetime | None = strawberry.field(description="When it ends; null: it is over when it starts.")
    capacity: int | None = strawberry.field(description="How many seats there are; null for no limit.")
    seats_taken: int = strawberry.field(description="How many seats are held or confirmed.")
    payout_timing: PayoutTiming = strawberry.field(description="When the host gets its part of a payment.")
    canceled_at: datetime | None = strawberry.field(
        description="When it was called off; null: it takes place. A canceled one takes no payments."
    )
    row: strawberry.Private[ActivityRow]

    @classmethod
    def of(cls, row: ActivityRow) -> Activity:
        """From its row."""
        return cls(
            id=global_id("Activity", row.id),
            external_id=row.external_id,
            title=row.title,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            capacity=row.capacity,
            seats_taken=row.seats_taken,
            payout_timing=row.payout_timing,
            canceled_at=row.canceled_at,
            row=row,
        )

    @field
    def price(self) -> Money:
        """The price of one seat."""
        return Money.of(self.row.price)

    @field
    async def host(self, info: Info) -> User:
        """Who offers it."""
        return User.of(await info.context.loaders.users.load(self.row.host_id))

    @field
    async def cancellation(
        self, info: Info
    ) -> Annotated[ActivityCancellation, strawberry.lazy("schema.activity_cancellations")] | None:
        """How far giving everybody their money back has come; null where it is not canceled, and for guests."""
        if self.row.canceled_at is None:
            return None
        known = await info.context.loaders.cancellations_of_activities.load(self.row.id)
        row = None if known is None else await info.context.loaders.visible(ActivityCancellationRow).load(known.id)
        return None if row is None else activity_cancellations.ActivityCancellation.of(row)


@input_type
class UpsertActivityInput:
    """An activity as the platform knows it."""

    external_id: str = strawberry.field(description="The platform's own id of it.")
    title: str = strawberry.field(description="Its title.")
    host_external_id: str = strawberry.field(description="The platform's own id of its host, who must be known here.")
    price: MoneyInput = strawberry.field(description="The price of one seat.")
    starts_at: datetime = strawberry.field(description="When it starts.")
    ends_at: datetime | None = strawberry.field(
        default=None, description="When it ends; where nothing is said it is over when it starts."
    )
    capacity: int | None = strawberry.field(default=None, description="How many seats there are; null for no limit.")
    payout_timing: PayoutTiming = strawberry.field(
        default=PayoutTiming.IMMEDIATE, description="When the host gets its part of a payment."
    )


@object_type
class UpsertActivityPayload(Payload):
    """What became of it."""

    activity: Activity | None = strawberry.field(default=None, description="The activity as it is now.")
