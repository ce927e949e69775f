"""`python -m benchmarks.reconciliation`: reconcile a million balance transactions; how long, and with how much memory.

Stripe's lists are made up in this process, so that what is measured is ours: comparing, PostgreSQL and the progress.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from services import embedded
from services.migrations import migrate
from services.reconciliation.runs import begin, reconcile
from services.wiring import open_services
from settings import Settings
from tests.support.generated_books import GeneratedBooks


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _measure(count: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paydesk-bench-")))
        folder.chmod(0o755)  # noqa: ASYNC240 -- nothing else runs yet; PostgreSQL's user has to enter it
        database = await stack.enter_async_context(embedded.postgres(folder / "postgres"))
        redis = await stack.enter_async_context(embedded.valkey(folder / "valkey"))
        await migrate(database)
        settings = Settings(
            _env_file=None, database_url=SecretStr(database), redis_url=SecretStr(redis),
            stripe_secret_key=SecretStr(embedded.SECRET_KEY), stripe_api_base="http://127.0.0.1:9",
        )  # fmt: skip
        services = await stack.enter_async_context(open_services(settings))
        since = int(time.time()) - 30 * 86_400
        books = GeneratedBooks(services.stripe, count=count, since=since)
        async with services.database.pool.acquire() as connection:
            await books.fill(connection)
            await connection.execute("ANALYZE")
        began, before = time.monotonic(), _rss_mb()
        await begin(services, datetime.fromtimestamp(since, UTC), datetime.now(UTC), requested_by="benchmark")
        run = await reconcile(replace(services, stripe=books))
        seconds = time.monotonic() - began
        print(
            f"{run.checked:,} compared, {run.matched:,} agree; {seconds:.0f} s, {count / seconds:,.0f} a second;"
            f" {before:.0f} MB before, {_rss_mb():.0f} MB at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.reconciliation", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="how many balance transactions (1000000)")
    asyncio.run(_measure(parser.parse_args().count))


if __name__ == "__main__":
    main()
