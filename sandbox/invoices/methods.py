"""What an invoice is paid with ("Payment method priority")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

_TYPES: Final = {"card": None, "us_bank_account": "usd", "sepa_debit": "eur"}


def default_method(work: Work, invoice: Json) -> str | None:
    """The invoice's own method, its subscription's, or its customer's; None where there is none."""
    if invoice["collection_method"] != "charge_automatically":
        return None
    subscription = work.find("subscription", invoice["_subscription"] or "") or {}
    customer = work.find("customer", invoice["customer"]) or {}
    candidates = (
        invoice["default_payment_method"],
        subscription.get("default_payment_method"),
        (customer.get("invoice_settings") or {}).get("default_payment_method"),
    )
    return next((method for method in candidates if method is not None), None)


def types_of(invoice: Json) -> list[str]:
    """The kinds of methods that may pay an invoice: those of its settings, or all that there are in the currency."""
    chosen = invoice["payment_settings"]["payment_method_types"]
    if chosen:
        return list(chosen)
    return [type_ for type_, only in _TYPES.items() if only in (None, invoice["currency"])]
