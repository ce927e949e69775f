"""Children of the benchmark, and what they have cost so far, from `/proc`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[1]
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_S = 30


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    tree = [pid]
    for member in tree:
        tree += parents.get(member, [])
    return tree


def cpu_s(pid: int) -> float:
    """CPU seconds of a process tree, with those of its children that have ended."""
    total = 0
    for member in tree_of(pid):
        try:
            total += sum(int(ticks) for ticks in _stat(member)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * TICK_S


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


class Child:
    """A process that says `ready URL` when it is."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url, self.pid = process, url, process.pid


@asynccontextmanager
async def child(*command: str, root: Path = ROOT, **environment: str) -> AsyncIterator[Child]:
    """Run a Python program of the project until the context ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=root, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            while not (line := (await process.stdout.readline()).decode()).startswith("ready "):
                if not line:
                    raise RuntimeError(f"{' '.join(command)} did not start")
        draining = asyncio.create_task(process.stdout.read())
        yield Child(process, line.split()[1])
        process.terminate()
        await process.wait()
        await draining
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Driver:
    """A client process that is warm and waits for the word."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def result(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        result: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return result


@asynccontextmanager
async def driver(module: str, spec: dict[str, Any]) -> AsyncIterator[Driver]:
    """A client process, connected and warmed up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        async with asyncio.timeout(START_S):
            if await process.stdout.readline() != b"warm\n":
                raise RuntimeError(f"{module} did not start")
        yield Driver(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
