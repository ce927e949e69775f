"""What Stripe's events say of invoices ("Types of events": invoice.*, invoice_payment.*, credit_note.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from services.invoices.settlement import settle_invoice
from services.payments.facts import id_of
from services.subscriptions.notices import note_upcoming_invoice
from services.subscriptions.settlement import may_be_ours

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("invoices.events")


async def invoice_changed(services: Services, event: WebhookEvent) -> None:
    """Settle an invoice as Stripe has it now, whatever the event says of it; a draft that was deleted is closed."""
    invoice = event.payload["data"]["object"]
    await _settle(services, event, invoice["id"], id_of(invoice.get("customer")), _subscription_of(invoice))


async def invoice_part_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the invoice that a payment or credit note belongs to.

    A payment does not say whose it is: where its invoice is not known, the events of that tell.
    """
    part = event.payload["data"]["object"]
    invoice = id_of(part.get("invoice"))
    if invoice is not None:
        await _settle(services, event, invoice, id_of(part.get("customer")), None)


async def _settle(
    services: Services, event: WebhookEvent, invoice: str, customer: str | None, subscription: str | None
) -> None:
    if await may_be_ours(services, customer=customer, subscription=subscription, invoice=invoice):
        await settle_invoice(services, invoice, actor=_actor(event))
    else:
        log.info("invoices.event_of_no_guest", event_type=event.type, invoice=invoice)


async def invoice_upcoming(services: Services, event: WebhookEvent) -> None:
    """Note that a subscription is renewed soon. The invoice is a preview, without an id: there is nothing to fetch."""
    preview = event.payload["data"]["object"]
    subscription = _subscription_of(preview)
    if subscription is None:
        return
    await note_upcoming_invoice(services, subscription, preview, actor=_actor(event))


def _subscription_of(invoice: dict[str, Any]) -> str | None:
    """The subscription's id, where this version of Stripe's API has it, or an older one had it."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription") or invoice.get("subscription"))


def _actor(event: WebhookEvent) -> str:
    return f"stripe:{event.stripe_event_id}"
