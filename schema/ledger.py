"""The ledger, as far as clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from schema.described import object_type
from schema.enums import LedgerPlace
from schema.money import Money

if TYPE_CHECKING:
    from services.balances.reading import PotBalance
    from services.movements import Movement


@object_type
class LedgerMovement:
    """One posting of the double-entry ledger. The postings of a transaction add up to nothing in each currency."""

    transaction_id: strawberry.ID = strawberry.field(description="The same for all postings of one transaction.")
    account: str = strawberry.field(
        description="The kind of account, and whose it is where it is not the platform's: `host_balance:alice`."
    )
    amount: Money = strawberry.field(
        description="What went into the account; negative for out of it. Of a payout, the payment's part of it."
    )
    occurred_at: datetime = strawberry.field(description="When it happened, at Stripe.")
    cause: str = strawberry.field(description="What caused it, with Stripe's id: `charge:ch_…`.")
    stripe_id: str | None = strawberry.field(description="Stripe's object that moved it: ch_…, tr_…, txn_…, po_….")
    stripe_account: str | None = strawberry.field(
        description="The connected account (acct_…) whose object that is; null for the platform's."
    )

    @classmethod
    def of(cls, movement: Movement) -> LedgerMovement:
        """From the service's answer."""
        return cls(
            transaction_id=strawberry.ID(str(movement.transaction_id)),
            account=movement.account,
            amount=Money.of(movement.amount),
            occurred_at=movement.occurred_at,
            cause=movement.cause,
            stripe_id=movement.stripe_id,
            stripe_account=movement.stripe_account,
        )


@object_type
class LedgerBalance:
    """What all accounts of a kind hold in a currency, of all hosts together."""

    account: str = strawberry.field(description="The kind of account: `host_balance`.")
    place: LedgerPlace = strawberry.field(description="Where that money lies.")
    amount: Money = strawberry.field(description="What they hold; negative for less than nothing.")

    @classmethod
    def of(cls, balance: PotBalance) -> LedgerBalance:
        """From the service's answer."""
        return cls(account=balance.kind.value.lower(), place=balance.place, amount=Money.of(balance.amount))
