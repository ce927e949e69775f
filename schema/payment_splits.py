"""Who has which part of a payment."""

from __future__ import annotations

from datetime import datetime

import strawberry

from models.money import Money as Amount
from schema.context import Info
from schema.described import field, object_type
from schema.enums import TransferHold
from schema.money import Money
from schema.users import User
from services.transfers.reading import HostShare


@object_type
class PaymentSplit:
    """One host's part of a payment."""

    amount: Money = strawberry.field(description="The host's part, net of the platform's fee.")
    transferred: bool = strawberry.field(
        description="Whether all that is the host's has left for the host's account."
    )
    transferred_amount: Money = strawberry.field(description="What was sent to the host's account, or paid on it.")
    reversed_amount: Money = strawberry.field(
        description="What was taken back of it for refunds and lost disputes, whether it had been sent or not."
    )
    owed_amount: Money = strawberry.field(
        description="What the platform holds for the host; below zero what the host owes the platform."
    )
    held: TransferHold | None = strawberry.field(
        description="Why what the platform holds has not been sent; null where it holds nothing."
    )
    release_at: datetime | None = strawberry.field(description="When it will be sent, where that is known.")
    row: strawberry.Private[HostShare]

    @classmethod
    def of(cls, share: HostShare) -> PaymentSplit:
        """From what the services say."""
        its = share.allocation
        return cls(
            amount=Money.of(its.amount),
            transferred=share.transferred,
            transferred_amount=Money.of(Amount(its.transferred_minor, its.currency)),
            reversed_amount=Money.of(Amount(share.taken_minor, its.currency)),
            owed_amount=Money.of(its.owed),
            held=share.held,
            release_at=share.release_at,
            row=share,
        )

    @field
    async def host(self, info: Info) -> User:
        """Whose part it is."""
        return User.of(await info.context.loaders.users.load(self.row.allocation.host_id))
