"""A process with embedded parts, for tests to kill: `parent.py FOLDER PART…`; prints their URLs as JSON, then waits."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from services.embedded import postgres, sandbox, valkey
from settings import ConfigurationError


async def main(folder: Path, parts: list[str]) -> None:
    async with AsyncExitStack() as stack:
        urls = {}
        if "postgres" in parts:
            urls["postgres"] = await stack.enter_async_context(postgres(folder / "postgres", durable=False))
        if "valkey" in parts:
            urls["valkey"] = await stack.enter_async_context(valkey(folder / "valkey"))
        if "sandbox" in parts:
            urls["sandbox"] = await stack.enter_async_context(sandbox(folder / "sandbox"))
        print(json.dumps(urls), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    # Shells start what runs in the background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
    except ConfigurationError as error:
        print(json.dumps({"error": str(error)}), flush=True)
