"""Joining Stripe's books to the ledger: what each balance transaction settles, and what it adds to that.

A movement is posted in the currency that was meant, gross. Its balance transaction brings the pots of its place to what
Stripe says: the conversion into the currency of the account, and Stripe's fee, in one ledger transaction of its own.
What nobody here meant is posted whole, at once or, where a movement may still come for it, after a while.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from models.balances import BalanceTransaction
from models.base import from_record
from models.ledger import LedgerAccountKind, LedgerPlace, LedgerTransactionKind, place_of
from models.money import Money
from models.sets import update_rows
from services.balances.matching import Match, Movements
from services.balances.types import RULES, WAITING, rule_of
from services.ledger import ADJUSTMENTS, FX, PLATFORM, STRIPE_FEES, LedgerBatch, Pot, host_balance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.sets import AnyConnection
    from services.core import Services

log = structlog.get_logger("balances")

_AT_ONCE: Final = 500
_EARLIEST: Final = datetime(2011, 1, 1, tzinfo=UTC)
_COLUMNS: Final = ("settles_id", "fee_settles_id", "posting_id", "payment_id")
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('paydesk:balances:' || $1, 0))"
_OWNER: Final = "SELECT user_id FROM connect_accounts WHERE stripe_account_id = $1"
_WAITING_ROWS: Final = """
SELECT * FROM balance_transactions
WHERE stripe_account = $1 AND settles_id IS NULL AND (amount_minor <> 0 OR fee_minor <> 0)
    AND (stripe_created_at, id) > ($2, $3)
ORDER BY stripe_created_at, id LIMIT $4 FOR NO KEY UPDATE
"""
_NOBODYS: Final = """
SELECT * FROM balance_transactions
WHERE settles_id = posting_id AND type = ANY($1) AND (stripe_created_at, id) > ($2, $3)
ORDER BY stripe_created_at, id LIMIT $4
"""
# What corrects a movement is part of what was meant.
_LEGS: Final = """
SELECT p.transaction_id, a.kind, a.owner_id, p.currency, p.amount_minor
FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.account_id WHERE p.transaction_id = ANY($1)
UNION ALL
SELECT t.id, a.kind, a.owner_id, p.currency, p.amount_minor
FROM ledger_transactions t JOIN ledger_transactions c ON c.stripe_object_id = t.stripe_object_id
    AND c.kind = 'ADJUSTMENT' AND starts_with(c.reference, 'correction:' || t.reference || ':')
