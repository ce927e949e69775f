"""Requests to Stripe about subscriptions, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Without these a subscription does not say what its guest has to confirm, and what is to become of it.
SUBSCRIPTION_EXPANSIONS = (
    "latest_invoice.confirmation_secret", "latest_invoice.payments", "pending_setup_intent", "schedule",
)  # fmt: skip


def retrieve_subscription(subscription: str) -> StripeRequest:
    """ "Retrieve a subscription", with what its guest has to confirm and its schedule."""
    return StripeRequest.build("get", f"/v1/subscriptions/{subscription}", {"expand": SUBSCRIPTION_EXPANSIONS})


def list_subscriptions(*, customer: str) -> StripeRequest:
    """ "List subscriptions" of a customer, those that have ended too."""
    return StripeRequest.build(
        "get", "/v1/subscriptions", {"customer": customer, "status": "all", "limit": 100}
    )


def create_subscription(
    *, customer: str, price: str, currency: str, payment_method: str | None, trial_days: int | None,
    metadata: Mapping[str, str],
) -> StripeRequest:  # fmt: skip
    """ "Create a subscription" whose guest is there to confirm the first payment; without it, it stays incomplete.

    A trial of which nothing can be charged when it ends pauses the subscription then.

    Args:
        payment_method: what pays, now and later; None: the customer's default, whatever that is at the time.
    """
    return StripeRequest.build(
        "post",
        "/v1/subscriptions",
        {
            "customer": customer,
            "items": [{"price": price}],
            "currency": currency.lower(),
            "default_payment_method": payment_method,
            "payment_behavior": "allow_incomplete",
            "payment_settings": {"save_default_payment_method": "on_subscription" if payment_method else "off"},
            "off_session": False,
            "trial_period_days": trial_days,
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}} if trial_days else None,
            "metadata": dict(metadata),
            "expand": SUBSCRIPTION_EXPANSIONS,
        },
    )


def change_price(subscription: str, *, item: str, price: str) -> StripeRequest:
    """ "Update a subscription" to another price, which it has only once what is due for it is paid ("Pending updates").

    With pending updates Stripe takes no metadata.
    """
    return _update(
        subscription,
        items=[{"id": item, "price": price}],
        proration_behavior="always_invoice",
        payment_behavior="pending_if_incomplete",
        off_session=False,
    )


def cancel_at_period_end(subscription: str, *, cancel: bool) -> StripeRequest:
    """ "Update a subscription" to end with its period, or not to."""
    return _update(subscription, cancel_at_period_end=cancel)


def keep_subscription(subscription: str) -> StripeRequest:
    """ "Update a subscription" to end at no date."""
    return _update(subscription, cancel_at="")


def pause_collection(subscription: str, *, resumes_at: int | None) -> StripeRequest:
    """ "Update a subscription" to charge nothing ("Pause payment collection"): its invoices are voided meanwhile."""
    return _update(subscription, pause_collection={"behavior": "void", "resumes_at": resumes_at})


def resume_collection(subscription: str) -> StripeRequest:
    """ "Update a subscription" to charge again."""
    return _update(subscription, pause_collection="")


def restart_period(subscription: str) -> StripeRequest:
    """ "Update a subscription" to a period that begins now, once that is paid; the one before is not set off."""
    return _update(
        subscription,
        billing_cycle_anchor={"type": "now"},
        proration_behavior="none",
        payment_behavior="pending_if_incomplete",
        off_session=False,
    )


def cancel_subscription(subscription: str) -> StripeRequest:
    """ "Cancel a subscription" at once: nothing is given back, and nothing more is charged."""
    return StripeRequest.build(
        "delete",
        f"/v1/subscriptions/{subscription}",
        {"prorate": False, "invoice_now": False, "expand": SUBSCRIPTION_EXPANSIONS},
    )


def resume_subscription(subscription: str) -> StripeRequest:
    """ "Resume a subscription" that Stripe paused, with a new period, once that is paid."""
    return StripeRequest.build(
        "post",
        f"/v1/subscriptions/{subscription}/resume",
        {
            "billing_cycle_anchor": {"type": "now"},
            "payment_behavior": "resume_on_payment_success",
            "expand": SUBSCRIPTION_EXPANSIONS,
        },
    )


def create_schedule(*, subscription: str) -> StripeRequest:
    """ "Create a schedule" from a subscription: what it is, until its period ends."""
    return StripeRequest.build("post", "/v1/subscription_schedules", {"from_subscription": subscription})


def schedule_price(schedule: Mapping[str, Any], *, price: str, interval: str, interval_count: int) -> StripeRequest:
    """ "Update a schedule" that was made from a subscription: another price when the period ends, then no schedule.

    What a phase does not say is taken away from the subscription: its discounts and its method are said again.
    """
    current = schedule["phases"][0]
    kept = {
        "currency": current["currency"],
        "default_payment_method": _id(current.get("default_payment_method")),
        "discounts": [_discount(discount) for discount in current.get("discounts") or []],
        "proration_behavior": "none",
    }
    return StripeRequest.build(
        "post",
        f"/v1/subscription_schedules/{schedule['id']}",
        {
            "end_behavior": "release",
            "phases": [
                {
                    **kept,
                    "start_date": current["start_date"],
                    "end_date": current["end_date"],
                    "items": [
                        {"price": _id(item["price"]), "quantity": item["quantity"]} for item in current["items"]
                    ],
                },
                {
                    **kept,
                    "items": [{"price": price, "quantity": 1}],
                    "duration": {"interval": interval.lower(), "interval_count": interval_count},
                },
            ],
        },
    )


def _discount(discount: Mapping[str, Any]) -> dict[str, str]:
    """The discount that there is already, so that it is not begun anew; else what it was made of."""
    for name in ("discount", "promotion_code", "coupon"):
        known = _id(discount.get(name))
        if known is not None:
            return {name: known}
    raise ValueError("a discount of nothing")


def release_schedule(schedule: str) -> StripeRequest:
    """ "Release a schedule": the subscription stays as it is now."""
    return StripeRequest.build("post", f"/v1/subscription_schedules/{schedule}/release")


def retrieve_schedule(schedule: str) -> StripeRequest:
    """ "Retrieve a schedule"."""
    return StripeRequest.build("get", f"/v1/subscription_schedules/{schedule}")


def preview_change(subscription: str, *, item: str, price: str, at: int) -> StripeRequest:
    """ "Create a preview invoice" of what a change of price at that second is billed with."""
    details = {"items": [{"id": item, "price": price}], "proration_behavior": "always_invoice", "proration_date": at}
    return _preview({"subscription": subscription, "preview_mode": "next", "subscription_details": details})


def preview_period(subscription: str, *, item: str, price: str) -> StripeRequest:
    """ "Create a preview invoice" of a whole period at a price, without what happens only once."""
    details = {"items": [{"id": item, "price": price}], "proration_behavior": "none"}
    return _preview({"subscription": subscription, "preview_mode": "recurring", "subscription_details": details})


def preview_price(*, customer: str, currency: str, price: str) -> StripeRequest:
    """ "Create a preview invoice" of a whole period at a price for a customer, whatever the subscriptions there are."""
    return _preview(
        {
            "customer": customer,
            "currency": currency.lower(),
            "preview_mode": "recurring",
            "subscription_details": {"items": [{"price": price}]},
        }
    )


def _preview(params: dict[str, Any]) -> StripeRequest:
    return StripeRequest.build("post", "/v1/invoices/create_preview", params)


def _update(subscription: str, **params: Any) -> StripeRequest:
    return StripeRequest.build(
        "post", f"/v1/subscriptions/{subscription}", {**params, "expand": SUBSCRIPTION_EXPANSIONS}
    )


def _id(thing: Any) -> str | None:
    """The id of something that may be expanded."""
    id_: str | None = thing["id"] if isinstance(thing, dict) else thing
    return id_
