"""What all rows share: ids that carry their time, and a way from a database record to an instance."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from tortoise import fields
from tortoise.models import Model
from uuid_utils.compat import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

Row = TypeVar("Row", bound=Model)


def new_id() -> UUID:
    """A UUIDv7: unique without asking the database, and in the order of creation."""
    return uuid7()


def first_id_at(instant: datetime) -> UUID:
    """The least id that `new_id` can have made at this time or later."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def new_row(model: type[Row], **values: Any) -> Row:
    """A new instance, for hand-written SQL to write: `model(**values)` at a tenth of the cost, with values as they are.

    Raises: TypeError for a name that is no column's.
    """
    blank, made = _blank(model)
    row = model.__new__(model)
    state = vars(row)
    state.update(blank)
    state.update(values)
    if len(state) > len(blank):
        raise TypeError(f"{model.__name__} has no {', '.join(values.keys() - blank.keys())}")
    for name, make in made:
        if name not in values:
            state[name] = make()
    return row


@cache
def _blank(model: type[Model]) -> tuple[dict[str, Any], tuple[tuple[str, Callable[[], Any]], ...]]:
    """What a new instance holds, as the ORM makes it, and what is made anew for each."""
    blank: dict[str, Any] = {"_partial": False, "_saved_in_db": False, "_custom_generated_pk": False}
    made: list[tuple[str, Callable[[], Any]]] = [("_await_when_save", dict)]
    for name in model._meta.fields_db_projection:
        default = model._meta.fields_map[name].default
        if callable(default):
            made.append((name, default))
        else:
            blank[name] = default
    return blank | {name: None for name, _ in made}, tuple(made)


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
