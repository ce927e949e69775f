"""Dunning as it is read: what of it a subscription shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.base import from_record
from models.dunning import Dunning
from services.dunning.declines import CONFIRMATION
from settings import DunningEnd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from services.core import Services
    from settings import Settings

# What is being tried, and what was left unpaid; of several the one that ends first.
_SHOWN: Final = """
SELECT DISTINCT ON (d.subscription_id) d.* FROM dunnings d JOIN subscriptions s ON s.id = d.subscription_id
WHERE d.subscription_id = ANY($1) AND s.status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED')
    AND (d.status = 'TRYING' OR (d.status = 'EXHAUSTED' AND d.ended_as = 'unpaid'))
ORDER BY d.subscription_id, d.status DESC, d.ends_at, d.id
"""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is done about an invoice that failed; what only Stripe knows is None."""

    invoice_id: UUID
    attempt: int
    attempts_left: int | None
    next_attempt_at: datetime | None
    ends_at: datetime | None
    ends_as: DunningEnd | None
    message: str
    needs_new_method: bool
    needs_confirmation: bool

    @classmethod
    def of(cls, dunning: Dunning, settings: Settings) -> Recovery:
        """From its row."""
        left = max(0, len(settings.dunning_days) - dunning.retries)
        confirmed = not dunning.retryable and dunning.failure_code == CONFIRMATION
        ends_as = settings.dunning_end if dunning.ended_as is None else DunningEnd(dunning.ended_as)
        return cls(
            invoice_id=dunning.invoice_id,
            attempt=dunning.retries + 1,
            attempts_left=None if dunning.by_stripe else left,
            next_attempt_at=dunning.next_attempt_at,
            ends_at=dunning.ends_at,
            ends_as=None if dunning.by_stripe else ends_as,
            message=dunning.message,
            needs_new_method=not dunning.retryable and not confirmed,
            needs_confirmation=confirmed,
        )


async def recoveries(services: Services, subscription_ids: Sequence[UUID]) -> dict[UUID, Recovery]:
    """What each of these subscriptions shows, by its id; most show nothing."""
    records = await services.database.pool.fetch(_SHOWN, list(subscription_ids))
    dunnings = (from_record(Dunning, record) for record in records)
    return {dunning.subscription_id: Recovery.of(dunning, services.settings) for dunning in dunnings}
