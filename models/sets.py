"""Writing rows set-wise: one statement for however many rows, made once per model from its own columns."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from tortoise import fields

from models.base import from_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asyncpg import Connection, Pool
    from asyncpg.pool import PoolConnectionProxy
    from tortoise.models import Model

    AnyConnection = Connection[Any] | PoolConnectionProxy[Any]

Row = TypeVar("Row", bound="Model")


def _as_json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _column(model: type[Model], name: str) -> tuple[str, str, Callable[[Any], Any] | None]:
    """A column's name in the database, its type there, and how a value is written where asyncpg needs help."""
    field = model._meta.fields_map[name]
    column = model._meta.fields_db_projection[name]
    sql_type: str = field.get_for_dialect("postgres", "SQL_TYPE")
    if isinstance(field, fields.JSONField):
        return column, "jsonb", _as_json
    return column, "text" if sql_type.startswith("VARCHAR") else sql_type, None


@cache
def _columns(model: type[Model], names: tuple[str, ...]) -> tuple[tuple[str, str, Callable[[Any], Any] | None], ...]:
    return tuple(_column(model, name) for name in names)


@cache
def _names(model: type[Model]) -> tuple[str, ...]:
    return tuple(name for name in model._meta.fields_db_projection if name not in {"created_at", "updated_at"})


@cache
def _insert_sql(model: type[Model], names: tuple[str, ...], conflict: str) -> str:
    columns = _columns(model, names)
    listed = ", ".join(f'"{column}"' for column, _, _ in columns)
    arrays = ", ".join(f"${i}::{sql_type}[]" for i, (_, sql_type, _) in enumerate(columns, 1))
    return f'INSERT INTO "{model._meta.db_table}" ({listed}) SELECT * FROM unnest({arrays}) {conflict}'


@cache
def _update_sql(model: type[Model], names: tuple[str, ...]) -> str:
    columns = _columns(model, ("id", *names))
    assignments = ", ".join(f'"{column}" = v."{column}"' for column, _, _ in columns[1:])
    listed = ", ".join(f'"{column}"' for column, _, _ in columns)
    arrays = ", ".join(f"${i}::{sql_type}[]" for i, (_, sql_type, _) in enumerate(columns, 1))
    stamp = ", updated_at = now()" if "updated_at" in model._meta.fields_map else ""
    return (
        f'UPDATE "{model._meta.db_table}" t SET {assignments}{stamp}'
        f" FROM unnest({arrays}) AS v({listed}) WHERE t.id = v.id"
    )


def _arrays(model: type[Model], names: tuple[str, ...], rows: Sequence[Model]) -> list[list[Any]]:
    arrays = []
    for name, (_, _, write) in zip(names, _columns(model, names), strict=True):
        values = [getattr(row, name) for row in rows]
        arrays.append([write(value) for value in values] if write else values)
    return arrays


async def insert_rows(
    connection: AnyConnection | Pool[Any], model: type[Model], rows: Sequence[Model], *, conflict: str = ""
) -> list[Any]:
    """Insert the rows in one statement; `conflict` is what follows (ON CONFLICT …, RETURNING …), and its records.

    `created_at` and `updated_at` are the database's `now()`.
    """
    if not rows:
        return []
    names = _names(model)
    return await connection.fetch(_insert_sql(model, names, conflict), *_arrays(model, names, rows))


async def update_rows(
    connection: AnyConnection, model: type[Model], rows: Sequence[Model], names: tuple[str, ...]
) -> None:
    """Write these columns of the rows, found by id, in one statement."""
    if rows:
        await connection.execute(_update_sql(model, names), *_arrays(model, ("id", *names), rows))


class Writes:
    """Rows of several tables, written in one statement: one round trip, however many tables there are.

    No row may be written twice. Foreign keys and triggers see the whole of it.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._values: list[Any] = []

    def insert(self, model: type[Model], rows: Sequence[Model], *, conflict: str = "") -> None:
        """Insert rows as `insert_rows` does; what `conflict` returns is known as `inserted_` and the table's name."""
        if rows:
            names = _names(model)
            sql = _insert_sql(model, names, conflict)
            self.add(f"inserted_{model._meta.db_table}", sql, *_arrays(model, names, rows))

    def update(self, model: type[Model], rows: Sequence[Model], names: tuple[str, ...]) -> None:
        """Write these columns of the rows, found by id."""
        if rows:
            sql = _update_sql(model, names)
            self.add(f"updated_{model._meta.db_table}", sql, *_arrays(model, ("id", *names), rows))

    def add(self, name: str, sql: str, *values: Any) -> None:
        """A hand-written part, whose parameters count from $1; others may read what it returns under its name."""
        self._parts.append(f"{name} AS ({_numbered(sql, len(self._values))})")
        self._values += values

    async def run(self, connection: AnyConnection, select: str = "SELECT") -> list[Any]:
        """Write them all; the records of `select`, which may read what the parts return."""
        if not self._parts:
            return []
        return await connection.fetch(f"WITH {', '.join(self._parts)} {select}", *self._values)


@lru_cache(maxsize=512)
def _numbered(sql: str, before: int) -> str:
    """A part's SQL with its parameters counted on from those before it."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + before}", sql) if before else sql


@cache
def joined_columns(model: type[Model], alias: str) -> str:
    """A model's columns in a hand-written join, each under a name that begins with the table's alias."""
    return ", ".join(f'{alias}."{column}" AS {alias}_{column}' for column in model._meta.fields_db_projection.values())


def from_joined(model: type[Row], record: Mapping[str, Any], alias: str) -> Row | None:
    """The instance among a record's `joined_columns`; None where an outer join found none."""
    if record[f"{alias}_id"] is None:
        return None
    columns = model._meta.fields_db_projection.values()
    return from_record(model, {column: record[f"{alias}_{column}"] for column in columns})
