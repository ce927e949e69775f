"""Canceling a subscription at once ("Cancel a subscription")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.subscriptions import bodies, charges, ending, invoicing

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def cancel(work: Work, subscription: Json, *, prorate: bool = False, invoice_now: bool = False) -> None:
    """End a subscription now.

    Args:
        subscription: is being edited.
        prorate: what is left of the period is given back, as an invoice item.
        invoice_now: what waits for an invoice gets a last one, which is finalized and collected.
    """
    bills = subscription["status"] in bodies.RUNNING
    if prorate and bills:
        for credit in credits_for(work, subscription, work.now):
            charges.as_invoice_item(work, subscription, credit)
    if not prorate and not invoice_now:
        invoicing.drop_prorations(work, subscription)
    ending.end(work, subscription, "cancellation_requested")
    if invoice_now and bills:
        invoice = invoicing.new_invoice(work, subscription, [], "subscription_update")
        if invoice is not None:
            invoicing.pay_last(work, subscription, invoice)


def credits_for(work: Work, subscription: Json, at: int) -> list[charges.Charge]:
    """What is given back of all that was paid for the time from a second on."""
    found = [charges.unused(work, subscription, item, at) for item in bodies.items_of(subscription)]
    return [credit for credit in found if credit is not None]
