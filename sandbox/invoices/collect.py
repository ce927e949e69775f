"""Collecting an open invoice: the first try and the retries ("Automate payment retries")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def collect(
    work: Work, invoice: Json, *, payment_method: str | None = None, off_session: bool = True, raises: bool = False
) -> None:
    """Try to pay an open invoice with the method given, or its own, or the subscription's, or the customer's.

    Outcomes: paid (`invoice.paid`, `invoice.payment_succeeded`); needs the customer (`invoice.payment_failed`,
    `invoice.payment_action_required`); declined (`invoice.payment_failed`, and a next attempt where the invoice
    advances by itself); a debit that is under way. The subscription's side hears of each through `lifecycle`.

    Raises: ApiError, only where `raises` is true: card_error for a decline, which stays; invoice_no_payment_method…;
        invoice_payment_intent_requires_action.
    """
    raise NotImplementedError
