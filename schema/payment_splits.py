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
    reversed_amount: Money = strawberry.field(
        description="What was taken back of it for refunds and lost disputes, whether it had been sent or not."
    )
    row: strawberry.Private[HostShare]

    @classmethod
    def of(cls, share: HostShare) -> PaymentSplit:
        """From what the services say."""
        its = share.allocation
        return cls(
            amount=Money.of(its.amount),
            transferred=share.transferred,
            reversed_amount=Money.of(Amount(share.taken_minor, its.currency)),
            row=share,
        )

    @field
    async def host(self, info: Info) -> User:
        """Whose part it is."""
        return User.of(await info.context.loaders.users.load(self.row.allocation.host_id))

    @field
    async def transferred_amount(self, info: Info) -> Money | None:
        """What was sent to the host's account, or paid on it; null for others than that host and the platform."""
        its = self.row.allocation
        return Money.of(Amount(its.transferred_minor, its.currency)) if await self._is_theirs(info) else None

    @field
    async def owed_amount(self, info: Info) -> Money | None:
        """What the platform holds for the host; below zero what the host owes the platform; null for others."""
        return Money.of(self.row.allocation.owed) if await self._is_theirs(info) else None

    @field
    async def held(self, info: Info) -> TransferHold | None:
        """Why what the platform holds has not been sent; null where it holds nothing, and for others."""
        return self.row.held if await self._is_theirs(info) else None

    @field
    async def release_at(self, info: Info) -> datetime | None:
        """When it will be sent, where that is known; null for others."""
        return self.row.release_at if await self._is_theirs(info) else None

    async def _is_theirs(self, info: Info) -> bool:
        """Whether the viewer is the platform, or the host whose part it is: what a host owes is no guest's business."""
        viewer = info.context.require_viewer()
        if viewer.sees_everything:
            return True
        host = await info.context.loaders.users.load(self.row.allocation.host_id)
        return host.external_id == viewer.external_id
