"""Billing subscriptions: a guest's standing order for a plan."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.plans import Plan, PlanPrice
    from models.users import User


class BillingSubscriptionStatus(StrEnum):
    """Stripe's statuses ("How subscriptions work"); PAUSED also where its collection is paused."""

    INCOMPLETE = "INCOMPLETE"
    INCOMPLETE_EXPIRED = "INCOMPLETE_EXPIRED"
    TRIALING = "TRIALING"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    UNPAID = "UNPAID"
    PAUSED = "PAUSED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether it has ended for good."""
        return self in _FINAL

    @property
    def entitles(self) -> bool:
        """Whether the plan's features are granted, as long as `entitled_until` has not passed."""
        return self in _ENTITLING


_FINAL = frozenset({BillingSubscriptionStatus.INCOMPLETE_EXPIRED, BillingSubscriptionStatus.CANCELED})
_ENTITLING = frozenset(
    {
        BillingSubscriptionStatus.TRIALING,
        BillingSubscriptionStatus.ACTIVE,
        BillingSubscriptionStatus.PAST_DUE,
        BillingSubscriptionStatus.PAUSED,  # what was paid for before
    }
)


class BillingSubscription(Changing):
    """One subscription of a guest to a plan ("The Subscription object"); a guest has one live one for each plan.

    `price` is what is billed and `plan` what it grants now; `next_price` what takes its place when the period ends or,
    without a schedule, once its invoice is paid. `trial_plan` is the plan that its trial began on.
    `stripe_status` is Stripe's own word, from which `status` follows together with what is paused and how our dunning
    ended. `entitled_until` is when the features end unless something happens before: the end of what is paid for, and
    the grace of those who have not canceled. `version` counts its changes and `position` orders them in the stream.
    """

    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="subscriptions", on_delete=fields.RESTRICT
    )
    user_id: UUID
    plan: fields.ForeignKeyRelation[Plan] = fields.ForeignKeyField(
        "models.Plan", related_name="subscriptions", on_delete=fields.RESTRICT
    )
    plan_id: UUID
    price: fields.ForeignKeyRelation[PlanPrice] = fields.ForeignKeyField(
        "models.PlanPrice", related_name="subscriptions", on_delete=fields.RESTRICT
    )
    price_id: UUID
    next_price: fields.ForeignKeyNullableRelation[PlanPrice] = fields.ForeignKeyField(
        "models.PlanPrice", related_name="next_subscriptions", on_delete=fields.RESTRICT, null=True
    )
    next_price_id: UUID | None
    trial_plan: fields.ForeignKeyNullableRelation[Plan] = fields.ForeignKeyField(
        "models.Plan", related_name="trials", on_delete=fields.RESTRICT, null=True
    )
    trial_plan_id: UUID | None
    currency = fields.CharField(max_length=3)
    status = fields.CharEnumField(
        BillingSubscriptionStatus, max_length=24, default=BillingSubscriptionStatus.INCOMPLETE
    )
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)

    stripe_subscription_id = fields.CharField(max_length=64, null=True, unique=True)
    stripe_item_id = fields.CharField(max_length=64, null=True)
    stripe_schedule_id = fields.CharField(max_length=64, null=True)
    stripe_status = fields.CharField(max_length=32, null=True)
    latest_invoice = fields.CharField(max_length=64, null=True)
    default_payment_method = fields.CharField(max_length=64, null=True)

    current_period_start: datetime | None = fields.DatetimeField(null=True)
    current_period_end: datetime | None = fields.DatetimeField(null=True)
    trial_end: datetime | None = fields.DatetimeField(null=True)
    cancel_at: datetime | None = fields.DatetimeField(null=True)
    cancel_at_period_end = fields.BooleanField(default=False)
    canceled_at: datetime | None = fields.DatetimeField(null=True)
    ended_at: datetime | None = fields.DatetimeField(null=True)
    paused_at: datetime | None = fields.DatetimeField(null=True)
    resumes_at: datetime | None = fields.DatetimeField(null=True)
    past_due_since: datetime | None = fields.DatetimeField(null=True)
    unpaid_since: datetime | None = fields.DatetimeField(null=True)
    entitled_until: datetime | None = fields.DatetimeField(null=True)
    next_payment_attempt: datetime | None = fields.DatetimeField(null=True)

    client_secret = fields.CharField(max_length=255, null=True)
    next_action: dict[str, Any] | None = fields.JSONField(null=True)

    class Meta:
        table = "subscriptions"

    def is_entitled(self, now: datetime) -> bool:
        """Whether the plan's features are granted at that moment."""
        return self.status.entitles and self.entitled_until is not None and now < self.entitled_until
