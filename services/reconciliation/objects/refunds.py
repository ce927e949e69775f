"""Refunds: what guests got back ("The Refund object"), beside our refunds and what the ledger gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.money import Money
from models.reconciliations import DriftKind, DriftRepair
from services.errors import InvalidState
from services.reconciliation.objects.kind import (
    A_PERSON_HAS_TO_LOOK,
    CORRECTION,
    POSTED,
    ComparedAccount,
    ObjectKind,
    Remedy,
    of_known_intents,
)
from services.reconciliation.restoring import post_refund, restore_refund
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_all_refunds
from services.refunds.facts import RefundFacts
from services.refunds.settlement import settle_refund
from services.stripe_requests import retrieve_refund

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_HERE: Final = """
SELECT r.id, r.stripe_refund_id, r.status, r.amount_minor, r.currency, r.payment_id, (
    SELECT sum(l.amount_minor) FROM ledger_transactions t
    JOIN ledger_postings l ON l.transaction_id = t.id JOIN ledger_accounts la ON la.id = l.account_id
    WHERE t.stripe_object_id = r.stripe_refund_id AND t.kind IN ('REFUND', 'ADJUSTMENT') AND la.kind = 'REFUNDS'
)::bigint AS posted_minor
FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE r.stripe_refund_id = ANY($1) AND p.stripe_account = $2
"""
_MADE: Final = """
SELECT DISTINCT t.stripe_object_id FROM ledger_transactions t LEFT JOIN payments p ON p.id = t.payment_id
WHERE t.occurred_at >= $2 AND t.occurred_at < $3 AND t.kind = 'REFUND' AND t.reference LIKE 'refund:%'
    AND t.stripe_object_id IS NOT NULL AND coalesce(p.stripe_account, '') = $1
"""
_PAYMENT: Final = "SELECT id FROM payments WHERE stripe_payment_intent_id = $1 AND stripe_account = $2"
_KNOWN: Final = "SELECT id FROM refunds WHERE stripe_refund_id = $1"


class Refunds(ObjectKind):
    """Refunds of charges on the platform, and of direct ones.

    What was authorized and let go is listed among them and moves nothing ("Place a hold on a payment method"), and
    what was taken back of a host's transfer is a refund to Stripe as well: both are passed over.
    """

    name: ClassVar[str] = "refund"

    def is_on(self, account: ComparedAccount) -> bool:
        """Where charges of ours are made."""
        return account.takes_charges

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all refunds"."""
        return list_all_refunds(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a refund"."""
        return retrieve_refund(id_, stripe_account=account)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """Its status and its amount in the currency that the guest paid in."""
        charge = body.get("charge")
        charge = charge if isinstance(charge, dict) else {}
        if body.get("source_transfer_reversal") or charge.get("source_transfer"):
            return None
        released = charge.get("amount", 0) - charge.get("amount_captured", 0)
        if not body.get("balance_transaction") and released and body["amount"] == released:
            return None
        amount = Money.from_wire(body["amount"], body["currency"])
        return Side(body.get("status") or "pending", {"amount": amount, POSTED: amount})

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the refund and the ledger."""
        found = {}
        for record in await connection.fetch(_HERE, list(ids), account):
            currency, posted = record["currency"], record["posted_minor"]
            found[record["stripe_refund_id"]] = Side(
                record["status"].lower(),
                {
                    "amount": Money(record["amount_minor"], currency),
                    POSTED: None if posted is None else Money(posted, currency),
                },
                frozenset({record["id"], record["payment_id"]}),
            )
        return found

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By the ledger."""
        return {record[0] for record in await connection.fetch(_MADE, account, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Those whose payment is known."""
        return await of_known_intents(connection, account, bodies)

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Settling the refund, or posting what the ledger lacks."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        if not known:
            return Remedy(None, "It is of no payment that is known here: a person has to tell whose it is.")
        if difference.kind is DriftKind.MISSING_HERE:
            words = "The repair takes it in as Stripe has it, and posts it where it was not."
            return Remedy(DriftRepair.SETTLE, words)
        if difference.labels == {POSTED}:
            return CORRECTION
        words = "The repair takes Stripe's status and amount over, and posts what follows from that."
        return Remedy(DriftRepair.SETTLE, words)

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Restore what the ledger knows of it, then settle it as a webhook would."""
        pool = services.database.pool
        payment_id = await pool.fetchval(_PAYMENT, body.get("payment_intent"), drift.stripe_account)
        if payment_id is None:
            raise InvalidState("The payment of this refund is not known here.", state="UNKNOWN_PAYMENT")
        facts = RefundFacts.parse(dict(body))
        await restore_refund(services, payment_id, facts, actor=actor)
        refund_id = await pool.fetchval(_KNOWN, facts.id)
        await settle_refund(services, payment_id, refund_id, facts, actor=actor)
        if drift.repair is DriftRepair.POST:
            await post_refund(services, payment_id, facts)
