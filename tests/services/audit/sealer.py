"""A process that seals an audit trail, in its own time, until it is killed: the database's URL is its argument."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import asyncpg

from services.audit.sealing import seal_next
from services.database import Database
from services.exclusive import exclusively


async def main(url: str) -> None:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        exclusively(Database(url, pool), "paydesk:seal_audit") as mine,
        pool.acquire() as connection,
    ):
        print("mine" if mine else "not mine", flush=True)
        while mine and (seal := await seal_next(connection, lambda: datetime.now(UTC), batch=8)):
            print(seal.number, flush=True)


asyncio.run(main(sys.argv[1]))
