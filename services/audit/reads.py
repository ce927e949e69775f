"""What administrators read of other people, recorded before the answer leaves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from models.audit import AuditEntry
from models.base import new_id, new_row
from models.sets import insert_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

ACTION: Final = "admin.read"
IDS_MAX: Final = 100
"""Ids of one type that an entry names; it counts them all."""
ARGUMENTS_MAX: Final = 2_000
"""Characters of a field's arguments, as JSON, that are kept as they are."""
_ITSELF: Final = "READ"


@dataclass(frozen=True, slots=True)
class Read:
    """One answer to an administrator."""

    operation: str
    """query, mutation or subscription."""
    name: str | None
    fields: Sequence[tuple[str, Mapping[str, Any]]]
    """What was asked for at the top: each field with its arguments."""
    seen: Mapping[str, Collection[UUID]]
    """The ids of what was shown, by type."""
    subject: tuple[str, UUID] | None
    """The one thing that was asked for, where it was one: its subject type and its id."""


class StoreEntries:
    """Writes the entries of a batch in one statement."""

    async def __call__(self, connection: AnyConnection, items: Sequence[AuditEntry]) -> Sequence[None]:
        """See `Batcher`."""
        await insert_rows(connection, AuditEntry, items)
        return [None] * len(items)


async def record_read(services: Services, viewer: Viewer, read: Read) -> None:
    """Write the entry of an answer; the answer waits for its commit.

    Raises: ConnectionError, OutcomeUnknownError: without the entry there is no answer.
    """
    id_ = new_id()
    subject_type, subject_id = read.subject or (_ITSELF, id_)
    said = {
        "operation": read.operation,
        "name": read.name,
        "fields": [{"field": name, "arguments": _bounded(arguments)} for name, arguments in read.fields],
        "seen": {
            kind: {"count": len(ids), "ids": [str(id_) for id_ in islice(ids, IDS_MAX)]}
            for kind, ids in read.seen.items()
        },
    }
    entry = new_row(
        AuditEntry, id=id_, actor=viewer.caller, action=ACTION, subject_type=subject_type, subject_id=subject_id,
        before=None, after=said,
    )  # fmt: skip
    await services.admin_reads.submit(entry)


def _bounded(arguments: Mapping[str, Any]) -> Any:
    """Arguments as JSON can keep them; of very many the beginning, as text."""
    written = orjson.dumps(_plain(arguments), default=str).decode()
    return orjson.loads(written) if len(written) <= ARGUMENTS_MAX else written[:ARGUMENTS_MAX]


def _plain(value: Any) -> Any:
    """Without what neither JSON nor PostgreSQL's text can hold."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", "")
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
