"""Balance transactions: Stripe's books, beside our copy of them and what the ledger makes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.ledger import LedgerAccountKind, LedgerPlace, place_of
from models.money import Money
from models.reconciliations import DriftKind, DriftRepair
from services.balance_requests import retrieve_balance_transaction
from services.balances.mirror import mirror_again
from services.reconciliation.objects.kind import A_PERSON_HAS_TO_LOOK, ComparedAccount, ObjectKind, Remedy
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_balance_transactions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_EXPLAINED: Final = "net amount by the ledger"
# The movement, the fee that was taken with it, and what its own postings add, as far as they lie in this account.
_HERE: Final = """
SELECT b.stripe_balance_transaction_id, b.amount_minor, b.fee_minor, b.currency, b.payment_id, b.settles_id, (
    SELECT coalesce(sum(l.amount_minor), 0) FROM ledger_postings l JOIN ledger_accounts a ON a.id = l.account_id
    WHERE l.currency = b.currency AND a.kind = ANY($3) AND ($2 = '' OR a.owner_id = o.user_id)
        AND l.transaction_id IN (
            SELECT b.settles_id UNION SELECT b.fee_settles_id
            UNION SELECT t.id FROM ledger_transactions t
            WHERE t.stripe_object_id = b.stripe_balance_transaction_id AND t.stripe_account = b.stripe_account
                AND starts_with(t.reference, 'balance:')
            UNION SELECT c.id FROM ledger_transactions m JOIN ledger_transactions c
                ON c.stripe_object_id = m.stripe_object_id AND c.kind = 'ADJUSTMENT'
                AND starts_with(c.reference, 'correction:' || m.reference || ':')
            WHERE m.id IN (b.settles_id, b.fee_settles_id)
        )
)::bigint AS explained_minor
FROM balance_transactions b LEFT JOIN connect_accounts o ON o.stripe_account_id = nullif(b.stripe_account, '')
WHERE b.stripe_balance_transaction_id = ANY($1) AND b.stripe_account = $2
"""
_MADE: Final = """
SELECT stripe_balance_transaction_id FROM balance_transactions
WHERE stripe_account = $1 AND stripe_created_at >= $2 AND stripe_created_at < $3
"""
_POTS: Final = {
    place: tuple(kind.value for kind in LedgerAccountKind if place_of(kind) is place) for place in LedgerPlace
}


class BalanceTransactions(ObjectKind):
    """Every movement of every balance."""

    name: ClassVar[str] = "balance_transaction"

    def is_on(self, account: ComparedAccount) -> bool:
        """Everywhere."""
        return True

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all balance transactions"."""
        return list_balance_transactions(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a balance transaction"."""
        return retrieve_balance_transaction(account, id_)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """Its amounts; Stripe's word for its state says only whether the money can be used yet."""
        amount = Money.from_wire(body["amount"], body["currency"])
        fee = Money.from_wire(body["fee"], body["currency"])
        return Side(None, {"amount": amount, "fee": fee, _EXPLAINED: amount - fee})

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the copy and, once it is joined to something, the ledger."""
        pots = _POTS[LedgerPlace.HOST if account else LedgerPlace.PLATFORM]
        found = {}
        for record in await connection.fetch(_HERE, list(ids), account, list(pots)):
            currency = record["currency"]
            amounts: dict[str, Money | None] = {
                "amount": Money(record["amount_minor"], currency), "fee": Money(record["fee_minor"], currency),
            }  # fmt: skip
            if record["settles_id"] is not None:
                amounts[_EXPLAINED] = Money(record["explained_minor"], currency)
            subjects = frozenset({record["payment_id"]} - {None})
            found[record["stripe_balance_transaction_id"]] = Side(None, amounts, subjects)
        return found

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By the copy."""
        return {record[0] for record in await connection.fetch(_MADE, account, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Whatever moved the balance."""
        return {body["id"] for body in bodies}

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Copying it again."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        words = "The repair copies it again, joins it to what it belongs to, and posts what the ledger lacks of it."
        return Remedy(DriftRepair.MIRROR, words)

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Copy it again."""
        await mirror_again(services, drift.stripe_account, dict(body))
