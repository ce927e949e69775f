"""The changes of a payment or subscription as a list: the same rows, with the same cursors, as its live updates."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from services.event_stream import LISTED_COLUMNS, LiveChange, StreamKey, change_of, parse_cursor
from services.pages import Page, PageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from models.events import EventSubject
    from services.core import Services

_PAGES = f"""
SELECT {LISTED_COLUMNS} FROM unnest($1::uuid[]) AS s(id) CROSS JOIN LATERAL (
    SELECT * FROM events WHERE subject_id = s.id AND subject_type = $2
        AND (position, version, subject_id) > ($3::bigint, $4::int, $5::uuid)
    ORDER BY version LIMIT $6
) e ORDER BY e.subject_id, e.version
"""


async def histories(
    services: Services, subject: EventSubject, ids: Sequence[UUID], *, first: int | None, after: str | None
) -> Mapping[UUID, Page[LiveChange]]:
    """Changes by whose they are, the oldest first, the creation included; `after` is a cursor of these or of live
    updates.

    A cursor is given as soon as its change is committed. In the live updates of this subject it is as good as theirs;
    in those of many subjects, changes of others that were committing just then may stand before it.

    Raises: InvalidInput; StaleCursor.
    """
    limit = PageRequest.of(first=first).limit
    epoch: int = await services.database.pool.fetchval("SELECT max(epoch) FROM stream_epochs")
    start = StreamKey.before(0) if after is None else parse_cursor(after, epoch)
    records = await services.database.pool.fetch(_PAGES, list(ids), subject.value, *start, limit + 1)
    found: defaultdict[UUID, list[Any]] = defaultdict(list)
    for record in records:
        found[record["subject_id"]].append(record)
    return {
        id_: Page(
            [change_of(record, epoch) for record in found[id_][:limit]],
            has_next=len(found[id_]) > limit,
            has_previous=after is not None,
        )
        for id_ in ids
    }
