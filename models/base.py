"""What all rows share: ids that carry their time, and a way from a database record to an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from tortoise import fields
from tortoise.models import Model
from uuid_utils.compat import uuid7

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = TypeVar("Row", bound=Model)


def new_id() -> UUID:
    """A UUIDv7: unique without asking the database, and in the order of creation."""
    return uuid7()


def from_record(model: type[Row], record: Mapping[str, Any]) -> Row:
    """An instance from a record of hand-written SQL that selected the model's columns, as the ORM itself makes one."""
    return model._init_from_db(**record)


class Identified(Model):
    """A row with a UUIDv7 and the time it was written."""

    id: UUID = fields.UUIDField(primary_key=True, default=new_id)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Changing(Identified):
    """A row that changes, and says when it last did."""

    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        abstract = True
