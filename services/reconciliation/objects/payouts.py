"""Payouts: what went to banks ("The Payout object"), beside our payouts and what the ledger let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.base import from_record
from models.connect_accounts import ConnectAccount
from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payouts import Payout, PayoutStatus
from models.reconciliations import DriftKind, DriftRepair
from services.balances.mirror import mirror_payout
from services.balances.settlement import settle_again
from services.errors import InvalidState
from services.ledger import PLATFORM, LedgerBatch, host_balance, payouts_in_transit
from services.payout_requests import retrieve_payout
from services.payouts.facts import PayoutFacts
from services.payouts.settlement import settle_payout
from services.reconciliation.corrections import post_what_is_missing
from services.reconciliation.objects.kind import (
    A_PERSON_HAS_TO_LOOK,
    CORRECTION,
    POSTED,
    ComparedAccount,
    ObjectKind,
    Remedy,
)
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_payouts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_HERE: Final = """
SELECT p.id, p.stripe_payout_id, p.status, p.amount_minor, p.currency, (
    SELECT sum(l.amount_minor) FROM ledger_transactions t
    JOIN ledger_postings l ON l.transaction_id = t.id JOIN ledger_accounts a ON a.id = l.account_id
    WHERE t.stripe_object_id = p.stripe_payout_id AND t.stripe_account = p.stripe_account
        AND t.kind IN ('PAYOUT', 'ADJUSTMENT') AND a.kind = 'PAYOUTS_IN_TRANSIT'
)::bigint AS posted_minor
FROM payouts p WHERE p.stripe_payout_id = ANY($1) AND p.stripe_account = $2
"""
_MADE: Final = """
SELECT stripe_object_id FROM ledger_transactions
WHERE occurred_at >= $2 AND occurred_at < $3 AND kind = 'PAYOUT' AND stripe_account = $1
    AND stripe_object_id IS NOT NULL
"""
_LOCK: Final = "SELECT * FROM payouts WHERE stripe_payout_id = $1 AND stripe_account = $2 FOR NO KEY UPDATE"
_RETURNED: Final = "SELECT EXISTS (SELECT FROM ledger_transactions WHERE reference = $1)"
_RESTORE: Final = """
UPDATE payouts SET amount_minor = $2, currency = $3, status = $4, updated_at = now() WHERE id = $1
"""


class Payouts(ObjectKind):
    """Payouts of the platform and of every host."""

    name: ClassVar[str] = "payout"

    def is_on(self, account: ComparedAccount) -> bool:
        """Everywhere."""
        return True

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all payouts"."""
        return list_payouts(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a payout"."""
        return retrieve_payout(id_, account=account or None)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """Its status and its amount."""
        amount = Money.from_wire(body["amount"], body["currency"])
        return Side(body["status"], {"amount": amount, POSTED: amount})

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the payout and the ledger."""
        found = {}
        for record in await connection.fetch(_HERE, list(ids), account):
            currency, posted = record["currency"], record["posted_minor"]
            amounts = {
                "amount": Money(record["amount_minor"], currency),
                POSTED: None if posted is None else Money(posted, currency),
            }
            found[record["stripe_payout_id"]] = Side(record["status"].lower(), amounts, frozenset({record["id"]}))
        return found

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By the ledger."""
        return {record[0] for record in await connection.fetch(_MADE, account, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Whoever made them."""
        return {body["id"] for body in bodies}

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Settling the payout, or posting what the ledger lacks."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        if difference.labels == {POSTED}:
            return CORRECTION
        if difference.kind is DriftKind.MISSING_HERE:
            words = "The repair takes it in as Stripe has it, and posts it where it was not."
            return Remedy(DriftRepair.SETTLE, words)
        words = "The repair takes Stripe's status and amount over, and posts what follows from that."
        return Remedy(DriftRepair.SETTLE, words)

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Restore the row where it was changed, settle it as a webhook would, and post what the ledger lacks."""
        facts = PayoutFacts.parse(dict(body))
        account = await ConnectAccount.get_or_none(stripe_account_id=drift.stripe_account)
        if account is None and drift.stripe_account:
            raise InvalidState("The account of this payout is nobody's here.", state="UNKNOWN_ACCOUNT")
        await _restore(services, facts, drift.stripe_account)
        payout = await settle_payout(services, account, facts, actor=actor)
        await _correct(services, payout, account, facts)
        if facts.contents_known:
            await mirror_payout(services, payout)


async def _restore(services: Services, facts: PayoutFacts, stripe_account: str) -> None:
    """Put a payout's row back to what Stripe and the ledger say of it; what became of it since, settling tells.

    Raises: InvalidState where its money has come back here, and not at Stripe.
    """
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, facts.id, stripe_account)
        if record is None:
            return
        payout = from_record(Payout, record)
        status = payout.status
        if status is not facts.status and not status.may_become(facts.status):
            if await connection.fetchval(_RETURNED, f"payout_failed:{facts.id}"):
                text = "The money of this payout has come back here, and not at Stripe."
                raise InvalidState(text, state=status.value)
            status = PayoutStatus.PENDING  # from which settling moves it on
        await connection.execute(_RESTORE, payout.id, facts.amount.minor, facts.amount.currency, status.value)


async def _correct(services: Services, payout: Payout, account: ConnectAccount | None, facts: PayoutFacts) -> None:
    owner = None if account is None else account.user_id
    source = PLATFORM if owner is None else host_balance(owner)
    wanted = LedgerBatch()
    wanted.move(
        LedgerTransactionKind.PAYOUT, f"payout:{facts.id}",
        [(source, -facts.amount), (payouts_in_transit(owner), facts.amount)], occurred_at=facts.created_at,
        payment_id=None, stripe_object_id=facts.id, stripe_account=payout.stripe_account,
    )  # fmt: skip
    async with services.database.transaction() as connection:
        await connection.fetchrow(_LOCK, facts.id, payout.stripe_account)
        corrected = await post_what_is_missing(connection, wanted, None, now=services.clock())
    await settle_again(services, corrected)
