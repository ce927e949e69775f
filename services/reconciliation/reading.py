"""Reading runs of the reconciliation, for admins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.reconciliations import ReconciliationRun
from services.viewer import Role

if TYPE_CHECKING:
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
