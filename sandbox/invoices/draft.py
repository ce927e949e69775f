"""Drafts of invoices ("The Invoice object", "Status transitions and finalization")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks, discounts
from sandbox.ids import new_id
from sandbox.invoices import items, totals
from sandbox.invoices.lines import line
from sandbox.resources import customers
from sandbox.resources.accounts import application_of, own

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from sandbox.errors import Json
    from sandbox.work import Work

__all__ = ["line", "new_invoice"]

DAY: Final = 86_400
HOUR: Final = 3_600
FINALIZE: Final = "finalize_invoice"
# Whoever makes one of these has it finalized at once.
_AT_ONCE: Final = ("subscription_create", "subscription_update")


def new_invoice(
    work: Work, *, customer: str, currency: str, billing_reason: str, lines: Sequence[Json], period: tuple[int, int],
    subscription: str | None = None, collection_method: str = "charge_automatically",
    days_until_due: int | None = None, auto_advance: bool = True, default_payment_method: str | None = None,
    discounts: Sequence[Json] | None = None, metadata: Json | None = None, on_behalf_of: str | None = None,
    payment_settings: Json | None = None, pending_items: bool = True, transfer_data: Json | None = None,
    application_fee_percent: Decimal | float | None = None, id_: str | None = None,
    more: Json | None = None,
) -> Json:  # fmt: skip
    """A draft, with the customer's pending invoice items of the currency and the subscription; `invoice.created`.

    A renewal or one-off invoice that advances by itself is finalized an hour on; one of `subscription_create` or
    `subscription_update` is finalized by who makes it. Discounts that are for one invoice are used up by it.

    Args:
        lines: as `line` makes them.
        discounts: stored discounts ("The Discount object"), in their order; None for the customer's own.
        pending_items: False leaves pending invoice items where they are.
        transfer_data: `destination`, and `amount` or `amount_percent`, as a subscription has it.
        application_fee_percent: of what is charged.
        id_: one that was made before.
        more: other fields of the invoice.
    """
    owner = work.get("customer", customer)
    customers.set_currency(work, customer, currency)
    invoice = invoice_body(work, owner, currency, billing_reason, period, subscription)
    invoice.update(
        auto_advance=auto_advance, collection_method=collection_method, default_payment_method=default_payment_method,
        metadata=dict(metadata or {}), on_behalf_of=on_behalf_of, _transfer_data=transfer_data,
        _application_fee_percent=None if application_fee_percent is None else str(application_fee_percent),
        discounts=discount_ids(owner, discounts),
    )  # fmt: skip
    invoice["payment_settings"].update(payment_settings or {})
    invoice.update({"id": id_ or invoice["id"], **(more or {})})
    if collection_method == "send_invoice" and days_until_due is not None:
        invoice["due_date"] = work.now + days_until_due * DAY
    work.add(invoice)
    waiting = items.pending(work, customer, currency, subscription) if pending_items else []
    invoice["_lines"] = [take_item(work, invoice, item) for item in waiting] + list(lines)
    totals.refresh(work, invoice)
    _use_up(work, invoice)
    if auto_advance and billing_reason not in _AT_ONCE:
        schedule_finalization(work, invoice, work.now + HOUR)
    work.emit("invoice.created", invoice)
    return invoice


def discount_ids(customer: Json, chosen: Sequence[Json] | None) -> list[str]:
    """The discounts of an invoice: those chosen, or the customer's own where none were."""
    if chosen is not None:
        return [discount["id"] for discount in chosen]
    own_discount = customer["discount"]
    return [own_discount["id"]] if own_discount else []


def take_item(work: Work, invoice: Json, item: Json) -> Json:
    """Put a pending invoice item on a draft: the line that it becomes."""
    work.edit("invoiceitem", item["id"])["invoice"] = invoice["id"]
    return items.line_of(work, item)


def schedule_finalization(work: Work, invoice: Json, due: int | None) -> None:
    """Have a draft finalized by itself at a second; None calls it off."""
    clocks.unschedule(work, FINALIZE, invoice["id"])
    invoice["automatically_finalizes_at"] = due
    if due is not None:
        clocks.schedule(work, invoice["customer"], due, FINALIZE, invoice["id"])


def _use_up(work: Work, invoice: Json) -> None:
    used = {part["discount"] for part in invoice["total_discount_amounts"] if part["amount"]}
    stored = [work.get("discount", id_) for id_ in invoice["discounts"] if id_ in used]
    discounts.use_up(work, stored)


def invoice_body(
    work: Work, customer: Json, currency: str, billing_reason: str, period: tuple[int, int], subscription: str | None
) -> Json:
    """An invoice's fields; it is not stored yet, and has no lines."""
    account = own(work, work.account)
    id_ = new_id("in")
    body: Json = {
        "id": id_, "object": "invoice", "account_country": account["country"],
        "account_name": account["business_profile"]["name"], "account_tax_ids": None, "amount_due": 0,
        "amount_overpaid": 0, "amount_paid": 0, "amount_paid_off_stripe": 0, "amount_remaining": 0,
        "amount_shipping": 0,
        "application": application_of(work.platform) if work.account != work.platform else None, "attempt_count": 0,
        "attempted": False, "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None
        },
        "automatically_finalizes_at": None, "billing_reason": billing_reason,
        "collection_method": "charge_automatically", "confirmation_secret": None, "created": work.now,
        "currency": currency, "custom_fields": None, "customer": customer["id"], "customer_account": None,
        "default_payment_method": None, "default_source": None, "default_tax_rates": [], "description": None,
        "discounts": [], "due_date": None, "effective_at": None, "ending_balance": None,
        "footer": customer["invoice_settings"]["footer"], "from_invoice": None, "hosted_invoice_url": None,
        "invoice_pdf": None, "issuer": {"type": "self"}, "last_finalization_error": None, "latest_revision": None,
        "livemode": False, "metadata": {}, "next_payment_attempt": None, "number": None, "on_behalf_of": None,
        "parent": parent(work, subscription),
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": period[1], "period_start": period[0], "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "receipt_number": None, "rendering": None, "shipping_cost": None,
        "shipping_details": None, "starting_balance": 0, "statement_descriptor": None, "status": "draft",
        "status_details": None,
        "status_transitions": {
            "finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None
        },
        "subtotal": 0, "subtotal_excluding_tax": 0, "test_clock": customer["test_clock"], "total": 0,
        "total_discount_amounts": [], "total_excluding_tax": 0, "total_pretax_credit_amounts": [], "total_taxes": [],
        "webhooks_delivered_at": work.now, "_application_fee_percent": None, "_application_fee_amount": None,
        "_lines": [], "_subscription": subscription, "_transfer_data": None,
    }  # fmt: skip
    copy_customer(body, customer)
    return body


def copy_customer(invoice: Json, customer: Json) -> None:
    """What an invoice says of its customer, which changes no more once it is final."""
    for name in ("address", "email", "name", "phone", "shipping", "tax_exempt"):
        invoice[f"customer_{name}"] = customer.get(name)
    invoice["customer_tax_ids"] = []


def parent(work: Work, subscription: str | None) -> Json | None:
    """What an invoice says of the subscription that it is of, whose metadata is copied until it is final."""
    if subscription is None:
        return None
    found = work.find("subscription", subscription) or {}
    return {
        "quote_details": None,
        "subscription_details": {"metadata": dict(found.get("metadata") or {}), "subscription": subscription},
        "type": "subscription_details",
    }  # fmt: skip
