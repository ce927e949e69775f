"""PostgreSQL: one pool of plain connections for hand-written SQL, and the ORM on its own beside it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
from tortoise import Tortoise

from models import tortoise_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

DATABASE_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a statement or a connection fails with: the database is away (time-outs are OSErrors), or refuses."""


async def _no_reset(_connection: Any) -> None:
    """Leave a released connection as it is: no session state is kept here, and a reset costs 40 % of a short query."""


def tortoise_connection(url: str, pool_size: int) -> dict[str, Any]:
    """The ORM's engine and credentials for a database's URL."""
    parts = urlsplit(url)
    ssl_mode = parse_qs(parts.query).get("sslmode")
    return {
        "engine": "tortoise.backends.asyncpg",
        "credentials": {
            "host": parts.hostname,
            "port": parts.port or 5432,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.lstrip("/")),
            "minsize": 1,
            "maxsize": pool_size,
            "reset": _no_reset,
            **({"ssl": ssl_mode[0]} if ssl_mode else {}),
        },
    }


class Database:
    """The database of one process."""

    def __init__(self, url: str, pool: asyncpg.Pool[Any]) -> None:
        self.url = url
        self.pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, pool_size: int, orm_pool_size: int) -> AsyncIterator[Database]:
        """Connect; on leaving, close every connection.

        Args:
            url: postgresql://user:password@host:port/database
            pool_size: plain connections at most.
            orm_pool_size: connections of the ORM at most.
        """
        config = tortoise_config(tortoise_connection(url, orm_pool_size))
        await Tortoise.init(config=config, _enable_global_fallback=True)
        try:
            async with asyncpg.create_pool(url, min_size=1, max_size=pool_size, reset=_no_reset) as pool:
                yield cls(url, pool)
        finally:
            await Tortoise.close_connections()

    async def connect(self) -> asyncpg.Connection[Any]:
        """A connection of its own, outside the pool, for statements that find rows by their keys; the caller closes it.

        They are planned once. A plan made while a table was small has to be good when it has grown: it uses indexes.
        """
        plans = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
        return await asyncpg.connect(self.url, server_settings=plans)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy[Any]]:
        """A transaction on a pooled connection. Nothing outside the database may be called while it is open."""
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection
