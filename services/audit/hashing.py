"""What is hashed of entries and seals, byte by byte; docs/audit-trail.md says it to whoever checks it without us.

An entry's hash is the leaf of a Merkle tree: SHA-256 of 0x00 0x01 and its content. A seal's is SHA-256 of 0x02 0x01
and its content. The second byte is the version of the content: JSON in UTF-8 without spaces, its keys sorted by their
code points, its times in UTC with six decimals. Entries hold no fractions, of which there is more than one spelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from models.merkle import HASH_LENGTH, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.audit import AuditEntry

VERSION: Final = b"\x01"
NO_SEAL: Final = bytes(HASH_LENGTH)
"""What stands in the first seal for the hash of the one before."""

ENTRY_COLUMNS: Final = "id, created_at, actor, action, subject_type, subject_id, before::text, after::text"
"""What `record_content` reads of `audit_entries`."""

_SEAL: Final = b"\x02"


def entry_content(entry: AuditEntry) -> bytes:
    """The JSON of all that an entry says."""
    return _content(
        entry.id, entry.created_at, entry.actor, entry.action, entry.subject_type, entry.subject_id, entry.before,
        entry.after,
    )  # fmt: skip


def record_content(record: Mapping[str, Any]) -> bytes:
    """The same, of a record with `ENTRY_COLUMNS`."""
    columns = (
        record["id"], record["created_at"], record["actor"], record["action"], record["subject_type"],
        record["subject_id"],
    )  # fmt: skip
    before, after = record["before"], record["after"]
    try:
        return _content(
            *columns, None if before is None else orjson.loads(before), None if after is None else orjson.loads(after)
        )
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        # PostgreSQL takes numbers and depths that nobody here writes: whoever did has another hash, not our crash.
        return _content(*columns, before, after)


def content_hash(content: bytes) -> bytes:
    """The hash of an entry, from its content."""
    return leaf_hash(VERSION + content)


def entry_hash(entry: AuditEntry) -> str:
    """The hash of an entry, in hexadecimal."""
    return content_hash(entry_content(entry)).hex()


@dataclass(frozen=True, slots=True)
class SealFacts:
    """All that a seal says, and its hash; hashes are bytes."""

    number: int
    previous_hash: bytes
    root: bytes
    count: int
    first_position: int
    first_id: UUID
    last_position: int
    last_id: UUID
    sealed_at: datetime
    hash: bytes

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> SealFacts:
        """From its record; operators' commands have no ORM."""
        return cls(
            record["number"], record["previous_hash"], record["root"], record["count"], record["first_position"],
            record["first_id"], record["last_position"], record["last_id"], record["created_at"], record["hash"],
        )  # fmt: skip

    @classmethod
    def parse(cls, content: bytes, hash_: bytes) -> SealFacts:
        """From its content and its hash.

        Raises: ValueError.
        """
        try:
            said = orjson.loads(content)
            return cls(
                said["number"], bytes.fromhex(said["previous"]), bytes.fromhex(said["root"]), said["count"],
                said["first"]["position"], UUID(said["first"]["id"]), said["last"]["position"],
                UUID(said["last"]["id"]), datetime.fromisoformat(said["sealed_at"]), hash_,
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("this is not what a seal says") from error

    @property
    def content(self) -> bytes:
        """The JSON of all that the seal says but its own hash."""
        content = {
            "count": self.count,
            "first": {"id": str(self.first_id), "position": self.first_position},
            "last": {"id": str(self.last_id), "position": self.last_position},
            "number": self.number,
            "previous": self.previous_hash.hex(),
            "root": self.root.hex(),
            "sealed_at": _written(self.sealed_at),
        }
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def seal_hash(content: bytes) -> bytes:
    """The hash of a seal, from its content."""
    return sha256(_SEAL + VERSION + content).digest()


def _content(
    id_: UUID, created_at: datetime, actor: str, action: str, subject_type: str, subject_id: UUID, before: Any,
    after: Any,
) -> bytes:  # fmt: skip
    content = {
        "action": action,
        "actor": actor,
        "after": after,
        "before": before,
        "created_at": _written(created_at),
        "id": str(id_),
        "subject_id": str(subject_id),
        "subject_type": subject_type,
    }
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"
