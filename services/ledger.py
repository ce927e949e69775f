"""Posting to the ledger: what a movement of money is, and how a batch of them is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid5

from models.base import new_id
from models.ledger import LedgerAccount, LedgerAccountKind, LedgerPosting, LedgerTransaction, LedgerTransactionKind
from models.sets import insert_rows

if TYPE_CHECKING:
    from datetime import datetime

    from models.money import Money
    from models.sets import AnyConnection

# Accounts are known by what they are: two transactions that need the same new one make the same row.
_ACCOUNTS = uuid5(NAMESPACE_URL, "paydesk:ledger:accounts")


@dataclass(frozen=True, slots=True)
class Pot:
    """An account of the ledger, before its currency: the platform's where it has no owner."""

    kind: LedgerAccountKind
    owner_id: UUID | None = None

    def account(self, currency: str) -> LedgerAccount:
        """The row of this pot in a currency."""
        id_ = uuid5(_ACCOUNTS, f"{self.kind}:{self.owner_id or ''}:{currency}")
        return LedgerAccount(id=id_, owner_id=self.owner_id, kind=self.kind, currency=currency)


GUESTS = Pot(LedgerAccountKind.GUEST_CLEARING)
PLATFORM = Pot(LedgerAccountKind.PLATFORM_BALANCE)
FEES = Pot(LedgerAccountKind.APPLICATION_FEES)
REFUNDS = Pot(LedgerAccountKind.REFUNDS)


def host_balance(host_id: UUID) -> Pot:
    """What a host has at Stripe."""
    return Pot(LedgerAccountKind.HOST_BALANCE, host_id)


def host_owed(host_id: UUID) -> Pot:
    """What the platform holds and owes a host."""
    return Pot(LedgerAccountKind.HOST_OWED, host_id)


@dataclass(frozen=True, slots=True)
class Settlement:
    """Stripe's balance transaction behind a movement; amounts are minor units of its currency."""

    reference: str
    balance_transaction_id: str
    currency: str
    amount_minor: int
    fee_minor: int
    available_on: datetime
    stripe_account: str = ""


@dataclass(slots=True)
class LedgerBatch:
    """Collects movements and writes them set-wise; a reference that was posted before is left as it is."""

    accounts: dict[UUID, LedgerAccount] = field(default_factory=dict)
    transactions: list[LedgerTransaction] = field(default_factory=list)
    postings: list[LedgerPosting] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)

    def move(
        self,
        kind: LedgerTransactionKind,
        reference: str,
        legs: list[tuple[Pot, Money]],
        *,
        occurred_at: datetime,
        payment_id: UUID | None,
        refund_id: UUID | None = None,
        stripe_account: str = "",
        stripe_object_id: str | None = None,
    ) -> None:
        """Move money between pots: the legs sum to zero per currency, and legs of nothing are left out."""
        legs = [(pot, money) for pot, money in legs if money]
        if not legs:
            return
        transaction = LedgerTransaction(
            id=new_id(), kind=kind, reference=reference, occurred_at=occurred_at, payment_id=payment_id,
            refund_id=refund_id, stripe_account=stripe_account, stripe_object_id=stripe_object_id,
        )  # fmt: skip
        self.transactions.append(transaction)
        for pot, money in legs:
            account = pot.account(money.currency)
            self.accounts[account.id] = account
            self.postings.append(
                LedgerPosting(
                    id=new_id(), transaction_id=transaction.id, account_id=account.id, amount_minor=money.minor,
                    currency=money.currency,
                )  # fmt: skip
            )

    async def write(self, connection: AnyConnection) -> None:
        """Write them inside the transaction that settles."""
        if self.transactions:
            await self._write_postings(connection)
        if self.settlements:
            await self._write_settlements(connection)

    async def _write_postings(self, connection: AnyConnection) -> None:
        # In one order everywhere, since two transactions may be making the same accounts.
        accounts = sorted(self.accounts.values(), key=lambda account: account.id)
        await insert_rows(connection, LedgerAccount, accounts, conflict="ON CONFLICT DO NOTHING")
        new = await insert_rows(
            connection, LedgerTransaction, self.transactions,
            conflict="ON CONFLICT (reference, occurred_at) DO NOTHING RETURNING id",
        )  # fmt: skip
        written = {record["id"] for record in new}
        await insert_rows(
            connection, LedgerPosting, [posting for posting in self.postings if posting.transaction_id in written]
        )

    async def _write_settlements(self, connection: AnyConnection) -> None:
        rows = self.settlements
        await connection.execute(
            """
            INSERT INTO ledger_settlements (id, transaction_id, stripe_account, balance_transaction_id, currency,
                                            amount_minor, fee_minor, available_on)
            SELECT v.id, t.id, v.stripe_account, v.balance_transaction_id, v.currency, v.amount_minor, v.fee_minor,
                   v.available_on
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                        $8::timestamptz[])
                AS v(id, reference, stripe_account, balance_transaction_id, currency, amount_minor, fee_minor,
                     available_on)
            JOIN ledger_transactions t ON t.reference = v.reference
            ON CONFLICT DO NOTHING
            """,
            [new_id() for _ in rows],
            [row.reference for row in rows],
            [row.stripe_account for row in rows],
            [row.balance_transaction_id for row in rows],
            [row.currency for row in rows],
            [row.amount_minor for row in rows],
            [row.fee_minor for row in rows],
            [row.available_on for row in rows],
        )
