"""Who did what, and what it changed: append only, and sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tortoise import fields

from models.base import Identified
from models.merkle import HASH_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID_LENGTH: Final = 16
_SEALED_LENGTH: Final = _ID_LENGTH + HASH_LENGTH


class AuditEntry(Identified):
    """One recorded act; `created_at` is when, `actor` a caller ("user:alice"), Stripe's event or a job.

    The table has one column more, which the database fills in by itself and only sealing reads: `position`, made of
    the writing transaction's id. (position, id) is the order of the audit trail.
    """

    actor = fields.CharField(max_length=300)
    action = fields.CharField(max_length=64)
    subject_type = fields.CharField(max_length=32)
    subject_id: UUID = fields.UUIDField()
    before: dict[str, Any] | None = fields.JSONField(null=True)
    after: dict[str, Any] | None = fields.JSONField(null=True)

    class Meta:
        table = "audit_entries"


class AuditSeal(Identified):
    """A run of audit entries that can no longer change unseen, nor lose one, nor gain one; `created_at` is when.

    `number` counts from 1 without gaps. `root` is the Merkle root over the entries' hashes, `previous_hash` the `hash`
    of the seal before, zeros for the first. `leaves` says what was sealed: the id and the hash of each entry, in order.
    """

    number: int = fields.BigIntField()
    first_position: int = fields.BigIntField()
    first_id: UUID = fields.UUIDField()
    last_position: int = fields.BigIntField()
    last_id: UUID = fields.UUIDField()
    count = fields.IntField()
    root: bytes = fields.BinaryField()
    previous_hash: bytes = fields.BinaryField()
    hash: bytes = fields.BinaryField()
    leaves: bytes = fields.BinaryField()

    class Meta:
        table = "audit_seals"


def pack_leaves(sealed: Sequence[tuple[UUID, bytes]]) -> bytes:
    """Ids and hashes of entries as a seal keeps them."""
    return b"".join(id_.bytes + hash_ for id_, hash_ in sealed)


def unpack_leaves(leaves: bytes) -> list[tuple[UUID, bytes]]:
    """Ids and hashes of the entries that a seal keeps."""
    return [
        (UUID(bytes=leaves[at : at + _ID_LENGTH]), leaves[at + _ID_LENGTH : at + _SEALED_LENGTH])
        for at in range(0, len(leaves) - _SEALED_LENGTH + 1, _SEALED_LENGTH)
    ]
