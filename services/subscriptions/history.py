"""A subscription's changes as events and audit entries keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.events import EventSubject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from models.subscriptions import BillingSubscription
    from services.changes import ChangeSet


def snapshot(subscription: BillingSubscription) -> dict[str, Any]:
    """What of a subscription can change, without secrets; times as ISO 8601 has them."""
    return {
        "status": subscription.status.value,
        "stripe_status": subscription.stripe_status,
        "stripe_subscription_id": subscription.stripe_subscription_id,
        "stripe_schedule_id": subscription.stripe_schedule_id,
        "plan_id": str(subscription.plan_id),
        "price_id": str(subscription.price_id),
        "next_price_id": None if subscription.next_price_id is None else str(subscription.next_price_id),
        "latest_invoice": subscription.latest_invoice,
        "default_payment_method": subscription.default_payment_method,
        "current_period_start": _text(subscription.current_period_start),
        "current_period_end": _text(subscription.current_period_end),
        "trial_end": _text(subscription.trial_end),
        "cancel_at": _text(subscription.cancel_at),
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "canceled_at": _text(subscription.canceled_at),
        "ended_at": _text(subscription.ended_at),
        "paused_at": _text(subscription.paused_at),
        "resumes_at": _text(subscription.resumes_at),
        "past_due_since": _text(subscription.past_due_since),
        "unpaid_since": _text(subscription.unpaid_since),
        "entitled_until": _text(subscription.entitled_until),
        "next_payment_attempt": _text(subscription.next_payment_attempt),
        "needs_confirmation": subscription.client_secret is not None,
    }


def record_change(
    changes: ChangeSet,
    subscription: BillingSubscription,
    action: str,
    before: Mapping[str, Any] | None,
    *,
    notice: str | None = None,
) -> None:
    """Record that a subscription is no longer what `before` (a `snapshot`; None: it was created) says.

    Args:
        notice: something that is told of it while it stays as it is.
    """
    after = snapshot(subscription)
    changes.record(
        EventSubject.SUBSCRIPTION,
        subscription,
        action,
        previous_status=None if before is None else before["status"],
        status=subscription.status.value,
        before=before,
        after=after if notice is None else {**after, "notice": notice},
        payer_id=subscription.user_id,
    )


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
