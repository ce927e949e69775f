"""The ledger as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from schema.context import Info
from schema.described import field, object_type
from schema.ledger import LedgerBalance
from services.balances.reading import balances_at


@object_type
class LedgerQueries:
    """Queries about where all the money is."""

    @field
    async def balances(
        self,
        info: Info,
        as_of: Annotated[
            datetime | None, strawberry.argument(description="The time, by Stripe's clock; now where it is left out.")
        ] = None,
    ) -> list[LedgerBalance]:
        """What the accounts of the ledger held at a time. For the role admin."""
        balances = await balances_at(
            info.context.services, viewer=info.context.require_viewer(), as_of=as_of
        )
        return [LedgerBalance.of(balance) for balance in balances]
