"""Reconciliation: Stripe's books beside ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import strawberry

from models.money import Money as Amount
from models.reconciliations import Drift as DriftRow
from models.reconciliations import ReconciliationRun as ReconciliationRunRow
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import DriftKind, DriftRepair
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money
from schema.nodes import Node
from schema.pages import After, Connection, First, page_request
from services.reconciliation.runs import Progress

if TYPE_CHECKING:
    from typing import Self


@object_type
class Drift(Node):
    """One way in which Stripe's books and ours differ. Visible to admins."""

    kind: DriftKind = strawberry.field(description="How they differ.")
    object_type: str = strawberry.field(description="What Stripe calls such a thing: charge, refund, payout …")
    stripe_id: str = strawberry.field(description="Stripe's id of it.")
    stripe_account: str | None = strawberry.field(
        description="The connected account that it is on; null for the platform's own."
    )
    here: Money | None = strawberry.field(description="What it amounts to here; null where it is missing.")
    at_stripe: Money | None = strawberry.field(description="What it amounts to at Stripe; null where it is missing.")
    detail: str = strawberry.field(description="What differs, and what the repair would do, in words.")
    repair: DriftRepair | None = strawberry.field(
        description="What `repairDrift` would do; null where a person has to look."
    )
    resolution: str | None = strawberry.field(description="What became of it; null until it was repaired.")
    repaired_at: datetime | None = strawberry.field(description="When it was repaired, or had vanished.")
    repaired_by: str | None = strawberry.field(description="Who had it repaired: `admin:anna` …")

    @classmethod
    def of(cls, row: DriftRow) -> Drift:
        """From its row."""
        return cls(
            id=global_id("Drift", row.id),
            kind=row.kind,
            object_type=row.object_type,
            stripe_id=row.stripe_id,
            stripe_account=row.stripe_account or None,
            here=_money(row.here_minor, row.here_currency),
            at_stripe=_money(row.at_stripe_minor, row.at_stripe_currency),
            detail=row.detail,
            repair=row.repair,
            resolution=row.resolution,
            repaired_at=row.repaired_at,
            repaired_by=row.repaired_by,
        )


@object_type
class DriftConnection(Connection[Drift]):
    """A page of drifts, the newest first."""


@object_type
class ReconciliationProgress:
    """How far a run is.

    It takes the platform first, then each host's account: in each one kind after another, the newest of it first.
    """

    accounts: int = strawberry.field(description="How many accounts there are, the platform's own among them.")
    accounts_done: int = strawberry.field(description="How many of them are done.")
    account: str | None = strawberry.field(description="The connected account that is compared; null: the platform's.")
    object_type: str | None = strawberry.field(description="What is compared there; null before it began.")
    left_until: datetime | None = strawberry.field(
        description="What was made before then is still to be compared; null where that kind has not begun."
    )


@object_type
class ReconciliationRun(Node):
    """One comparison of all that was made in a period, at Stripe and here. Visible to admins."""

    from_: datetime = strawberry.field(name="from", description="Where the period begins.")
    to: datetime = strawberry.field(description="Where it ends, exclusive.")
    requested_by: str = strawberry.field(description="Who asked for it: `admin:anna`, or a job.")
    started_at: datetime = strawberry.field(description="When it was asked for.")
    finished_at: datetime | None = strawberry.field(description="When it was done; null while it is under way.")
    row: strawberry.Private[ReconciliationRunRow]

    @classmethod
    def of(cls, row: ReconciliationRunRow) -> Self:
        """From its row."""
        return cls(
            id=global_id("ReconciliationRun", row.id),
            from_=row.from_at,
            to=row.to_at,
            requested_by=row.requested_by,
            started_at=row.created_at,
            finished_at=row.finished_at,
            row=row,
        )

    @field
    def checked(self) -> int:
        """How many objects were compared so far."""
        return self.row.checked

    @field
    def matched(self) -> int:
        """How many of them agree."""
        return self.row.matched

    @field
    def progress(self) -> ReconciliationProgress:
        """How far it is."""
        at = Progress.of(self.row)
        return ReconciliationProgress(
            accounts=at.accounts,
            accounts_done=at.accounts_done,
            account=at.account or None,
            object_type=at.kind or None,
            left_until=None if at.until is None else datetime.fromtimestamp(at.until, UTC),
        )

    @field
    async def drifts(self, info: Info, first: First = None, after: After = None) -> DriftConnection:
        """What differs, the newest first."""
        page = await info.context.loaders.drifts.load((self.row.id, page_request(first=first, after=after)))
        return DriftConnection.of(page, Drift.of)


@object_type
class ReconciliationRunConnection(Connection[ReconciliationRun]):
    """A page of runs, the newest first."""


@input_type
class StartReconciliationInput:
    """Which period to compare."""

    from_: datetime = strawberry.field(name="from", description="Where it begins.")
    to: datetime = strawberry.field(description="Where it ends, exclusive.")


@object_type
class StartReconciliationPayload(Payload):
    """The run that was begun."""

    reconciliation: ReconciliationRun | None = strawberry.field(default=None, description="The run, to be followed.")


@input_type
class RepairDriftInput:
    """Which drift to repair."""

    drift_id: strawberry.ID = strawberry.field(description="The drift.")


@object_type
class RepairDriftPayload(Payload):
    """What became of it."""

    drift: Drift | None = strawberry.field(default=None, description="The drift as it is now: see `resolution`.")


def _money(minor: int | None, currency: str | None) -> Money | None:
    return None if minor is None or currency is None else Money.of(Amount(minor, currency))
