"""Global ids: base64 of "Type:uuid". What is malformed, or of another type, is the same as what does not exist."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from uuid import UUID

import strawberry

from services.errors import NotFound


@dataclass(frozen=True, slots=True)
class GlobalId:
    """What a global id says."""

    type_name: str
    id: UUID


def global_id(type_name: str, id_: UUID) -> strawberry.ID:
    """The id by which clients know a thing, whatever its type."""
    return strawberry.ID(b64encode(f"{type_name}:{id_}".encode()).decode())


def parse_id(text: str) -> GlobalId | None:
    """What a global id says; None for anything that `global_id` did not make."""
    try:
        type_name, _, id_text = b64decode(text, validate=True).decode("ascii").partition(":")
        id_ = UUID(id_text)
    except (binascii.Error, ValueError):
        return None
    # One thing has one id: other spellings of the same UUID are none.
    return GlobalId(type_name, id_) if global_id(type_name, id_) == text else None


def id_of(type_name: str, text: str) -> UUID | None:
    """The UUID in a global id of this type; None for any other text."""
    parsed = parse_id(text)
    return parsed.id if parsed is not None and parsed.type_name == type_name else None


def require_id(type_name: str, text: str, path: list[str]) -> UUID:
    """The UUID in a global id of this type.

    Raises: NotFound for any other text, as for an id that does not exist.
    """
    id_ = id_of(type_name, text)
    if id_ is None:
        raise NotFound(path=path)
    return id_
