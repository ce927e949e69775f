"""What Stripe says of subscriptions, read once into our own terms (the Subscription object)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.subscriptions import BillingSubscriptionStatus
from services.payments.facts import id_of, next_action_of, optional_instant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_STATUSES = {
    "incomplete": BillingSubscriptionStatus.INCOMPLETE,
    "incomplete_expired": BillingSubscriptionStatus.INCOMPLETE_EXPIRED,
    "trialing": BillingSubscriptionStatus.TRIALING,
    "active": BillingSubscriptionStatus.ACTIVE,
    "past_due": BillingSubscriptionStatus.PAST_DUE,
    "unpaid": BillingSubscriptionStatus.UNPAID,
    "paused": BillingSubscriptionStatus.PAUSED,
    "canceled": BillingSubscriptionStatus.CANCELED,
}


def status_of(stripe_status: str) -> BillingSubscriptionStatus:
    """Stripe's own word in our terms."""
    return _STATUSES[stripe_status]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the guest has to confirm: a payment ("pi_…_secret_…") or the saving of a card ("seti_…_secret_…")."""

    client_secret: str | None
    next_action: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionFacts:
    """One state of a subscription; Stripe's ids as they are."""

    id: str
    stripe_status: str
    customer: str
    currency: str
    metadata: Mapping[str, str]
    item_id: str | None
    price_id: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    trial_end: datetime | None
    cancel_at: datetime | None
    cancel_at_period_end: bool
    canceled_at: datetime | None
    ended_at: datetime | None
    collection_paused: bool
    """Whether its invoices are not collected for a time (`pause_collection`); it goes on as active otherwise."""
    paused_at: datetime | None
    """When Stripe paused it; null where only its collection is paused, of which Stripe keeps no time."""
    resumes_at: datetime | None
    default_payment_method: str | None
    latest_invoice: str | None
    schedule_id: str | None
    next_price_id: str | None
    """The price of the schedule's next phase, or of an update that waits for its payment; null where there is none, or
    the schedule was not expanded."""
    schedule_known: bool
    """Whether the schedule was expanded, or there is none."""
    confirmation: Confirmation | None
    """What is to be confirmed now; None where nothing is."""
    confirmation_known: bool
    """Whether what it is found in was expanded; else what was known before stays."""

    @property
    def is_final(self) -> bool:
        """Whether it has ended for good."""
        return status_of(self.stripe_status).is_final

    @property
    def is_paused(self) -> bool:
        """Whether it is paused, by Stripe itself or in its collection."""
        return self.collection_paused or status_of(self.stripe_status) is BillingSubscriptionStatus.PAUSED

    @classmethod
    def parse(cls, body: dict[str, Any]) -> SubscriptionFacts:
        """From a Subscription, with `SUBSCRIPTION_EXPANSIONS` or, as events have it, without."""
        # The period is the items' ("Deprecates current_period_start and current_period_end on subscriptions"); a
        # subscription of ours has one item.
        items = (body.get("items") or {}).get("data") or []
        item = items[0] if items else {}
        pause = body.get("pause_collection")
        paused = (body.get("status_details") or {}).get("paused") or {}
        latest, setup = body.get("latest_invoice"), body.get("pending_setup_intent")
        schedule = body.get("schedule")
        return cls(
            id=body["id"],
            stripe_status=body["status"],
            customer=id_of(body["customer"]) or "",
            currency=body["currency"].upper(),
            metadata=body.get("metadata") or {},
            item_id=item.get("id"),
            price_id=id_of(item.get("price")),
            current_period_start=optional_instant(item.get("current_period_start")),
            current_period_end=optional_instant(item.get("current_period_end")),
            trial_end=optional_instant(body.get("trial_end")),
            cancel_at=optional_instant(body.get("cancel_at")),
            cancel_at_period_end=bool(body.get("cancel_at_period_end")),
            canceled_at=optional_instant(body.get("canceled_at")),
            ended_at=optional_instant(body.get("ended_at")),
            collection_paused=pause is not None,
            paused_at=optional_instant(paused.get("transitioned_at")) if body["status"] == "paused" else None,
            resumes_at=optional_instant((pause or {}).get("resumes_at")),
            default_payment_method=id_of(body.get("default_payment_method")),
            latest_invoice=id_of(latest),
            schedule_id=id_of(schedule),
            next_price_id=_next_price(schedule) or _price_to_pay(body.get("pending_update")),
            schedule_known=not isinstance(schedule, str),
            confirmation=_confirmation(body, latest, setup),
            confirmation_known=not isinstance(latest, str) and not isinstance(setup, str),
        )


def _next_price(schedule: Any) -> str | None:
    """The price of the first phase that begins when the current one ends, or later."""
    if not isinstance(schedule, dict):
        return None
    current = schedule.get("current_phase") or {}
    for phase in schedule.get("phases") or []:
        if phase["start_date"] >= current.get("end_date", phase["start_date"]) and phase.get("items"):
            return id_of(phase["items"][0].get("price"))
    return None


def _price_to_pay(pending: dict[str, Any] | None) -> str | None:
    """The price that takes the place of the item's once what is due for it is paid ("Pending updates")."""
    items = (pending or {}).get("subscription_items") or []
    return id_of(items[0].get("price")) if items else None


def _confirmation(body: dict[str, Any], latest: Any, setup: Any) -> Confirmation | None:
    # A first payment, an update that waits for its payment, or the resumption of what Stripe paused.
    waits = body["status"] in {"incomplete", "paused"} or body.get("pending_update") is not None
    if waits and isinstance(latest, dict) and latest.get("status") == "open":
        secret = (latest.get("confirmation_secret") or {}).get("client_secret")
        return Confirmation(secret) if secret else None
    if isinstance(setup, dict) and setup.get("status") not in {"succeeded", "canceled"}:
        return Confirmation(setup.get("client_secret"), next_action_of(setup.get("next_action")))
    return None
