"""What the platform notes on a dispute: its messages with the guest, and what it knows beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.base import new_id
from models.disputes import Dispute
from models.sets import update_rows
from services.changes import ChangeSet
from services.disputes.history import record_change, snapshot
from services.disputes.reading import lock_dispute
from services.errors import InvalidInput, InvalidState
from services.operations import Intent, claim, finish
from services.text import check_text
from services.viewer import Role

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.core import Services
    from services.viewer import Viewer

ADD_NOTE: Final = "add_dispute_note"
_NOTES_MAX: Final = 100
_TEXT_MAX: Final = 15_000
"""Characters of all notes and their authors together: what is gathered beside them is in the same text."""
_AUTHOR_MAX: Final = 255


async def add_dispute_note(
    services: Services, *, viewer: Viewer, dispute_id: UUID, text: str, author: str, at: datetime | None,
    idempotency_key: str,
) -> Dispute:  # fmt: skip
    """Keep a message or a note for the evidence that is gathered; for service and admin.

    Args:
        author: who wrote it, in words for the bank: "The guest", "Support".
        at: when; now where nothing is said.

    Raises: Forbidden, NotFound, InvalidInput, InvalidState, IdempotencyKeyReused.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    check_text("author", author, length_max=_AUTHOR_MAX)
    if not text.strip() or len(text) > _TEXT_MAX or "\x00" in text:
        raise InvalidInput("text", f"This has 1 to {_TEXT_MAX} characters.")
    arguments = {"dispute_id": str(dispute_id), "text": text, "author": author, "at": at and at.isoformat()}
    intent = Intent(viewer.caller, idempotency_key, ADD_NOTE, arguments)
    async with services.database.transaction() as connection:
        # Nothing is asked of Stripe: the operation begins and ends here.
        claimed = await claim(connection, intent, subject_id=dispute_id, leased_until=services.clock())
        locked = await lock_dispute(connection, viewer, dispute_id)
        dispute = locked.dispute
        if not claimed.new:
            return dispute
        if not dispute.status.takes_evidence:
            raise InvalidState("This dispute takes no evidence any more.", state=dispute.status.value)
        if len(dispute.notes) >= _NOTES_MAX:
            raise InvalidInput("text", f"A dispute has at most {_NOTES_MAX} notes.")
        noted = sum(len(note["author"]) + len(note["text"]) for note in dispute.notes)
        if noted + len(author) + len(text) > _TEXT_MAX:
            raise InvalidInput("text", f"All notes of a dispute have at most {_TEXT_MAX} characters together.")
        before = snapshot(dispute)
        when = (at or services.clock()).isoformat(timespec="seconds")
        dispute.notes = [*dispute.notes, {"id": str(new_id()), "at": when, "author": author, "text": text}]
        changes = ChangeSet(viewer.caller, locked.xid)
        record_change(changes, dispute, locked.payment, "dispute.noted", before)
        await update_rows(connection, Dispute, [dispute], ("notes", "version", "position"))
        await changes.write(connection)
        await finish(connection, [claimed.operation.id])
    services.live.wake()
    return dispute
