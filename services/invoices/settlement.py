"""Settling invoices: what Stripe says of one becomes its row, its lines, its payments and the ledger's postings.

An invoice is always fetched as it is now, and applied only where nobody has changed it since it was asked for: so it
does not matter in which order, how often, or whether its events come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from models.base import from_record
from models.invoices import Invoice, InvoiceStatus
from models.payments import Payment
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.dunning.tracking import track
from services.invoice_requests import list_credit_notes, list_invoice_lines, list_invoice_payments, retrieve_invoice
from services.invoices.claims import claim, post_claim
from services.invoices.facts import CreditNoteFacts, InvoiceFacts, InvoicePaymentFacts, LineFacts
from services.invoices.history import snapshot
from services.invoices.rows import (
    INVOICE_COLUMNS,
    invoice_columns,
    new_invoice,
    take_over,
    write_credit_notes,
    write_lines,
    write_payments,
)
from services.ledger import LedgerBatch
from services.payments.intents import fetch_facts, says_nothing_new, settle
from services.stripe_gateway import Priority, StripeInvalidRequest
from services.subscriptions.rows import lock_subscription, write_subscription
from services.subscriptions.settlement import settle_as_it_is

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services

log = structlog.get_logger("invoices")

# How often an invoice may change while it is looked up before this is left to a later try.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose invoice it is."""

    user_id: UUID
    subscription_id: UUID | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was known of an invoice before Stripe was asked."""

    version: int | None
    """None where it was not known at all."""
    has_credit_notes: bool


async def settle_invoice(services: Services, stripe_invoice_id: str, *, actor: str) -> Invoice | None:
    """Mirror an invoice as Stripe has it now, and settle the payment behind each of its payment intents.

    Returns: the invoice as it is now; None for one that is not of a guest of ours, or of a subscription that is not.
    Raises: StripeError where Stripe cannot be reached.
    """
    for _ in range(_TRIES):
        seen = await _seen(services, stripe_invoice_id)
        facts = await fetch_invoice(services, stripe_invoice_id)
        if facts is None:
            return await _deleted(services, stripe_invoice_id, actor)
        owner = await _owner(services, facts, actor)
        if owner is None:
            log.info("invoices.not_ours", invoice=facts.id)
            return None
        notes = await _credit_notes(services, facts) if facts.has_credit_notes or seen.has_credit_notes else None
        invoice = await _mirror(services, owner, facts, notes, seen.version, actor)
        if invoice is not None:
            services.live.wake()
            await _settle_payments(services, facts.payments, actor)
            return invoice
    raise RuntimeError(f"invoice {stripe_invoice_id} kept changing while it was settled")


async def fetch_invoice(services: Services, stripe_invoice_id: str) -> InvoiceFacts | None:
    """The invoice as Stripe has it now, with all its lines and payments; None for a draft that was deleted."""
    try:
        response = await services.stripe.send(retrieve_invoice(stripe_invoice_id), priority=Priority.BACKGROUND)
    except StripeInvalidRequest as error:
        if error.code == "resource_missing":
            return None
        raise
    if response.body.get("deleted"):
        return None
    facts = InvoiceFacts.parse(response.body)
    if facts.has_more_lines:
        listed = services.stripe.list_all(list_invoice_lines(facts.id), priority=Priority.BACKGROUND)
        facts = replace(facts, lines=tuple([LineFacts.parse(line) async for line in listed]))
    if facts.has_more_payments:
        listed = services.stripe.list_all(list_invoice_payments(invoice=facts.id), priority=Priority.BACKGROUND)
        payments = [InvoicePaymentFacts.parse(payment) async for payment in listed]
        facts = replace(facts, payments=tuple(payment for payment in payments if payment is not None))
    return facts


async def _credit_notes(services: Services, facts: InvoiceFacts) -> list[CreditNoteFacts]:
    listed = services.stripe.list_all(list_credit_notes(invoice=facts.id), priority=Priority.BACKGROUND)
    return [CreditNoteFacts.parse(note) async for note in listed]


async def _seen(services: Services, stripe_invoice_id: str) -> _Seen:
    record = await services.database.pool.fetchrow(
        """
        SELECT i.version, EXISTS (SELECT FROM credit_notes n WHERE n.invoice_id = i.id) AS has_credit_notes
        FROM invoices i WHERE i.stripe_invoice_id = $1
        """,
        stripe_invoice_id,
    )
    return _Seen(None, has_credit_notes=False) if record is None else _Seen(**record)


async def _owner(services: Services, facts: InvoiceFacts, actor: str) -> _Owner | None:
    """Whose it is: the guest of its subscription, which may not be known yet, or of its customer where it has none."""
    pool = services.database.pool
    if facts.subscription_id is None:
        user_id = await pool.fetchval("SELECT id FROM users WHERE stripe_customer_id = $1", facts.customer)
        return None if user_id is None else _Owner(user_id, None)
    record = await pool.fetchrow(
        "SELECT id, user_id FROM subscriptions WHERE stripe_subscription_id = $1", facts.subscription_id
    )
    if record is not None:
        return _Owner(record["user_id"], record["id"])
    if not await pool.fetchval("SELECT EXISTS (SELECT FROM users WHERE stripe_customer_id = $1)", facts.customer):
        return None
    # The first invoice may come before our own answer to making the subscription, which makes it known.
    subscription = await settle_as_it_is(services, facts.subscription_id, actor=actor)
    return None if subscription is None else _Owner(subscription.user_id, subscription.id)


async def _mirror(
    services: Services, owner: _Owner, facts: InvoiceFacts, notes: Sequence[CreditNoteFacts] | None,
    seen_version: int | None, actor: str,
) -> Invoice | None:  # fmt: skip
    """Write the invoice and what hangs on it, in one transaction; None where it has changed since it was asked for."""
    async with services.database.transaction() as connection:
        # Subscription, invoice, payments: locked in this order everywhere.
        locked = None if owner.subscription_id is None else await lock_subscription(connection, owner.subscription_id)
        invoice = await _locked(connection, facts.id)
        if (None if invoice is None else invoice.version) != seen_version:
            return None
        changes = ChangeSet(actor, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        ledger = LedgerBatch()
        if invoice is None:
            invoice = new_invoice(facts, user_id=owner.user_id, subscription_id=owner.subscription_id)
            made = await insert_rows(connection, Invoice, [invoice], conflict="ON CONFLICT DO NOTHING RETURNING id")
            if not made:
                return None
            before = None
        else:
            before = snapshot(invoice)
        await _write(connection, changes, ledger, invoice, facts, notes, now=services.clock())
        after = snapshot(invoice)
        if after != before:
            action = f"invoice.{invoice.status.value.lower()}"
            changes.audit(action, "INVOICE", invoice.id, before=before, after=after)
        await ledger.write(connection)
        if locked is not None:
            await track(connection, services, locked.row, invoice, facts, changes)
            await write_subscription(connection, services.settings, changes, locked)
        await changes.write(connection)
        return invoice


async def _locked(connection: AnyConnection, stripe_invoice_id: str) -> Invoice | None:
    record = await connection.fetchrow(
        "SELECT * FROM invoices WHERE stripe_invoice_id = $1 FOR NO KEY UPDATE", stripe_invoice_id
    )
    return None if record is None else from_record(Invoice, record)


async def _write(
    connection: AnyConnection,
    changes: ChangeSet,
    ledger: LedgerBatch,
    invoice: Invoice,
    facts: InvoiceFacts,
    notes: Sequence[CreditNoteFacts] | None,
    *,
    now: datetime,
) -> None:
    """Write what has changed of a locked invoice and what hangs on it, and post its claim."""
    columns = invoice_columns(invoice)
    owed, written_off = invoice.receivable_minor, invoice.written_off_minor
    take_over(invoice, facts)
    claim(invoice)
    changed = await write_lines(connection, invoice, facts.lines)
    if notes is not None:
        changed = await write_credit_notes(connection, invoice, notes) or changed
    changed = await write_payments(connection, changes, invoice, facts.payments) or changed
    if changed or invoice_columns(invoice) != columns:
        invoice.version += 1
        await update_rows(connection, Invoice, [invoice], INVOICE_COLUMNS)
    post_claim(
        ledger, invoice, owed_before=owed, written_off_before=written_off,
        at={
            "due": facts.finalized_at or now,
            "uncollectible": facts.uncollectible_at or now,
            "closed": facts.paid_at or facts.voided_at or now,
        },
    )  # fmt: skip


async def _settle_payments(services: Services, payments: Sequence[InvoicePaymentFacts], actor: str) -> None:
    """Settle the payment of each payment intent, where the intent has more to tell than is known."""
    for facts in payments:
        payment = await Payment.get(stripe_payment_intent_id=facts.intent_id)
        if facts.intent is None or not says_nothing_new(payment, facts.intent):
            await settle(services, payment, await fetch_facts(services, facts.intent_id), actor=actor)


async def _deleted(services: Services, stripe_invoice_id: str, actor: str) -> Invoice | None:
    """Close a draft that is no longer there: nothing was ever owed for it."""
    async with services.database.transaction() as connection:
        invoice = await _locked(connection, stripe_invoice_id)
        if invoice is None or invoice.status is not InvoiceStatus.DRAFT:
            return invoice
        before = snapshot(invoice)
        invoice.status = InvoiceStatus.VOID
        invoice.version += 1
        await update_rows(connection, Invoice, [invoice], INVOICE_COLUMNS)
        changes = ChangeSet(actor, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        changes.audit("invoice.deleted", "INVOICE", invoice.id, before=before, after=snapshot(invoice))
        await changes.write(connection)
        return invoice
