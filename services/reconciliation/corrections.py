"""Putting the ledger right: what is missing is posted, what is wrong corrected by another posting, none rewritten."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from models.ledger import LedgerAccountKind, LedgerTransactionKind
from models.money import Money
from services.errors import InvalidState
from services.ledger import LedgerBatch, Pot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.ledger import LedgerTransaction
    from models.sets import AnyConnection

# A correction belongs to the movement that it corrects by its reference, and by its object at Stripe.
_POSTED: Final = """
SELECT t.reference, a.kind, a.owner_id, l.currency, l.amount_minor FROM ledger_transactions t
LEFT JOIN ledger_postings l ON l.transaction_id = t.id LEFT JOIN ledger_accounts a ON a.id = l.account_id
WHERE t.reference = ANY($1) OR (
    t.kind = 'ADJUSTMENT' AND t.reference LIKE 'correction:%' AND (t.payment_id = $2 OR t.stripe_object_id = ANY($3))
)
"""
_PREFIX: Final = "correction:"


async def post_what_is_missing(
    connection: AnyConnection, wanted: LedgerBatch, payment_id: UUID | None, *, now: datetime
) -> list[str]:
    """Post those of these movements that the ledger lacks, and a correction for each that says something else.

    Args:
        wanted: the movements of one payment as they should be.

    Returns: the references of the movements that were corrected: what settles them is to be joined to them anew, once
        the transaction is over (`settle_again`).
    Raises: InvalidState where a movement does not sum to zero, which no balanced posting can put right: the ledger was
        changed behind our back.
    """
    posted = await _posted(connection, payment_id, wanted.transactions)
    missing, corrected = LedgerBatch(), list[str]()
    for transaction in wanted.transactions:
        legs = _legs(wanted, transaction.id)
        actual = posted.get(transaction.reference)
        if actual is None:
            missing.move(
                transaction.kind, transaction.reference, legs, occurred_at=transaction.occurred_at, **_ids(transaction)
            )
            continue
        lacking = _lacking(legs, actual)
        if lacking:
            _check_balanced(transaction.reference, lacking)
            number = sum(1 for reference in posted if reference.startswith(f"{_PREFIX}{transaction.reference}:")) + 1
            missing.move(
                LedgerTransactionKind.ADJUSTMENT, f"{_PREFIX}{transaction.reference}:{number}", lacking,
                occurred_at=now, **_ids(transaction),
            )  # fmt: skip
            corrected.append(transaction.reference)
    await missing.write(connection)
    return corrected


async def _posted(
    connection: AnyConnection, payment_id: UUID | None, transactions: Sequence[LedgerTransaction]
) -> dict[str, dict[tuple[Pot, str], int]]:
    """What was posted under each reference by pot and currency, with what corrections added, which are there too."""
    references = [transaction.reference for transaction in transactions]
    objects = [transaction.stripe_object_id for transaction in transactions if transaction.stripe_object_id]
    posted: dict[str, dict[tuple[Pot, str], int]] = {}
    for record in await connection.fetch(_POSTED, references, payment_id, objects):
        name = record["reference"]
        for reference in (name, *(each for each in references if name.startswith(f"{_PREFIX}{each}:"))):
            pots = posted.setdefault(reference, defaultdict(int))
            if record["kind"] is not None:  # a movement may have lost its postings
                pot = Pot(LedgerAccountKind(record["kind"]), record["owner_id"])
                pots[pot, record["currency"]] += record["amount_minor"]
    return posted


def _legs(batch: LedgerBatch, transaction_id: UUID) -> list[tuple[Pot, Money]]:
    legs = []
    for posting in batch.postings:
        if posting.transaction_id == transaction_id:
            account = batch.accounts[posting.account_id]
            legs.append((Pot(account.kind, account.owner_id), Money(posting.amount_minor, posting.currency)))
    return legs


def _lacking(legs: list[tuple[Pot, Money]], actual: dict[tuple[Pot, str], int]) -> list[tuple[Pot, Money]]:
    wanted: dict[tuple[Pot, str], int] = defaultdict(int)
    for pot, money in legs:
        wanted[pot, money.currency] += money.minor
    return [
        (pot, Money(minor, currency))
        for pot, currency in {**wanted, **actual}
        if (minor := wanted.get((pot, currency), 0) - actual.get((pot, currency), 0))
    ]


def _check_balanced(reference: str, lacking: list[tuple[Pot, Money]]) -> None:
    sums: dict[str, int] = defaultdict(int)
    for _, money in lacking:
        sums[money.currency] += money.minor
    if any(sums.values()):
        text = f"The ledger's movement {reference} does not add up: a row of it was changed. Restore it from a backup."
        raise InvalidState(text, state="LEDGER_CHANGED")


def _ids(transaction: LedgerTransaction) -> dict[str, Any]:
    return {
        "payment_id": transaction.payment_id, "refund_id": transaction.refund_id,
        "stripe_object_id": transaction.stripe_object_id, "stripe_account": transaction.stripe_account,
    }  # fmt: skip
