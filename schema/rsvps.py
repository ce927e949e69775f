"""Guests' seats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from models.rsvps import Rsvp as RsvpRow
from schema import activities, payments
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import RsvpStatus
from schema.errors import Payload
from schema.ids import global_id
from schema.nodes import Node
from schema.users import User

if TYPE_CHECKING:
    from schema.activities import Activity
    from schema.payments import Payment
    from schema.refunds import Refund


@object_type
class Rsvp(Node):
    """A guest's seats: one for each `payForActivity`, so that a guest may hold several for one activity."""

    status: RsvpStatus = strawberry.field(description="Where it stands.")
    quantity: int = strawberry.field(description="How many seats.")
    row: strawberry.Private[RsvpRow]

    @classmethod
    def of(cls, row: RsvpRow) -> Rsvp:
        """From its row."""
        return cls(id=global_id("Rsvp", row.id), status=row.status, quantity=row.quantity, row=row)

    @field
    async def activity(self, info: Info) -> Annotated[Activity, strawberry.lazy("schema.activities")]:
        """What for."""
        return activities.Activity.of(await info.context.loaders.activities.load(self.row.activity_id))

    @field
    async def user(self, info: Info) -> User:
        """Whose."""
        return User.of(await info.context.loaders.users.load(self.row.user_id))

    @field
    async def payment(self, info: Info) -> Annotated[Payment, strawberry.lazy("schema.payments")] | None:
        """What pays for it."""
        row = await info.context.loaders.payments_by_rsvp.load(self.row.id)
        return None if row is None else payments.Payment.of(row)


@input_type
class CancelRsvpInput:
    """Which seats to give up."""

    rsvp_id: strawberry.ID = strawberry.field(description="The RSVP.")
    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")


@object_type
class CancelRsvpPayload(Payload):
    """What became of it."""

    rsvp: Rsvp | None = strawberry.field(default=None, description="The RSVP as it is now.")
    refund: Annotated[Refund, strawberry.lazy("schema.refunds")] | None = strawberry.field(
        default=None, description="What the guest gets back; null where nothing was paid."
    )
