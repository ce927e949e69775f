"""What hosts offer and guests pay for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing
from models.money import Money

if TYPE_CHECKING:
    from models.users import User


class PayoutTiming(StrEnum):
    """When the host's part of a payment leaves the platform."""

    IMMEDIATE = "IMMEDIATE"
    AFTER_ACTIVITY = "AFTER_ACTIVITY"


class Activity(Changing):
    """One activity; `seats_taken` counts held and confirmed seats and never exceeds `capacity` (null: no limit).

    One that does not say when it ends is over when it starts. A canceled one takes no more payments.
    """

    external_id = fields.CharField(max_length=255, unique=True)
    title = fields.CharField(max_length=255)
    host: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="activities", on_delete=fields.RESTRICT
    )
    host_id: UUID
    price_minor: int = fields.BigIntField()
    currency = fields.CharField(max_length=3)
    starts_at = fields.DatetimeField()
    ends_at: datetime | None = fields.DatetimeField(null=True)
    canceled_at: datetime | None = fields.DatetimeField(null=True)
    capacity: int | None = fields.IntField(null=True)
    seats_taken = fields.IntField(default=0)
    payout_timing = fields.CharEnumField(PayoutTiming, max_length=16, default=PayoutTiming.IMMEDIATE)

    class Meta:
        table = "activities"

    @property
    def price(self) -> Money:
        """The price of one seat."""
        return Money(self.price_minor, self.currency)

    @property
    def seats_left(self) -> int | None:
        """Seats that can still be held; None where there is no limit."""
        return None if self.capacity is None else self.capacity - self.seats_taken
