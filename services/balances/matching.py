"""Which movement of the ledger a balance transaction settles: by what both say of Stripe's objects.

A movement shows at each place that it goes through, and is settled once at each: a transfer at the platform, whose
balance transaction names the transfer, and at the host, whose own names a payment that came of that transfer.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from models.balances import BalanceTransaction
    from models.sets import AnyConnection

_MOVEMENTS: Final = """
SELECT DISTINCT ON (reference) id, reference, payment_id, refund_id FROM ledger_transactions
WHERE reference = ANY($1) ORDER BY reference, id
"""
# What the platform's row of the same cause settles; where nobody meant that one, neither did they mean this one.
_THROUGH_PLATFORM: Final = """
SELECT b.source_id, t.id, t.reference, t.payment_id, t.refund_id
FROM balance_transactions b JOIN ledger_transactions t ON t.id = b.settles_id
WHERE b.stripe_account = '' AND b.source_id = ANY($1) AND b.settles_id IS DISTINCT FROM b.posting_id
"""
_TRANSFERS: Final = """
SELECT stripe_object_id AS source_id, id, reference, payment_id, refund_id FROM ledger_transactions
WHERE stripe_object_id = ANY($1) AND kind = 'TRANSFER'
"""
# Refunds of a fee name the fee, not what they were for: those of its payment, in the order in which they were made.
_FEE_REFUNDS: Final = """
SELECT f.source_id, t.id, t.reference, t.payment_id, t.refund_id, p.currency, p.amount_minor
FROM balance_transactions f JOIN ledger_transactions m ON m.id = f.settles_id
JOIN ledger_transactions t ON t.payment_id = m.payment_id AND t.kind = 'APPLICATION_FEE_REFUND'
JOIN ledger_postings p ON p.transaction_id = t.id
JOIN ledger_accounts a ON a.id = p.account_id AND a.kind = 'APPLICATION_FEES'
WHERE f.stripe_account = '' AND f.type = 'application_fee' AND f.source_id = ANY($1)
ORDER BY t.occurred_at, t.id
"""
# Stripe does not say with which refund it gave a fee back: it may have been put down to another one of the payment.
_FEES_GIVEN_BACK: Final = """
SELECT id, reference, payment_id, refund_id FROM ledger_transactions
WHERE payment_id = ANY($1) AND kind = 'APPLICATION_FEE_REFUND' ORDER BY occurred_at, id
"""
_TAKEN: Final = """
SELECT settles_id, fee_settles_id FROM balance_transactions
WHERE stripe_account = $1 AND (settles_id = ANY($2) OR fee_settles_id = ANY($2))
"""
# The application fee's movement beside that of the payment that it was taken of, and so for what was given back.
_FEE_BESIDE: Final = {
    "charge": "application_fee", "transfer": "application_fee", "refund": "application_fee_refund",
    "transfer_reversal": "application_fee_refund",
}  # fmt: skip

Names = tuple[tuple[str, str | None], ...]


def _source(kind: str) -> Callable[[BalanceTransaction], Names]:
    return lambda row: ((kind, row.source_id),)


def _source_or_related(kind: str) -> Callable[[BalanceTransaction], Names]:
    return lambda row: ((kind, row.source_id), (kind, row.related_id))


# What the movement of a type is called: kind and id of its reference, the likeliest first.
_CALLED: Final[dict[str, Callable[[BalanceTransaction], Names]]] = {
    "charge": _source("charge"),
    "payment": _source("charge"),
    "refund": _source("refund"),
    "payment_refund": _source("refund"),
    "refund_failure": _source("refund_failed"),
    "payment_failure_refund": _source("refund_failed"),
    # A destination charge's own transfer, and its reversal for a refund, go by those.
    "transfer": _source_or_related("transfer"),
    "transfer_refund": _source_or_related("transfer_reversal"),
    "application_fee": lambda row: (("application_fee", row.related_id),),
    "payout": _source("payout"),
    "payout_cancel": _source("payout_failed"),
    "payout_failure": _source("payout_failed"),
    # A dispute may move money several times.
    "adjustment": lambda row: (("dispute_funds", row.stripe_balance_transaction_id),),
    "payment_reversal": lambda row: (("dispute_funds", row.stripe_balance_transaction_id),),
}


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction of the ledger that says why money moved."""

    id: UUID
    reference: str
    payment_id: UUID | None
    refund_id: UUID | None


@dataclass(frozen=True, slots=True)
class Match:
    """What a balance transaction settles; `fee` is the application fee that is part of it."""

    movement: Movement
    fee: Movement | None = None


