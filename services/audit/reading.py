"""Reading the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.audit import AuditEntry
from models.base import from_record
from services.viewer import Role

if TYPE_CHECKING:
    from uuid import UUID

    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer


async def list_audit_entries(
    services: Services, *, viewer: Viewer, subject_id: UUID | None, page: PageRequest
) -> Page[AuditEntry]:
    """A page of the audit trail, or of one subject's part of it, newest first; for admins.

    Raises: Forbidden.
    """
    viewer.require(Role.ADMIN)
    subject, values = ("true", []) if subject_id is None else ("e.subject_id = $1", [subject_id])
    keys, cursors = page.conditions("e.id", len(values) + 1)
    sql = f"SELECT e.* FROM audit_entries e WHERE {subject}{keys}{page.order('e.id')}"
    records = await services.database.pool.fetch(sql, *values, *cursors)
    return page.page([from_record(AuditEntry, record) for record in records])
