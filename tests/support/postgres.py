"""Databases of one test session: a template that is migrated once, and copies of it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from tortoise import Tortoise
from tortoise.migrations.api import migrate

from models import tortoise_config
from services.database import tortoise_connection

TEMPLATE: Final = "template_paydesk"
SETTINGS: Final = {"max_connections": "300", "deadlock_timeout": "50ms", "log_min_messages": "fatal"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; `url` is that of a database which nobody else uses."""

    url: str

    def database(self, name: str) -> str:
        """The URL of one database."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))


async def make_template(server: PostgresServer) -> None:
    """Migrate a database once; every test starts from a copy of it."""
    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate_database(server.database(TEMPLATE))
    await _execute(server, f"ALTER DATABASE {TEMPLATE} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false")


async def migrate_database(url: str, *, target: str | None = None) -> None:
    """Run the migrations up to one of them, or all."""
    try:
        await migrate(config=tortoise_config(tortoise_connection(url, 1)), target=target)
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
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
