"""Dunning begins, moves and ends with its invoice, in the transaction that writes the invoice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from models.invoices import Invoice
    from models.sets import AnyConnection
    from models.subscriptions import BillingSubscription
    from services.changes import ChangeSet
    from services.core import Services
    from services.payments.facts import IntentFacts


class InvoiceNow(Protocol):
    """What it has to know of an invoice at Stripe beyond its row."""

    @property
    def latest_payment(self) -> IntentFacts | None:
        """The newest of the invoice's payment intents; its charge need not be expanded."""


async def track(
    connection: AnyConnection, services: Services, subscription: BillingSubscription, invoice: Invoice,
    facts: InvoiceNow, changes: ChangeSet,
) -> None:  # fmt: skip
    """Begin, move or end the dunning of an invoice, and set `next_payment_attempt` of its subscription.

    Args:
        connection: the invoice's transaction; subscription and invoice are locked.
        subscription: as it was before this invoice was settled; who calls writes it.
        invoice: as it is being written.
    """


async def new_default(services: Services, user_id: UUID) -> None:
    """Make the guest's open dunnings due at once: a new default method has come."""
