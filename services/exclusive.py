"""Work that only one process does at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.database import Database


@asynccontextmanager
async def exclusively(database: Database, name: str) -> AsyncIterator[bool]:
    """Whether this process is the one; if so, no other is until the end of the block.

    The lock belongs to a connection of its own, so that PostgreSQL lets it go where the process dies.
    """
    connection = await database.connect()
    try:
        yield await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name)
    finally:
        await connection.close()