class Movements:
    """What the ledger has that rows of one account may settle."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._by_reference: dict[str, Movement] = {}
        self._through: dict[str, Movement] = {}
        self._fee_refunds: dict[str, list[tuple[Movement, tuple[str, int]]]] = defaultdict(list)
        self._fees_given_back: dict[UUID, list[Movement]] = defaultdict(list)
        self._taken: set[UUID] = set()

    @classmethod
    async def find(cls, connection: AnyConnection, account: str, rows: Sequence[BalanceTransaction]) -> Movements:
        """All that these rows may settle, in a fixed number of statements."""
        found = cls(account)
        names = {name for row in rows for name in found._references(row)}
        beside = {_beside(name) for name in names} - {None}
        for record in await connection.fetch(_MOVEMENTS, [*names, *beside]):
            found._by_reference[record["reference"]] = _movement(record)
        if through := sorted({cause for row in rows if (cause := found._cause(row))}):
            for query in (_TRANSFERS, _THROUGH_PLATFORM):
                for record in await connection.fetch(query, through):
                    found._through[record["source_id"]] = _movement(record)
            named = [name for one in found._through.values() if (name := _beside(one.reference))]
            for record in await connection.fetch(_MOVEMENTS, named):
                found._by_reference[record["reference"]] = _movement(record)
        if fees := [row.related_id for row in rows if row.type == "application_fee_refund" and row.related_id]:
            for record in await connection.fetch(_FEE_REFUNDS, fees):
                amount = (record["currency"], record["amount_minor"])
                found._fee_refunds[record["source_id"]].append((_movement(record), amount))
        if any(row.application_fee_minor < 0 or _is_fee_refund(row) for row in rows) and account:
            payments = {movement.payment_id for movement in found._all()} - {None}
            for record in await connection.fetch(_FEES_GIVEN_BACK, sorted(payments, key=str)):
                found._fees_given_back[record["payment_id"]].append(_movement(record))
        for record in await connection.fetch(_TAKEN, account, list(found.ids)):
            found._taken |= {record["settles_id"], record["fee_settles_id"]} - {None}
        return found

    @property
    def ids(self) -> set[UUID]:
        """Of all that were found."""
        return {movement.id for movement in self._all()}

    def of(self, row: BalanceTransaction, *, shows: Callable[[UUID], bool], guess: bool) -> Match | None:
        """What a row settles, which no other row of the account can settle any more; None where there is nothing.

        Args:
            shows: whether a movement changes the balance of the account.
            guess: whether a movement of another amount will do, since the row's own is not expected any more.
        """
        movement = self._main(row, guess=guess)
        if movement is None or not shows(movement.id):
            return None
        self._taken.add(movement.id)
        if not row.application_fee_minor:
            return Match(movement)
        beside = self._by_reference.get(_beside(movement.reference) or "")
        fee = self._free([beside, *(self._of_payment(movement) if row.application_fee_minor < 0 else ())])
        if fee is None:
            return Match(movement)
        self._taken.add(fee.id)
        return Match(movement, fee)

    def _main(self, row: BalanceTransaction, *, guess: bool) -> Movement | None:
        if row.type == "application_fee_refund":
            return self._fee_refund(row, guess=guess)
        candidates = [self._by_reference.get(name) for name in self._references(row)]
        through = self._through.get(self._cause(row) or "")
        return self._free([*candidates, through, *(self._of_payment(through) if _is_fee_refund(row) else ())])

    def _of_payment(self, movement: Movement | None) -> Sequence[Movement]:
        """What was given back of the fee of the payment of a movement."""
        if movement is None or movement.payment_id is None:
            return ()
        return self._fees_given_back[movement.payment_id]

    def _free(self, candidates: Iterable[Movement | None]) -> Movement | None:
        """The first that no row has settled."""
        return next((one for one in candidates if one is not None and one.id not in self._taken), None)

    def _fee_refund(self, row: BalanceTransaction, *, guess: bool) -> Movement | None:
        """By its amount, where it was not exchanged: of several, the row's own may be the last to become known here."""
        left = [one for one in self._fee_refunds[row.related_id or ""] if one[0].id not in self._taken]
        same = [movement for movement, amount in left if amount == (row.currency, row.amount_minor)]
        others = left if guess or row.exchange_rate is not None else []
        return next(iter(same or [movement for movement, _ in others]), None)

    def _all(self) -> Iterable[Movement]:
        yield from self._by_reference.values()
        yield from self._through.values()
        for movements in self._fee_refunds.values():
            yield from (movement for movement, _ in movements)
        for given_back in self._fees_given_back.values():
            yield from given_back

    def _cause(self, row: BalanceTransaction) -> str | None:
        """The platform's object that a host's row came of."""
        if not self._account:
            return None
        if row.type == "adjustment":
            return row.source_id if _is_fee_refund(row) else None
        return row.related_id if (row.related_id or "").startswith(("tr_", "trr_")) else None

    def _references(self, row: BalanceTransaction) -> list[str]:
        """What the movement may be called, the likeliest first."""
        related = row.related_id
        if self._cause(row) is not None and related is not None and row.type != "adjustment":
            kind = "transfer_reversal" if related.startswith("trr_") else "transfer"
            return [f"{kind}:{related}"]
        called = _CALLED.get(row.type)
        return [f"{kind}:{id_}" for kind, id_ in called(row) if id_ is not None] if called else []


def _is_fee_refund(row: BalanceTransaction) -> bool:
    """Whether a host's row is a fee that the platform gave back without reversing a transfer."""
    return row.type == "adjustment" and (row.source_id or "").startswith("fr_")


def _movement(record: Any) -> Movement:
    return Movement(record["id"], record["reference"], record["payment_id"], record["refund_id"])


def _beside(reference: str) -> str | None:
    kind, _, id_ = reference.partition(":")
    return f"{_FEE_BESIDE[kind]}:{id_}" if kind in _FEE_BESIDE else None
