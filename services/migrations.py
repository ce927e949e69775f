"""Bringing the database's tables up to date, and saying whether they are."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg
from tortoise.context import TortoiseContext
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.schema_editor import AsyncpgSchemaEditor
from tortoise.transactions import in_transaction

from models import migrations, tortoise_config
from services.audit.sealing import is_in_order
from services.database import DATABASE_ERRORS, tortoise_connection
from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Record

OLDEST_POSTGRESQL: Final = 15
_LOCK: Final = 0x7061_7964_6573_6B01
"""The advisory lock that processes which migrate the same database wait for one another with."""


class Fetching(Protocol):
    """A connection or a pool of them."""

    async def fetch(self, query: str, /) -> Sequence[Record]:
        """The rows of a query."""


async def migrate(database_url: str) -> list[str]:
    """Apply the migrations that the database lacks, all or none; several processes at once wait for one another.

    Returns: the names of those applied, oldest first.
    Raises: ConfigurationError where the database cannot be used.
    """
    connection = await _connect(database_url)
    try:
        if not await pending_migrations(connection):
            return []
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        pending = await pending_migrations(connection)
        if pending:
            await _apply(database_url)
        return pending
    finally:
        await connection.close()


async def require_migrated(database_url: str) -> None:
    """Make sure that the database can be used as it is.

    Raises: ConfigurationError that names the migrations it lacks, or says that it was restored.
    """
    connection = await _connect(database_url)
    try:
        pending = await pending_migrations(connection)
        in_order = bool(pending) or await is_in_order(connection)
    finally:
        await connection.close()
    if pending:
        raise ConfigurationError(
            f"DATABASE_URL: the database lacks {', '.join(pending)}; run `python manage.py migrate` first."
        )
    if not in_order:
        raise ConfigurationError("DATABASE_URL: the database was restored; run `python manage.py restored` first.")


async def pending_migrations(connection: Fetching) -> list[str]:
    """The names of the migrations that the database lacks, oldest first."""
    known = sorted(module.name for module in pkgutil.iter_modules(migrations.__path__))
    try:
        rows = await connection.fetch("SELECT name FROM tortoise_migrations WHERE app = 'models'")
    except asyncpg.UndefinedTableError:
        return known
    applied = {row["name"] for row in rows}
    return [name for name in known if name not in applied]


async def _connect(database_url: str) -> asyncpg.Connection[Any]:
    try:
        connection = await asyncpg.connect(database_url)
    except (ValueError, *DATABASE_ERRORS) as error:
        raise ConfigurationError(f"DATABASE_URL: cannot connect: {str(error) or type(error).__name__}.") from None
    if connection.get_server_version().major < OLDEST_POSTGRESQL:
        version = connection.get_server_version().major
        await connection.close()
        raise ConfigurationError(f"DATABASE_URL: PostgreSQL {version} is too old; {OLDEST_POSTGRESQL} is the oldest.")
    return connection


async def _apply(database_url: str) -> None:
    # A context of its own: the ORM of the process is left as it is.
    async with TortoiseContext() as context:
        config = tortoise_config(tortoise_connection(database_url, 1))
        await context.init(config=config, init_connections=False)
        async with in_transaction("default") as transaction:
            # The executor's own transactions become savepoints, and a migration and its record commit together.
            executor = MigrationExecutor(transaction, config["apps"])
            # First of all, since the executor reads the table before it makes it, which would fail the transaction.
            await executor.recorder.ensure_schema(AsyncpgSchemaEditor(transaction, atomic=False))
            await executor.migrate(direction="forward")
