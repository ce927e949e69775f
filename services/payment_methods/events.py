"""What Stripe's events say of saved methods ("Types of events": payment_method.*, customer.*, setup_intent.*).

Only customers that are a guest's here are heard; what counts is what Stripe has of them now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from models.payment_methods import SavedPaymentMethod
from models.users import User
from services.customers import forget_customer
from services.dunning.tracking import new_default
from services.payment_methods.defaults import ensure_default
from services.payment_methods.settlement import settle_methods
from services.rate_limiter import Priority

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("payment_methods.events")

_OF_DEFAULTS: Final = frozenset(
    {"customer.updated", "payment_method.updated", "payment_method.automatically_updated"}
)


async def payment_method_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the methods of a guest of which one was attached, changed or detached."""
    method = event.payload["data"]["object"]
    known = await SavedPaymentMethod.get_or_none(stripe_payment_method_id=method["id"])
    if known is not None and _says_nothing_new(event, known):
        return
    customer = method.get("customer") or _before(event).get("customer")
    if customer is None and known is not None:
        customer = known.stripe_customer_id
    await _settle(services, customer, event)


async def customer_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the methods of a guest whose default has changed."""
    if "invoice_settings" in _before(event):
        await _settle(services, event.payload["data"]["object"]["id"], event)


async def customer_deleted(services: Services, event: WebhookEvent) -> None:
    """Forget a customer, and what it had saved."""
    customer = event.payload["data"]["object"]["id"]
    user = await User.get_or_none(stripe_customer_id=customer)
    if user is not None:
        await forget_customer(services, user.id, customer, actor=event.actor)


async def setup_intent_succeeded(services: Services, event: WebhookEvent) -> None:
    """Settle the methods of a guest who has just saved one."""
    intent = event.payload["data"]["object"]
    if not await SavedPaymentMethod.exists(stripe_payment_method_id=intent["payment_method"], detached_at=None):
        await _settle(services, intent["customer"], event)


async def setup_intent_failed(services: Services, event: WebhookEvent) -> None:
    """Count a method that could not be saved: Stripe.js has told the guest why, and there is nothing to settle."""
    intent = event.payload["data"]["object"]
    if intent["customer"] is None or not await User.exists(stripe_customer_id=intent["customer"]):
        return
    error = intent["last_setup_error"] or {}
    code = error.get("decline_code") or error.get("code")
    log.info("payment_methods.setup_failed", setup_intent=intent["id"], code=code)
    services.metrics.setup_failures.inc()


async def _settle(services: Services, customer: str | None, event: WebhookEvent) -> None:
    user = None if customer is None else await User.get_or_none(stripe_customer_id=customer)
    if user is None or customer is None:
        log.info("payment_methods.event_of_no_guest", event_type=event.type, customer=customer)
        return
    actor = event.actor
    now = await settle_methods(services, user.id, customer, actor=actor, priority=Priority.BACKGROUND)
    if event.attempts > 1 and event.type in _OF_DEFAULTS and now.methods and now.methods[0].is_default:
        # The try before may have ended between settling a new default and telling of it.
        await new_default(services, user.id)
    await ensure_default(services, now)


def _before(event: WebhookEvent) -> dict[str, Any]:
    return event.payload["data"].get("previous_attributes") or {}


def _says_nothing_new(event: WebhookEvent, known: SavedPaymentMethod) -> bool:
    """Whether the row has what the event tells: a method is attached once and detached once."""
    told = {"payment_method.attached": True, "payment_method.detached": False}
    return told.get(event.type) is known.is_attached
