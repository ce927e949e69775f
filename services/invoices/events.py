"""What Stripe's events say of invoices ("Types of events": invoice.*, invoice_payment.*, credit_note.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from models.base import from_record
from models.invoices import Invoice
from services.invoices.facts import InvoiceFacts
from services.invoices.rows import is_as_told
from services.invoices.settlement import settle_invoice
from services.payments.facts import id_of
from services.stripe_gateway import API_VERSION
from services.subscriptions.notices import note_upcoming_invoice
from services.subscriptions.settlement import may_be_ours

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("invoices.events")

_ENDED = """
SELECT i.* FROM invoices i
WHERE i.stripe_invoice_id = $1 AND i.status IN ('PAID', 'VOID') AND NOT EXISTS (
    SELECT FROM payments p WHERE p.invoice_id = i.id
        AND NOT (p.status = 'CANCELED' OR (p.captured_minor > 0 AND p.balance_transaction_id IS NOT NULL))
)
"""


async def invoice_changed(services: Services, event: WebhookEvent) -> None:
    """Settle an invoice as Stripe has it now, whatever the event says of it; a draft that was deleted is closed."""
    invoice = event.payload["data"]["object"]
    if not await _is_old_news(services, event, invoice["id"]):
        await _settle(services, event, invoice["id"], id_of(invoice.get("customer")), _subscription_of(invoice))


async def invoice_payment_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the invoice that a payment is for. It does not say whose it is: the events of an unknown invoice do."""
    invoice = id_of(event.payload["data"]["object"].get("invoice"))
    if invoice is not None and not await _is_old_news(services, event, invoice):
        await _settle(services, event, invoice, None, None)


async def credit_note_changed(services: Services, event: WebhookEvent) -> None:
    """Settle the invoice that a credit note corrects."""
    note = event.payload["data"]["object"]
    invoice = id_of(note.get("invoice"))
    if invoice is not None:
        await _settle(services, event, invoice, id_of(note.get("customer")), None)


async def _settle(
    services: Services, event: WebhookEvent, invoice: str, customer: str | None, subscription: str | None
) -> None:
    if await may_be_ours(services, customer=customer, subscription=subscription, invoice=invoice):
        await settle_invoice(services, invoice, actor=event.actor)
    else:
        log.info("invoices.event_of_no_guest", event_type=event.type, invoice=invoice)


async def invoice_upcoming(services: Services, event: WebhookEvent) -> None:
    """Note that a subscription is renewed soon. The invoice is a preview, without an id: there is nothing to fetch."""
    preview = event.payload["data"]["object"]
    subscription = _subscription_of(preview)
    if subscription is None:
        return
    await note_upcoming_invoice(services, subscription, preview, actor=event.actor)


async def _is_old_news(services: Services, event: WebhookEvent, stripe_id: str) -> bool:
    """Whether an invoice has come to its end, its payments with it, and the event tells of before, or of just that.

    Several events follow each invoice, and the first to be handled finds what all of them tell. Only credit notes can
    change one that is paid.
    """
    record = await services.database.pool.fetchrow(_ENDED, stripe_id)
    if record is None:
        return False
    body = event.payload["data"]["object"]
    if body.get("object") != "invoice" or body.get("status") not in {"paid", "void"}:
        return True
    return event.api_version == API_VERSION and is_as_told(from_record(Invoice, record), InvoiceFacts.parse(body))


def _subscription_of(invoice: dict[str, Any]) -> str | None:
    """The subscription's id, where this version of Stripe's API has it, or an older one had it."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription") or invoice.get("subscription"))
