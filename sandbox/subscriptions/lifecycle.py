"""What becomes of a subscription when one of its invoices is paid, fails, or is given up ("How subscriptions work")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def invoice_paid(work: Work, invoice: Json) -> None:
    """An invoice was paid: its subscription goes on, or begins.

    To be called once the invoice is `paid` and its events are out; an invoice of no subscription is none's matter.
    """


def invoice_failed(work: Work, invoice: Json, *, exhausted: bool, then: str = "cancel") -> None:
    """An attempt to collect an invoice failed, or needs the guest.

    Args:
        exhausted: no further attempt will be made by itself.
        then: what the account does when attempts are exhausted: "cancel", "unpaid" or "past_due".
    """


def invoice_closed(work: Work, invoice: Json) -> None:
    """An invoice was voided or is uncollectible: what waited for its payment waits no more."""
