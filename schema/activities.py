"""What hosts offer."""

from __future__ import annotations

from datetime import datetime

import strawberry

from models.activities import Activity as ActivityRow
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import PayoutTiming
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money, MoneyInput
from schema.nodes import Node
from schema.users import User


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
