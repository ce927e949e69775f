"""Transfers: what hosts were sent ("The Transfer object"), beside our transfers and what the ledger moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from models.base import from_record, new_id
from models.money import Money
from models.payments import ChargeModel, Payment
from models.reconciliations import DriftKind, DriftRepair
from models.sets import insert_rows, update_rows
from models.transfers import Transfer, TransferStatus
from services.errors import InvalidState
from services.payments.intents import fetch_facts, settle
from services.reconciliation.objects.kind import (
    A_PERSON_HAS_TO_LOOK,
    CORRECTION,
    POSTED,
    ComparedAccount,
    ObjectKind,
    Remedy,
)
from services.reconciliation.restoring import restore_payment
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_transfers, retrieve
from services.stripe_gateway import Priority
from services.stripe_requests import retrieve_charge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_AMOUNT: Final = "amount"
_REVERSED: Final = "amount taken back"
_SENT: Final = """
SELECT t.id, t.payment_id, t.stripe_transfer_id, t.amount_minor, t.currency, (
    SELECT coalesce(sum(r.amount_minor), 0) FROM transfer_reversals r WHERE r.transfer_id = t.id AND r.status = 'PAID'
)::bigint AS reversed_minor, (
    SELECT sum(l.amount_minor) FROM ledger_transactions m
    JOIN ledger_postings l ON l.transaction_id = m.id JOIN ledger_accounts a ON a.id = l.account_id
    WHERE m.stripe_object_id = t.stripe_transfer_id AND m.kind IN ('TRANSFER', 'ADJUSTMENT')
        AND a.kind = 'HOST_BALANCE' AND l.currency = t.currency
)::bigint AS posted_minor
FROM transfers t WHERE t.stripe_transfer_id = ANY($1)
"""
# A destination charge's own transfer: in the currency that the charge settled in, which need not be the payment's.
_DESTINED: Final = """
SELECT p.id AS payment_id, a.stripe_transfer_id, p.host_credit_minor AS amount_minor,
    p.host_credit_currency AS currency, p.currency AS payment_currency, (
    (SELECT coalesce(sum(r.transfer_reversed_minor), 0) FROM refunds r
        WHERE r.payment_id = p.id AND r.stripe_refund_id IS NOT NULL)
    + (SELECT coalesce(sum(r.amount_minor), 0) FROM transfer_reversals r
        WHERE r.allocation_id = a.id AND r.transfer_id IS NULL AND r.status = 'PAID')
)::bigint AS reversed_minor, (
    SELECT sum(l.amount_minor) FROM ledger_transactions m
    JOIN ledger_postings l ON l.transaction_id = m.id JOIN ledger_accounts la ON la.id = l.account_id
    WHERE la.kind = 'HOST_BALANCE' AND (m.reference = 'transfer:' || p.stripe_charge_id
        OR (m.kind = 'ADJUSTMENT' AND m.payment_id = p.id
            AND starts_with(m.reference, 'correction:transfer:' || p.stripe_charge_id || ':')))
)::bigint AS posted_minor
FROM payment_allocations a JOIN payments p ON p.id = a.payment_id
WHERE a.stripe_transfer_id = ANY($1) AND p.charge_model = 'DESTINATION'
"""
_MADE: Final = """
SELECT stripe_object_id FROM ledger_transactions
WHERE occurred_at >= $1 AND occurred_at < $2 AND kind = 'TRANSFER' AND starts_with(reference, 'transfer:tr_')
    AND stripe_object_id IS NOT NULL
