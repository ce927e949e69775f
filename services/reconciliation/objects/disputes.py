"""Disputes: what guests' banks took back ("The Dispute object"), beside our disputes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.base import from_record
from models.money import Money
from models.payments import Payment
from models.reconciliations import DriftKind, DriftRepair
from services.dispute_requests import retrieve_dispute
from services.disputes.facts import DisputeFacts
from services.disputes.settlement import settle_dispute
from services.errors import InvalidState
from services.reconciliation.objects.kind import (
    A_PERSON_HAS_TO_LOOK,
    ComparedAccount,
    ObjectKind,
    Remedy,
    of_known_intents,
)
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_disputes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_HERE: Final = """
SELECT id, payment_id, stripe_dispute_id, status, amount_minor, withdrawn_minor, currency FROM disputes
WHERE stripe_dispute_id = ANY($1) AND stripe_account = $2
"""
_MADE: Final = """
SELECT stripe_dispute_id FROM disputes
WHERE stripe_account = $1 AND stripe_created_at >= $2 AND stripe_created_at < $3
"""
_PAYMENT: Final = "SELECT * FROM payments WHERE stripe_payment_intent_id = $1 AND stripe_account = $2"


class Disputes(ObjectKind):
    """Disputes of charges on the platform, and of direct ones; inquiries and those that were prevented, too."""

    name: ClassVar[str] = "dispute"

    def is_on(self, account: ComparedAccount) -> bool:
        """Where charges of ours are made."""
        return account.takes_charges

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all disputes"."""
        return list_disputes(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a dispute"."""
        return retrieve_dispute(id_, stripe_account=account)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """Its status, what it is about, and what the bank holds of that."""
        facts = DisputeFacts.parse(dict(body))
        held = Money.zero(facts.amount.currency)
        for movement in facts.funds:
            held += movement.taken(facts.amount, held)
        held = Money(max(0, held.minor), held.currency)
        return Side(body["status"], {"amount": facts.amount, "amount that the bank holds": held})

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the dispute."""
        return {
            record["stripe_dispute_id"]: Side(
                record["status"].lower(),
                {
                    "amount": Money(record["amount_minor"], record["currency"]),
                    "amount that the bank holds": Money(record["withdrawn_minor"], record["currency"]),
                },
                frozenset({record["id"], record["payment_id"]}),
            )
            for record in await connection.fetch(_HERE, list(ids), account)
        }

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By their rows: an inquiry moves nothing."""
        return {record[0] for record in await connection.fetch(_MADE, account, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Those whose payment is known."""
        return await of_known_intents(connection, account, bodies)

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Settling the dispute."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        if not known:
            return Remedy(None, "It is of no payment that is known here: a person has to tell whose it is.")
        words = (
            "The repair asks Stripe for the dispute, takes its status and amounts over, and posts what moved; where it"
            " was lost, the hosts' part is taken back."
        )
        return Remedy(DriftRepair.SETTLE, words)

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Settle it as a webhook would."""
        record = await services.database.pool.fetchrow(_PAYMENT, body.get("payment_intent"), drift.stripe_account)
        if record is None:
            raise InvalidState("The payment of this dispute is not known here.", state="UNKNOWN_PAYMENT")
        await settle_dispute(services, from_record(Payment, record), drift.stripe_id, actor=actor)
