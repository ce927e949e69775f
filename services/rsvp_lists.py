"""A guest's RSVPs as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.rsvps import Rsvp

if TYPE_CHECKING:
    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer


async def list_own_rsvps(services: Services, *, viewer: Viewer, page: PageRequest) -> Page[Rsvp]:
    """A page of the viewer's own RSVPs, newest first."""
    keys, values = page.conditions("r.id", 2)
    me = "(SELECT id FROM users WHERE external_id = $1)"
    sql = f"SELECT r.* FROM rsvps r WHERE r.user_id = {me}{keys}{page.order('r.id')}"
    records = await services.database.pool.fetch(sql, viewer.external_id, *values)
    return page.page([from_record(Rsvp, record) for record in records])
