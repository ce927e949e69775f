"""Loaders of rows by their columns: what those of every request are made of."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from aiodataloader import DataLoader

from models.base import from_record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterable
    from uuid import UUID

    from tortoise.models import Model

    from services.core import Services
    from services.pages import Page, PageRequest

Row = TypeVar("Row", bound="Model")
Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")
Pages: TypeAlias = "DataLoader[tuple[UUID, PageRequest], Page[Row]]"
"""By the id of what rows point at, and the page of them that is wanted."""


def loader_of(load: Callable[[list[Key]], Coroutine[Any, Any, list[Value]]]) -> DataLoader[Key, Value]:
    """A loader that asks for all keys of a moment at once."""
    return DataLoader(load)


def _by_column(rows: Iterable[Any], column: str) -> dict[UUID, list[Any]]:
    """Rows by what they point at."""
    groups: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, column)].append(row)
    return groups


class RowLoaders:
    """Makes loaders of rows."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def _fetch(self, sql: str, *parameters: Any) -> list[Any]:
        return await self._services.database.pool.fetch(sql, *parameters)

    def _rows(self, model: type[Row], column: str = "id", condition: str = "") -> DataLoader[Any, Row | None]:
        sql = f'SELECT * FROM "{model._meta.db_table}" WHERE {column} = ANY($1) {condition}'

        async def load(keys: list[Any]) -> list[Row | None]:
            rows = {record[column]: from_record(model, record) for record in await self._fetch(sql, keys)}
            return [rows.get(key) for key in keys]

        return loader_of(load)

    def _required(self, model: type[Row]) -> DataLoader[UUID, Row]:
        sql = f'SELECT * FROM "{model._meta.db_table}" WHERE id = ANY($1)'

        async def load(ids: list[UUID]) -> list[Row]:
            rows = {record["id"]: from_record(model, record) for record in await self._fetch(sql, ids)}
            return [rows[id_] for id_ in ids]

        return loader_of(load)

    def _several(self, model: type[Row], column: str, *, order: str) -> DataLoader[UUID, list[Row]]:
        """All rows that point at something by a column."""
        sql = f'SELECT * FROM "{model._meta.db_table}" WHERE {column} = ANY($1) ORDER BY {order}'

        async def load(ids: list[UUID]) -> list[list[Row]]:
            grouped = _by_column((from_record(model, record) for record in await self._fetch(sql, ids)), column)
            return [grouped[id_] for id_ in ids]

        return loader_of(load)

    def _paged(self, model: type[Row], column: str, condition: str = "") -> Pages[Row]:
        """Pages of rows that point at something by a column, newest first.

        There is one statement for each different page that is asked for, which is one in a list.
        """

        async def load(wanted: list[tuple[UUID, PageRequest]]) -> list[Page[Row]]:
            found: dict[tuple[UUID, PageRequest], Page[Row]] = {}
            for request in dict.fromkeys(request for _, request in wanted):
                ids = [id_ for id_, other in wanted if other == request]
                keys, values = request.conditions("r.id", 2)
                records = await self._fetch(
                    f"""
                    SELECT page.* FROM unnest($1::uuid[]) AS wanted(id) CROSS JOIN LATERAL (
                        SELECT r.* FROM "{model._meta.db_table}" r
                        WHERE r.{column} = wanted.id {condition}{keys}{request.order("r.id")}
                    ) page
                    """,
                    ids,
                    *values,
                )
                grouped = _by_column((from_record(model, record) for record in records), column)
                found |= {(id_, request): request.page(grouped[id_]) for id_ in ids}
            return [found[key] for key in wanted]

        return loader_of(load)
