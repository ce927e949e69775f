"""The audit trail."""

from __future__ import annotations

from typing import Annotated

import strawberry

from schema.audit import AuditEntry, AuditEntryConnection
from schema.context import Info
from schema.described import field, object_type
from schema.ids import parse_id
from schema.pages import After, Before, First, Last, page_request
from services.audit.reading import list_audit_entries
from services.pages import Page


@object_type
class AuditQueries:
    """Queries about what was done."""

    @field
    async def audit_log(
        self,
        info: Info,
        subject: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only what was done to the thing of this id.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> AuditEntryConnection:
        """Everything that was done, newest first. For the role admin."""
        parsed = parse_id(subject) if subject is not None else None
        page = await list_audit_entries(
            info.context.services,
            viewer=info.context.require_viewer(),
            subject_id=None if parsed is None else parsed.id,
            page=page_request(first=first, after=after, last=last, before=before),
        )
        if subject is not None and parsed is None:
            page = Page([], has_next=False, has_previous=False)
        return AuditEntryConnection.of(page, AuditEntry.of)