"""
_PAYMENT: Final = """
SELECT * FROM payments WHERE stripe_account = '' AND (stripe_charge_id = $1 OR id = $2) LIMIT 1
"""
_PAYMENTS: Final = """
SELECT stripe_charge_id, id FROM payments WHERE stripe_account = '' AND (stripe_charge_id = ANY($1) OR id = ANY($2))
"""
_LOCK: Final = "SELECT FROM payments WHERE id = $1 FOR NO KEY UPDATE"
_POSTED_AS: Final = """
SELECT l.amount_minor, a.kind, a.owner_id FROM ledger_transactions t
JOIN ledger_postings l ON l.transaction_id = t.id JOIN ledger_accounts a ON a.id = l.account_id
WHERE t.reference = 'transfer:' || $1 AND t.payment_id = $2
"""
_ALLOCATION: Final = "SELECT id FROM payment_allocations WHERE payment_id = $1 AND host_id = $2"


class Transfers(ObjectKind):
    """Transfers of the platform: hosts' parts that were sent, and those that destination charges sent by themselves."""

    name: ClassVar[str] = "transfer"

    def is_on(self, account: ComparedAccount) -> bool:
        """On the platform alone; what arrives at a host is among the balance transactions there."""
        return not account.id

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all transfers"."""
        return list_transfers(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a transfer"."""
        return retrieve(f"/v1/transfers/{id_}", account)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """What was sent and taken back, in the currency of the transfer."""
        amount = Money.from_wire(body["amount"], body["currency"])
        taken = Money.from_wire(body["amount_reversed"], body["currency"])
        return Side(None, {_AMOUNT: amount, _REVERSED: taken, POSTED: amount})

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the transfers' rows, and from what is known of destination charges."""
        found = {}
        for record in await connection.fetch(_DESTINED, list(ids)):
            # Until Stripe has said what was sent, and where it is in another currency, there is less to compare.
            same = record["currency"] == record["payment_currency"]
            amounts = _amounts(record) if same else {}
            if not same and record["amount_minor"] is not None:
                amounts = {_AMOUNT: Money(record["amount_minor"], record["currency"])}
            found[record["stripe_transfer_id"]] = Side(None, amounts, frozenset({record["payment_id"]}))
        for record in await connection.fetch(_SENT, list(ids)):
            subjects = frozenset({record["id"], record["payment_id"]})
            found[record["stripe_transfer_id"]] = Side(None, _amounts(record), subjects)
        return found

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By the ledger: those that were sent by themselves; the others go with their charges."""
        return {record[0] for record in await connection.fetch(_MADE, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Those of payments that are known."""
        named = {body["id"]: _named(body) for body in bodies}
        charges = [charge for charge, _ in named.values() if charge]
        groups = [group for _, group in named.values() if group]
        records = await connection.fetch(_PAYMENTS, charges, groups)
        known = {value for record in records for value in record} - {None}
        return {id_ for id_, names in named.items() if known.intersection(names)}

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Making its row again by what was posted of it, or settling the charge that sent it."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        if not known:
            return Remedy(None, "It is of no payment that is known here: a person has to tell what it was for.")
        if _REVERSED in difference.labels and _AMOUNT not in difference.labels:
            words = (
                "Where a refund of it drifts as well, repair that: this goes with it. Else a person has to tell what it"
                " was taken back for."
            )
            return Remedy(None, words)
        if difference.labels == {POSTED}:
            return CORRECTION
        words = "The repair restores what Paydesk keeps of it, by what Stripe says and what the ledger posted."
        return Remedy(DriftRepair.SETTLE, words)

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Settle the destination charge that sent it, or restore the row of one that was sent by itself."""
        record = await services.database.pool.fetchrow(_PAYMENT, *_named(body))
        if record is None:
            raise InvalidState("The payment of this transfer is not known here.", state="UNKNOWN_PAYMENT")
        payment = from_record(Payment, record)
        if payment.charge_model is not ChargeModel.DESTINATION:
            await _restore(services, payment, body)
            return
        facts = await fetch_facts(services, payment.stripe_payment_intent_id or "")
        await settle(services, payment, facts, actor=actor)
        charge = await services.stripe.send(retrieve_charge(facts.charge_id or ""), priority=Priority.BACKGROUND)
        await restore_payment(services, payment.id, facts, charge.body, actor=actor)


def _amounts(record: Mapping[str, Any]) -> dict[str, Money | None]:
    currency, posted = record["currency"], record["posted_minor"]
    return {
        _AMOUNT: Money(record["amount_minor"], currency),
        _REVERSED: Money(record["reversed_minor"], currency),
        POSTED: None if posted is None else Money(posted, currency),
    }


def _named(body: Mapping[str, Any]) -> tuple[str | None, UUID | None]:
    """The charge that it comes from, and the payment that its group names."""
    return body.get("source_transaction"), _uuid(body.get("transfer_group"))


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def _restore(services: Services, payment: Payment, body: Mapping[str, Any]) -> None:
    """Make a transfer's row what Stripe says and the ledger has posted.

    Raises: InvalidState where the ledger knows nothing of it, so that nobody can tell what it covered.
    """
    async with services.database.transaction() as connection:
        await connection.fetchrow(_LOCK, payment.id)
        legs = await connection.fetch(_POSTED_AS, body["id"], payment.id)
        covers = -sum(leg["amount_minor"] for leg in legs if leg["kind"] == "HOST_OWED")
        host_id = next((leg["owner_id"] for leg in legs if leg["kind"] == "HOST_BALANCE"), None)
        allocation_id = await connection.fetchval(_ALLOCATION, payment.id, host_id)
        if allocation_id is None or covers <= 0:
            text = "The ledger does not say what this transfer was for: a person has to tell."
            raise InvalidState(text, state="NOT_POSTED")
        amount, metadata = Money.from_wire(body["amount"], body["currency"]), body.get("metadata") or {}
        record = await connection.fetchrow("SELECT * FROM transfers WHERE stripe_transfer_id = $1", body["id"])
        row = from_record(Transfer, record) if record is not None else Transfer(
            id=_uuid(metadata.get("transfer_id")) or new_id(), payment_id=payment.id,
            operation_id=_uuid(metadata.get("operation_id")) or new_id(), stripe_transfer_id=body["id"],
            status=TransferStatus.PAID, amount_minor=amount.minor, currency=amount.currency, covers_minor=covers,
            stripe_account_id=body["destination"], allocation_id=allocation_id,
        )  # fmt: skip
        if record is None:
            await insert_rows(connection, Transfer, [row])
        row.amount_minor, row.currency, row.covers_minor = amount.minor, amount.currency, covers
        row.allocation_id, row.stripe_account_id = allocation_id, body["destination"]
        columns = ("amount_minor", "currency", "covers_minor", "allocation_id", "stripe_account_id")
        await update_rows(connection, Transfer, [row], columns)
