"""Programs that run for this process, end with it whatever ends it, and are started again where they crash."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from services.embedded.folders import bounded_log, log_tail
from settings import ConfigurationError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

log = structlog.get_logger("embedded")

LAUNCHER: Final = Path(__file__).with_name("launcher.py")
START_S: Final = 30.0
STOP_S: Final = 20.0
_POLL_S: Final = 0.01
_RESTART_S: Final = 0.2
_RESTARTS: Final = 5
_RESTARTS_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it wants to be stopped.

    Attributes:
        name: as people know it.
        command: the program's path and its arguments.
        log: where its output goes.
        stop: the signal that ends it in order.
        identity, folder: see launcher.py.
        environment: what is added to this process's own.
        inherited: descriptors that it and its children hold while they live.
        directory: where it runs, if that matters.
    """

    name: str
    command: Sequence[str]
    log: Path
    stop: signal.Signals = signal.SIGTERM
    identity: str = "same"
    folder: Path = field(default_factory=Path)
    environment: Mapping[str, str] = field(default_factory=dict)
    inherited: Sequence[int] = ()
    directory: Path | None = None


class Child:
    """A running program."""

    def __init__(self, program: Program, output: int) -> None:
        self._program = program
        self._output = output
        self._process: Process | None = None
        self._watched: int | None = None
        self._said_from = 0
        self._changing = asyncio.Lock()
        self._stopped = False

    @property
    def pid(self) -> int:
        """The id of its process."""
        if self._process is None:
            raise ProcessLookupError(self._program.name)
        return self._process.pid

    async def start(self) -> None:
        """Start it, through the launcher; once it was stopped, do nothing."""
        async with self._changing:
            if not self._stopped:
                await self._launch()

    async def _launch(self) -> None:
        program = self._program
        self._said_from = os.fstat(self._output).st_size
        watch, inherited = -1, list(program.inherited)
        self._unwatch()
        if sys.platform != "linux":
            # There the kernel does not tell of a parent's death, but this pipe closes with it.
            watch, self._watched = os.pipe()
            inherited.append(watch)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-IS", str(LAUNCHER), str(os.getpid()), str(int(program.stop)), str(watch),
                "own", program.identity, str(program.folder), *program.command,
                stdin=asyncio.subprocess.DEVNULL, stdout=self._output, stderr=self._output, pass_fds=inherited,
                env=_environment(program.environment), cwd=program.directory,
            )  # fmt: skip
        finally:
            if watch >= 0:
                os.close(watch)

    async def wait(self) -> int:
        """Wait for its end.

        Returns: the exit status, or the number of the signal that ended it, negative.
        """
        return 0 if self._process is None else await self._process.wait()

    def said(self, words: bytes) -> bool:
        """Whether it printed these words since it was last started."""
        size = os.fstat(self._output).st_size - self._said_from
        return size > 0 and words in os.pread(self._output, size, self._said_from)

    async def until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is ready.

        Raises: ConfigurationError with the end of its log, where it ends before or takes too long.
        """
        deadline = time.monotonic() + START_S
        while True:
            if self._process is None or self._process.returncode is not None:
                raise start_failed(self._program.name, self._program.log)
            if await ready():
                return
            if time.monotonic() > deadline:
                raise start_failed(self._program.name, self._program.log)
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """End it in order, and with force where that takes too long."""
        async with self._changing:
            self._stopped = True
            await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(self._program.stop)
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                log.warning("embedded.killed", part=self._program.name)
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watched is not None:
            os.close(self._watched)
            self._watched = None


def start_failed(name: str, path: Path) -> ConfigurationError:
    """The error of a part that does not start, with what it said last."""
    return ConfigurationError(f"{name} did not start. The end of {path}:\n{log_tail(path)}")


@asynccontextmanager
async def running(
    program: Program,
    ready: Callable[[Child], Awaitable[bool]],
) -> AsyncIterator[Child]:
    """Run a program while the context lasts; where it crashes it is started again.

    Args:
        program: what to run.
        ready: whether it can be used, asked until it can.
    Raises: ConfigurationError where it does not start.
    """
    async with AsyncExitStack() as stack:
        output = await stack.enter_async_context(bounded_log(program.log))
        child = Child(program, output)
        stack.push_async_callback(child.stop)
        await child.start()
        await child.until(lambda: ready(child))
        keeping = asyncio.create_task(_keep(child, program), name=f"keep {program.name}")
        stack.push_async_callback(_cancel, keeping)
        yield child


async def run_once(program: Program) -> int:
    """Run a program to its end, which a cancellation brings about at once.

    Returns: its exit status.
    """
    async with bounded_log(program.log) as output:
        child = Child(program, output)
        try:
            await child.start()
            return await child.wait()
        finally:
            await child.stop()


async def _keep(child: Child, program: Program) -> None:
    starts: deque[float] = deque(maxlen=_RESTARTS)
    while True:
        status = await child.wait()
        if len(starts) == _RESTARTS and time.monotonic() - starts[0] < _RESTARTS_WITHIN_S:
            log.error("embedded.gave_up", part=program.name, status=status, log=str(program.log))
            return
        log.warning("embedded.restarted", part=program.name, status=status, log=str(program.log))
        starts.append(time.monotonic())
        await asyncio.sleep(_RESTART_S)
        await asyncio.shield(child.start())


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    # PG… variables steer PostgreSQL's programs; its messages are read here, so they must be English.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**own, "LC_ALL": "C", **added}
