"""Entitlements: which features a guest's plans grant, to the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.subscriptions import BillingSubscriptionStatus

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from models.subscriptions import BillingSubscription


def entitled_until(subscription: BillingSubscription, grace: timedelta) -> datetime | None:
    """When a plan's features end unless something happens before; None where they are not granted.

    | status | granted until |
    |---|---|
    | INCOMPLETE, INCOMPLETE_EXPIRED, UNPAID, CANCELED | not at all: nothing is paid for |
    | TRIALING, ACTIVE | the period's end and the grace, in which the renewal is paid |
    | PAST_DUE | `past_due_since` (the first unpaid period's start) and the grace |
    | PAUSED | the end of the period in which it was paused, without grace; not at all where our dunning paused it |
    | any of these that is to end (`cancel_at`, `cancel_at_period_end`) | no longer than that second, without grace |

    Args:
        subscription: as it is after Stripe's facts were applied, with its status.
        grace: how long features outlast what was paid for.
    """
    until = _granted(subscription, grace)
    ends_at = _ends_at(subscription)
    return until if until is None or ends_at is None else min(until, ends_at)


def _granted(subscription: BillingSubscription, grace: timedelta) -> datetime | None:
    period_end = subscription.current_period_end
    match subscription.status:
        case BillingSubscriptionStatus.TRIALING | BillingSubscriptionStatus.ACTIVE:
            return None if period_end is None else period_end + grace
        case BillingSubscriptionStatus.PAST_DUE:
            unpaid_since = subscription.past_due_since or subscription.current_period_start
            return None if unpaid_since is None else unpaid_since + grace
        case BillingSubscriptionStatus.PAUSED if subscription.unpaid_since is None:
            return _paid_until(subscription)
        case _:
            return None


def _paid_until(subscription: BillingSubscription) -> datetime | None:
    """The end of the period in which it was paused: Stripe's periods go on, but nothing is paid for them."""
    start, end, paused_at = subscription.current_period_start, subscription.current_period_end, subscription.paused_at
    if start is None or paused_at is None or paused_at >= start:
        return end
    return start


def _ends_at(subscription: BillingSubscription) -> datetime | None:
    ends = [subscription.cancel_at] if subscription.cancel_at is not None else []
    if subscription.cancel_at_period_end and subscription.current_period_end is not None:
        ends.append(subscription.current_period_end)
    return min(ends, default=None)
