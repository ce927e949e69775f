"""Reconciliation, for admins."""

from __future__ import annotations

from typing import Annotated

import strawberry

from models.reconciliations import ReconciliationRun as ReconciliationRunRow
from resolvers.arguments import Id, input_path
from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.ids import id_of, require_id
from schema.pages import After, First, page_request
from schema.reconciliation import (
    Drift,
    ReconciliationRun,
    ReconciliationRunConnection,
    RepairDriftInput,
    RepairDriftPayload,
    StartReconciliationInput,
    StartReconciliationPayload,
)
from services.reconciliation.reading import list_runs
from services.reconciliation.repairing import repair_drift
from services.reconciliation.runs import start_reconciliation


@object_type
class ReconciliationQueries:
    """Queries about the reconciliation."""

    @field
    async def reconciliation(self, info: Info, id: Id) -> ReconciliationRun | None:
        """One run, with its progress and what it found. For the role admin."""
        info.context.require_viewer()
        run_id = id_of("ReconciliationRun", id)
        row = None if run_id is None else await info.context.loaders.visible(ReconciliationRunRow).load(run_id)
        return None if row is None else ReconciliationRun.of(row)

    @field
    async def reconciliations(
        self, info: Info, first: First = None, after: After = None
    ) -> ReconciliationRunConnection:
        """All runs, the newest first. For the role admin."""
        page = await list_runs(
            info.context.services, viewer=info.context.require_viewer(), page=page_request(first=first, after=after)
        )
        return ReconciliationRunConnection.of(page, ReconciliationRun.of)


@object_type
class ReconciliationMutations:
    """What admins do about the reconciliation."""

    @mutation
    @payload(StartReconciliationPayload)
    async def start_reconciliation(
        self,
        info: Info,
        input: Annotated[StartReconciliationInput, strawberry.argument(description="Which period.")],
    ) -> StartReconciliationPayload:
        """Compare all that was made in a period at Stripe with what is here. For the role admin.

        It runs in the background; asked again for the same period while it does, the same run is answered.
        """
        row = await start_reconciliation(
            info.context.services, viewer=info.context.require_viewer(), from_at=input.from_, to_at=input.to
        )
        return StartReconciliationPayload(reconciliation=ReconciliationRun.of(row))

    @mutation
    @payload(RepairDriftPayload)
    async def repair_drift(
        self, info: Info, input: Annotated[RepairDriftInput, strawberry.argument(description="Which drift.")]
    ) -> RepairDriftPayload:
        """Put right what differs, where that is safe. For the role admin.

        It does what the drift's `detail` says, and never rewrites the ledger. A drift that has vanished says so.
        """
        row = await repair_drift(
            info.context.services,
            viewer=info.context.require_viewer(),
            drift_id=require_id("Drift", input.drift_id, input_path("driftId")),
        )
        return RepairDriftPayload(drift=Drift.of(row))
