"""Plans: what can be subscribed to, and its prices, which never change."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields

from models.base import Changing
from models.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping


class PlanInterval(StrEnum):
    """How long a billing period is, times the interval count."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


# A mean month is 30.4375 days, a mean year twelve of them.
_SIXTEENTHS_OF_DAYS = {
    PlanInterval.DAY: 16, PlanInterval.WEEK: 112, PlanInterval.MONTH: 487, PlanInterval.YEAR: 5844,
}  # fmt: skip


class Plan(Changing):
    """One plan, known to the platform by `external_id`; Stripe's product ("The Product object").

    `revision` counts what the platform has asked for: each revision is one operation at Stripe.
    """

    external_id = fields.CharField(max_length=255, unique=True)
    name = fields.CharField(max_length=250)
    features: list[str] = fields.JSONField(default=list)
    trial_days = fields.IntField(default=0)
    active = fields.BooleanField(default=True)
    revision = fields.IntField(default=1)
    stripe_product_id = fields.CharField(max_length=64, null=True, unique=True)

    class Meta:
        table = "plans"


class PlanPrice(Changing):
    """One price of a plan ("The Price object"): immutable, so that subscribers keep theirs when the plan gets another.

    `amount_minor` is in `currency`; `currency_options` has the same price in other currencies, minor units by code.
    The newest is what the platform asked for last. `current` is what new subscribers get: the newest that is at Stripe
    (at most one of a plan's prices); before it has Stripe's id it is being made. An `archived` one is sold no more.
    """

    plan: fields.ForeignKeyRelation[Plan] = fields.ForeignKeyField(
        "models.Plan", related_name="prices", on_delete=fields.RESTRICT
    )
    plan_id: UUID
    currency = fields.CharField(max_length=3)
    amount_minor: int = fields.BigIntField()
    currency_options: Mapping[str, int] = fields.JSONField(default=dict)
    interval = fields.CharEnumField(PlanInterval, max_length=8)
    interval_count = fields.IntField(default=1)
    current = fields.BooleanField(default=False)
    archived = fields.BooleanField(default=False)
    stripe_price_id = fields.CharField(max_length=64, null=True, unique=True)

    class Meta:
        table = "plan_prices"

    @property
    def amount(self) -> Money:
        """The price in its main currency."""
        return Money(self.amount_minor, self.currency)

    @property
    def sixteenths_of_days(self) -> int:
        """How long a period is on average, so that what plans cost for their time is compared in whole numbers."""
        return _SIXTEENTHS_OF_DAYS[self.interval] * self.interval_count

    def amount_in(self, currency: str) -> Money | None:
        """The price in a currency; None where it has none in it."""
        minor = self.amount_minor if currency == self.currency else self.currency_options.get(currency)
        return None if minor is None else Money(minor, currency)

    @property
    def amounts(self) -> list[Money]:
        """The price in each currency, the main one first."""
        return [self.amount, *(Money(minor, code) for code, minor in sorted(self.currency_options.items()))]
