"""Entitlements: which features a guest's plans grant, to the second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from models.sets import from_joined, joined_columns
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services.viewer import Role

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from services.core import Services
    from services.viewer import Viewer

# `BillingSubscriptionStatus.entitles`, written out so that the planner knows the index for it.
_GRANTING = "s.status IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'PAUSED') AND s.entitled_until > $2"
_IS_GRANTED = f"""
SELECT EXISTS (
    SELECT FROM users u JOIN subscriptions s ON s.user_id = u.id AND {_GRANTING} JOIN plans p ON p.id = s.plan_id
    WHERE u.external_id = $1 AND p.features ? $3
)
"""


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A feature that a plan grants now; it ends at `expires_at` unless something happens before, None: never."""

    feature: str
    subscription: BillingSubscription
    expires_at: datetime | None


async def list_entitlements(services: Services, *, viewer: Viewer, external_id: str) -> list[Entitlement]:
    """What a person's plans grant at this second, each feature once, by the one that grants it longest.

    One indexed statement; nobody of this id, or nothing granted, is an empty list.

    Raises: Forbidden where the person is not the viewer, nor the viewer the platform's.
    """
    if viewer.role is not Role.USER or viewer.external_id != external_id:
        viewer.require(Role.SERVICE, Role.ADMIN)
    if _is_nobodys(external_id):
        return []
    records = await services.database.pool.fetch(_granted_features(), external_id, services.clock())
    found = ((record["feature"], from_joined(BillingSubscription, record, "s")) for record in records)
    return [Entitlement(feature, row, row.entitled_until) for feature, row in found if row is not None]


async def is_entitled(services: Services, *, viewer: Viewer, external_id: str, feature: str) -> bool:
    """Whether a person's plans grant a feature at this second; one indexed statement, for each request of a platform.

    Raises: Forbidden for whoever is not the platform.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    if _is_nobodys(external_id) or _is_nobodys(feature):
        return False
    granted: bool = await services.database.pool.fetchval(_IS_GRANTED, external_id, services.clock(), feature)
    return granted


def _is_nobodys(text: str) -> bool:
    """Whether the database cannot even hold it, so that nobody and nothing is called so."""
    return "\x00" in text


def entitled_until(subscription: BillingSubscription, grace: timedelta) -> datetime | None:
    """When a plan's features end unless something happens before; None where they are not granted.

    | status | granted until |
    |---|---|
    | INCOMPLETE, INCOMPLETE_EXPIRED, UNPAID, CANCELED | not at all: nothing is paid for |
    | TRIALING, ACTIVE | the period's end and the grace, in which the renewal is paid |
    | the same, where the period's invoice was given up | `past_due_since` and the grace |
    | the same, where it was set aside as the subscription was paused | `past_due_since`, without grace |
    | PAST_DUE | `past_due_since` (the first unpaid period's start) and the grace |
    | PAUSED | the end of the period in which it was paused, without grace; `past_due_since` where that comes before |
    | any of these that is to end (`cancel_at`, `cancel_at_period_end`) | no longer than that second, without grace |

    Args:
        subscription: as it is after Stripe's facts were applied, with its status.
        grace: how long features outlast what was paid for; none where it was set aside.
    """
    until = _granted(subscription, grace)
    ends_at = _ends_at(subscription)
    return until if until is None or ends_at is None else min(until, ends_at)


def _granted(subscription: BillingSubscription, grace: timedelta) -> datetime | None:
    unpaid_since = subscription.past_due_since
    match subscription.status:
        case BillingSubscriptionStatus.TRIALING | BillingSubscriptionStatus.ACTIVE:
            until = unpaid_since or subscription.current_period_end
            return None if until is None else until + grace
        case BillingSubscriptionStatus.PAST_DUE:
            until = unpaid_since or subscription.current_period_start
            return None if until is None else until + grace
        case BillingSubscriptionStatus.PAUSED:
            until = _paused_until(subscription)
            return until if until is None or unpaid_since is None else min(until, unpaid_since)
        case _:
            return None


def _paused_until(subscription: BillingSubscription) -> datetime | None:
    """The end of the period in which it was paused: Stripe's periods go on, but nothing is paid for them."""
    start, paused_at = subscription.current_period_start, subscription.paused_at
    if start is not None and paused_at is not None and paused_at < start:
        return start
    return subscription.current_period_end


def _ends_at(subscription: BillingSubscription) -> datetime | None:
    ends = [subscription.cancel_at] if subscription.cancel_at is not None else []
    if subscription.cancel_at_period_end and subscription.current_period_end is not None:
        ends.append(subscription.current_period_end)
    return min(ends, default=None)


@cache
def _granted_features() -> str:
    return f"""
    SELECT DISTINCT ON (f.feature) f.feature, {joined_columns(BillingSubscription, "s")}
    FROM users u JOIN subscriptions s ON s.user_id = u.id AND {_GRANTING} JOIN plans p ON p.id = s.plan_id,
        jsonb_array_elements_text(p.features) AS f(feature)
    WHERE u.external_id = $1 ORDER BY f.feature, s.entitled_until DESC, s.id
    """
