"""Databases of one test session: a template that is migrated once, and copies of it."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, Final
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


_SCHEMA: Final = """
WITH things AS (
    SELECT oid, concat(relname, relkind) AS name FROM pg_class
    WHERE relnamespace = 'public'::regnamespace
), parts AS (
    SELECT name FROM things
    UNION ALL
    SELECT concat(things.name, attname, atttypid, attnotnull, atthasdef) FROM pg_attribute JOIN things ON oid = attrelid
    UNION ALL
    SELECT concat(things.name, conname, convalidated) FROM pg_constraint JOIN things ON things.oid = conrelid
    UNION ALL
    SELECT concat(things.name, tgname, tgenabled) FROM pg_trigger JOIN things ON things.oid = tgrelid
    WHERE NOT tgisinternal
    UNION ALL
    SELECT concat(proname, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT setting FROM pg_db_role_setting, unnest(setconfig) AS setting
)
SELECT md5(string_agg(name, ';' ORDER BY name)) FROM parts
"""


@dataclass(slots=True)
class Databases:
    """Copies of the template that tests have one after another: emptying one is much faster than copying."""

    server: PostgresServer
    _free: list[str] = field(default_factory=list)
    _schema: str | None = None

    async def take(self) -> str:
        """An empty one; its name."""
        return self._free.pop() if self._free else await create_database(self.server)

    async def give_back(self, name: str) -> None:
        """Empty it for the next test, or drop it where the test changed more than rows."""
        connection = await asyncpg.connect(self.server.database(name))
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            reusable = await self._is_as_copied(connection)
            if reusable:
                await _empty(connection)
        finally:
            await connection.close()
        if reusable:
            self._free.append(name)
        else:
            await drop_database(self.server, name)

    async def _is_as_copied(self, connection: asyncpg.Connection[Any]) -> bool:
        schema = await connection.fetchval(_SCHEMA)
        if self._schema is None:
            fresh = await create_database(self.server)
            plain = await asyncpg.connect(self.server.database(fresh))
            self._schema = await plain.fetchval(_SCHEMA)
            await plain.close()
            self._free.append(fresh)
        return bool(schema == self._schema)


async def _empty(connection: asyncpg.Connection[Any]) -> None:
    tables = await connection.fetch(
        "SELECT quote_ident(tablename) AS name FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'tortoise_migrations'"
    )
    deletes = "; ".join(f"DELETE FROM {table['name']}" for table in tables)
    # As a replica, which asks neither triggers nor foreign keys: even what is append only goes.
    await connection.execute(
        f"SET session_replication_role = replica; {deletes};"
        " INSERT INTO stream_epochs (id, epoch) VALUES (gen_random_uuid(), 1)"
    )


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
