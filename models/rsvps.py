"""A guest's seats for an activity."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.activities import Activity
    from models.users import User


class RsvpStatus(StrEnum):
    """HELD while its payment is under way, CONFIRMED once paid; the other two gave their seats back."""

    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def takes_seats(self) -> bool:
        """Whether its seats count against the activity's capacity."""
        return self in {RsvpStatus.HELD, RsvpStatus.CONFIRMED}


class Rsvp(Changing):
    """One for each payment of an activity; a guest may hold several.

    `hold_expires_at` is null where the hold must not expire: while the bank works, once paid, or until an
    authorisation runs out.
    """

    activity: fields.ForeignKeyRelation[Activity] = fields.ForeignKeyField(
        "models.Activity", related_name="rsvps", on_delete=fields.RESTRICT
    )
    activity_id: UUID
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="rsvps", on_delete=fields.RESTRICT
    )
    user_id: UUID
    status = fields.CharEnumField(RsvpStatus, max_length=16, default=RsvpStatus.HELD)
    quantity = fields.IntField()
    hold_expires_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "rsvps"
