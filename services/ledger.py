"""Posting to the ledger: what a movement of money is, and how a batch of them is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from models.base import new_id, new_row
from models.ledger import LedgerAccount, LedgerAccountKind, LedgerTransaction, LedgerTransactionKind
from models.sets import Writes

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
        id_ = _account_id(self, currency)
        return LedgerAccount(id=id_, owner_id=self.owner_id, kind=self.kind, currency=currency)


@lru_cache(maxsize=10_000)
def _account_id(pot: Pot, currency: str) -> UUID:
    return uuid5(_ACCOUNTS, f"{pot.kind}:{pot.owner_id or ''}:{currency}")


GUESTS = Pot(LedgerAccountKind.GUEST_CLEARING)
PLATFORM = Pot(LedgerAccountKind.PLATFORM_BALANCE)
FEES = Pot(LedgerAccountKind.APPLICATION_FEES)
REFUNDS = Pot(LedgerAccountKind.REFUNDS)
INCOME = Pot(LedgerAccountKind.SUBSCRIPTION_INCOME)
RECEIVABLES = Pot(LedgerAccountKind.RECEIVABLES)
UNCOLLECTIBLE = Pot(LedgerAccountKind.UNCOLLECTIBLE)
STRIPE_FEES = Pot(LedgerAccountKind.STRIPE_FEES)
DISPUTES = Pot(LedgerAccountKind.DISPUTES)
ADJUSTMENTS = Pot(LedgerAccountKind.ADJUSTMENTS)
FX = Pot(LedgerAccountKind.FX_LIQUIDITY)


def payouts_in_transit(owner_id: UUID | None) -> Pot:
    """What is on its way to a host's bank, or, without an owner, to the platform's."""
    return Pot(LedgerAccountKind.PAYOUTS_IN_TRANSIT, owner_id)


def bank(owner_id: UUID | None) -> Pot:
    """What payouts brought to a host's bank, or, without an owner, to the platform's."""
    return Pot(LedgerAccountKind.BANK, owner_id)


def host_balance(host_id: UUID) -> Pot:
    """What a host has at Stripe."""
    return Pot(LedgerAccountKind.HOST_BALANCE, host_id)


def host_owed(host_id: UUID) -> Pot:
    """What the platform holds and owes a host."""
    return Pot(LedgerAccountKind.HOST_OWED, host_id)


class _Posting(NamedTuple):
    """A row of `ledger_postings`; there are many, and making the ORM's instances of them is most of their cost."""

    id: UUID
    transaction_id: UUID
    account_id: UUID
    amount_minor: int
    currency: str


@dataclass(slots=True)
class LedgerBatch:
    """Collects movements and writes them set-wise; a reference that was posted before is left as it is."""

    accounts: dict[UUID, LedgerAccount] = field(default_factory=dict)
    transactions: list[LedgerTransaction] = field(default_factory=list)
    postings: list[_Posting] = field(default_factory=list)

    def move(
        self,
        kind: LedgerTransactionKind,
        reference: str,
        legs: list[tuple[Pot, Money]],
        *,
        occurred_at: datetime,
        payment_id: UUID | None,
        refund_id: UUID | None = None,
        stripe_object_id: str | None = None,
        stripe_account: str = "",
    ) -> UUID | None:
        """Move money between pots: the legs sum to zero per currency, and legs of nothing are left out.

        `stripe_object_id` is the object at Stripe, and `stripe_account` whose it is ('': the platform's).

        Returns: the id of the transaction, unless its reference was posted before; None where nothing moves.
        """
        legs = [(pot, money) for pot, money in legs if money]
        if not legs:
            return None
        transaction = new_row(
            LedgerTransaction,
            id=new_id(), kind=kind, reference=reference, occurred_at=occurred_at, payment_id=payment_id,
            refund_id=refund_id, stripe_object_id=stripe_object_id, stripe_account=stripe_account,
        )  # fmt: skip
        self.transactions.append(transaction)
        for pot, money in legs:
            account_id = _account_id(pot, money.currency)
            if account_id not in self.accounts:
                self.accounts[account_id] = pot.account(money.currency)
            self.postings.append(_Posting(new_id(), transaction.id, account_id, money.minor, money.currency))
        return transaction.id

    def add_to(self, writes: Writes) -> None:
        """Write them together with the rows that they are about."""
        if self.transactions:
            self._add_postings(writes)

    async def write(self, connection: AnyConnection) -> None:
        """Write them inside the transaction that settles."""
        writes = Writes()
        self.add_to(writes)
        await writes.run(connection)

    def _add_postings(self, writes: Writes) -> None:
        # In one order everywhere, since two transactions may be making the same accounts.
        accounts = sorted(self.accounts.values(), key=lambda account: account.id)
        writes.insert(LedgerAccount, accounts, conflict="ON CONFLICT DO NOTHING")
        writes.insert(
            LedgerTransaction, self.transactions,
            conflict="ON CONFLICT (reference, occurred_at) DO NOTHING RETURNING id",
        )  # fmt: skip
        writes.add(
            "inserted_ledger_postings",
            """
            INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)
            SELECT v.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[])
                AS v(id, transaction_id, account_id, amount_minor, currency)
            WHERE v.transaction_id IN (SELECT id FROM inserted_ledger_transactions)
            """,
            *map(list, zip(*self.postings, strict=True)),
        )