JOIN ledger_postings p ON p.transaction_id = c.id JOIN ledger_accounts a ON a.id = p.account_id
WHERE t.id = ANY($1)
"""
_MOVEMENTS: Final = "SELECT id FROM ledger_transactions WHERE reference = ANY($1)"
_SETTLING: Final = """
SELECT id, stripe_account FROM balance_transactions WHERE settles_id = ANY($1) OR fee_settles_id = ANY($1)
"""
_FREE: Final = """
UPDATE balance_transactions SET settles_id = NULL, fee_settles_id = NULL WHERE id = ANY($1) RETURNING *
"""
_OWN: Final = """
SELECT id, stripe_object_id FROM ledger_transactions
WHERE stripe_object_id = ANY($1) AND stripe_account = $2 AND starts_with(reference, 'balance:') ORDER BY id
"""
_PAYMENTS: Final = """
SELECT stripe_charge_id AS named, id FROM payments WHERE stripe_charge_id = ANY($1)
UNION ALL SELECT stripe_transfer_id, payment_id FROM transfers WHERE stripe_transfer_id = ANY($1)
UNION ALL SELECT stripe_transfer_id, payment_id FROM payment_allocations WHERE stripe_transfer_id = ANY($1)
UNION ALL SELECT source_id, payment_id FROM balance_transactions
WHERE source_id = ANY($1) AND stripe_account = '' AND payment_id IS NOT NULL
"""

Legs = dict[tuple[Pot, str], int]
"""Minor units by pot and currency."""


async def settle_waiting(services: Services, account: str) -> None:
    """Join what still waits of an account to movements that have come since, a few hundred rows at a time."""
    after: tuple[datetime, UUID] = (_EARLIEST, UUID(int=0))
    while True:
        async with services.database.transaction() as connection:
            await lock_books(connection, account)
            records = await connection.fetch(_WAITING_ROWS, account, *after, _AT_ONCE)
            rows = [from_record(BalanceTransaction, record) for record in records]
            await settle_rows(services, connection, account, rows)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].stripe_created_at, rows[-1].id


async def settle_nobodys(services: Services, *, since: datetime) -> None:
    """Look again at what was posted whole: where its movement came late after all, it counts, and not both."""
    after: tuple[datetime, UUID] = (since, UUID(int=0))
    while True:
        records = await services.database.pool.fetch(_NOBODYS, WAITING, *after, _AT_ONCE)
        by_account: dict[str, list[BalanceTransaction]] = defaultdict(list)
        for record in records:
            by_account[record["stripe_account"]].append(from_record(BalanceTransaction, record))
        for account, rows in sorted(by_account.items()):
            async with services.database.transaction() as connection:
                await lock_books(connection, account)
                await settle_rows(services, connection, account, rows)
        if len(records) < _AT_ONCE:
            return
        after = records[-1]["stripe_created_at"], records[-1]["id"]


async def settle_again(services: Services, references: Sequence[str]) -> None:
    """Join anew what settles these movements, which have been corrected since; only what differs by that is posted."""
    pool = services.database.pool
    movements = [record["id"] for record in await pool.fetch(_MOVEMENTS, list(references))]
    by_account: dict[str, list[UUID]] = defaultdict(list)
    for record in await pool.fetch(_SETTLING, movements):
        by_account[record["stripe_account"]].append(record["id"])
    for account, ids in sorted(by_account.items()):
        async with services.database.transaction() as connection:
            await lock_books(connection, account)
            rows = [from_record(BalanceTransaction, record) for record in await connection.fetch(_FREE, ids)]
            await settle_rows(services, connection, account, rows)


async def lock_books(connection: AnyConnection, account: str) -> None:
    """Let nobody else join rows of this account to movements until the transaction ends: each is settled once."""
    await connection.execute(_LOCK, account)


async def settle_rows(
    services: Services, connection: AnyConnection, account: str, rows: Sequence[BalanceTransaction]
) -> None:
    """Join rows to what they settle, and post what that leaves; rows that may still wait are left as they are.

    The books of the account are locked (`lock_books`).
    """
    if not rows:
        return
    owner = await _owner_of(connection, account)
    patience = timedelta(seconds=services.settings.balance_wait_s)
    batch = _Batch(account, owner, services.clock() - patience)
    await batch.read(connection, rows)
    for row in sorted(rows, key=lambda row: (row.stripe_created_at, row.id)):
        batch.settle(row)
    await batch.write(connection)
    for type_ in {row.type for row in rows} - RULES.keys():
        log.warning("balances.unknown_type", type=type_, account=account)
        services.metrics.balance_unknown.labels(type_).inc(sum(row.type == type_ for row in rows))


async def _owner_of(connection: AnyConnection, account: str) -> UUID | None:
    """The host whose account it is; none for the platform."""
    if not account:
        return None
    owner: UUID | None = await connection.fetchval(_OWNER, account)
    if owner is None:
        raise LookupError(f"{account} is nobody's here")
    return owner


@dataclass(slots=True)
class _Batch:
    """Rows of one account, and what the ledger has of them."""

    account: str
    owner: UUID | None
    """The host whose account it is; none: the platform."""
    patient_until: datetime
    """What was made before waits no longer."""
    ledger: LedgerBatch = field(default_factory=LedgerBatch)
    changed: dict[UUID, BalanceTransaction] = field(default_factory=dict)
    _movements: Movements | None = None
    _legs: dict[UUID, Legs] = field(default_factory=lambda: defaultdict(dict))
    _own: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    _payments: dict[str, UUID] = field(default_factory=dict)

    async def read(self, connection: AnyConnection, rows: Sequence[BalanceTransaction]) -> None:
        """Everything that is needed, in a fixed number of statements."""
        self._movements = await Movements.find(connection, self.account, rows)
        names = [row.stripe_balance_transaction_id for row in rows]
        for record in await connection.fetch(_OWN, names, self.account):
            self._own[record["stripe_object_id"]].append(record["id"])
        posted = [id_ for ids in self._own.values() for id_ in ids]
        for record in await connection.fetch(_LEGS, [*self._movements.ids, *posted]):
            legs = self._legs[record["transaction_id"]]
            key = Pot(LedgerAccountKind(record["kind"]), record["owner_id"]), record["currency"]
            legs[key] = legs.get(key, 0) + record["amount_minor"]
        charges = {name for row in rows for name in (row.source_id, row.related_id) if name is not None}
        for record in await connection.fetch(_PAYMENTS, sorted(charges)):
            self._payments[record["named"]] = record["id"]

    def settle(self, row: BalanceTransaction) -> None:
        """Join a row to its movement, or post it whole where there is none and it is time."""
        assert self._movements is not None
        before = [getattr(row, name) for name in _COLUMNS]
        match = self._movements.of(row, shows=self._shows, guess=not self._may_wait(row))
        if match is not None:
            row.settles_id = match.movement.id
            row.fee_settles_id = match.fee.id if match.fee else None
            row.payment_id = match.movement.payment_id
            self._post(row, LedgerTransactionKind.SETTLEMENT, self._settling(row, match), match)
        else:
            row.payment_id = self._payments.get(row.related_id or "") or self._payments.get(row.source_id or "")
            if not self._may_wait(row):
                kind = rule_of(row.type).kind if row.amount_minor else LedgerTransactionKind.STRIPE_FEE
                self._post(row, kind, self._whole(row))
                row.settles_id = row.posting_id
        if [getattr(row, name) for name in _COLUMNS] != before:
            self.changed[row.id] = row

    def _may_wait(self, row: BalanceTransaction) -> bool:
        """Whether a movement may still come for a row."""
        if not rule_of(row.type).waits or not row.amount_minor:
            return False
        about_something = row.type != "adjustment" or row.source_id is not None
        return about_something and row.stripe_created_at >= self.patient_until

    async def write(self, connection: AnyConnection) -> None:
        """Write what changed."""
        await self.ledger.write(connection)
        await update_rows(connection, BalanceTransaction, list(self.changed.values()), _COLUMNS)

    @property
    def _main(self) -> Pot:
        """The pot that balances the place, whatever moved there."""
        return host_balance(self.owner) if self.owner is not None else PLATFORM

    def _shows(self, movement_id: UUID) -> bool:
        """Whether a movement changes the place of this account."""
        return any(self._at_place(movement_id).values())

    def _at_place(self, *transactions: UUID) -> dict[str, int]:
        """What these did to the place, by currency."""
        sums: dict[str, int] = defaultdict(int)
        for id_ in transactions:
            for (pot, currency), minor in self._legs[id_].items():
                if self._lies_here(pot):
                    sums[currency] += minor
        return sums

    def _lies_here(self, pot: Pot) -> bool:
        if self.account:
            return place_of(pot.kind) is LedgerPlace.HOST and pot.owner_id == self.owner
        return place_of(pot.kind) is LedgerPlace.PLATFORM

    def _settling(self, row: BalanceTransaction, match: Match) -> Legs:
        """The conversion into what was settled, and Stripe's fee."""
        meant = self._at_place(match.movement.id, *([match.fee.id] if match.fee else []))
        stripes_fee = row.fee_minor - row.application_fee_minor
        settled = {row.currency: row.amount_minor - row.application_fee_minor}
        exchanged = row.exchange_rate is not None or meant.keys() - settled.keys()
        counter = FX if exchanged else ADJUSTMENTS
        legs: Legs = defaultdict(int)
        for currency in meant.keys() | settled.keys():
            difference = settled.get(currency, 0) - meant.get(currency, 0)
            legs[self._main, currency] += difference
            legs[counter, currency] -= difference
        legs[self._main, row.currency] -= stripes_fee
        legs[STRIPE_FEES, row.currency] += stripes_fee
        return legs

    def _whole(self, row: BalanceTransaction) -> Legs:
        """All of it, as its type says: nobody here meant it."""
        legs: Legs = defaultdict(int)
        counter = rule_of(row.type).counter(self.owner)
        legs[self._main, row.currency] += row.amount_minor - row.fee_minor
        legs[counter, row.currency] -= row.amount_minor - row.application_fee_minor
        legs[STRIPE_FEES, row.currency] += row.fee_minor - row.application_fee_minor
        return legs

    def _post(
        self, row: BalanceTransaction, kind: LedgerTransactionKind, legs: Legs, match: Match | None = None
    ) -> None:
        """Post what is missing of these legs; what was posted for the row before is not posted again."""
        txn = row.stripe_balance_transaction_id
        before = self._own[txn]
        missing: Legs = defaultdict(int, legs)
        for id_ in before:
            for key, minor in self._legs[id_].items():
                missing[key] -= minor
        suffix = f":{len(before) + 1}" if before else ""
        posted = self.ledger.move(
            kind, f"balance:{self.account}:{txn}{suffix}",
            [(pot, Money(minor, currency)) for (pot, currency), minor in missing.items()],
            occurred_at=row.stripe_created_at, payment_id=row.payment_id,
            refund_id=match.movement.refund_id if match else None, stripe_object_id=txn, stripe_account=self.account,
        )  # fmt: skip
        row.posting_id = before[0] if before else posted
