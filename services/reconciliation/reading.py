"""Reading runs of the reconciliation and what they found, for admins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.reconciliations import Drift, ReconciliationRun
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer


async def list_runs(services: Services, *, viewer: Viewer, page: PageRequest) -> Page[ReconciliationRun]:
    """The runs, the newest first. Admins only.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    keys, cursors = page.conditions("r.id", 1)
    sql = f"SELECT r.* FROM reconciliation_runs r WHERE true{keys}{page.order('r.id')}"
    records = await services.database.pool.fetch(sql, *cursors)
    return page.page([from_record(ReconciliationRun, record) for record in records])


async def list_drifts(services: Services, *, viewer: Viewer, run_id: UUID, page: PageRequest) -> Page[Drift]:
    """What a run found, the newest first. Admins only.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    keys, cursors = page.conditions("d.id", 2)
    sql = f"SELECT d.* FROM drifts d WHERE d.run_id = $1{keys}{page.order('d.id')}"
    records = await services.database.pool.fetch(sql, run_id, *cursors)
    return page.page([from_record(Drift, record) for record in records])
