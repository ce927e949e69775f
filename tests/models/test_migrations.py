"""The migrations: what they declare is in the database, models and migrations agree, and they run from anywhere."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from tortoise import Tortoise
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.migrations.operations import RunSQL

import models.migrations
from models import tortoise_config
from models.base import new_id
from services.migrations import pending_migrations
from tests.support.postgres import create_database, drop_database, migrate_database

if TYPE_CHECKING:
    from services.database import Database
    from tests.support.postgres import PostgresServer


def migration_names() -> list[str]:
    """All of them, in order."""
    return sorted(path.stem for path in Path(models.migrations.__file__).parent.glob("0*.py"))


def all_sql() -> str:
    """What the migrations write as SQL."""
    operations = [
        operation
        for name in migration_names()
        for operation in import_module(f"models.migrations.{name}").Migration.operations
    ]
    return "\n".join(str(operation.sql) for operation in operations if isinstance(operation, RunSQL))


def declared(pattern: str) -> set[str]:
    """The names that this pattern declares, less those that are dropped again."""
    sql = all_sql()
    dropped = set(re.findall(r"DROP (?:INDEX|CONSTRAINT|TRIGGER|FUNCTION) (?:IF EXISTS )?(\w+)", sql))
    return set(re.findall(pattern, sql)) - dropped


async def test_every_declared_constraint_index_trigger_and_function_is_in_the_catalog(
    connection: asyncpg.Connection[Any],
) -> None:
    there = {
        "ADD CONSTRAINT": "SELECT conname FROM pg_constraint",
        "INDEX": "SELECT relname FROM pg_class WHERE relkind = 'i'",
        "TRIGGER": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'",
        "FUNCTION": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    }
    patterns = {
        "ADD CONSTRAINT": r"ADD CONSTRAINT (\w+)",
        "INDEX": r"CREATE (?:UNIQUE )?INDEX (\w+)",
        "TRIGGER": r"CREATE (?:CONSTRAINT )?TRIGGER (\w+)",
        "FUNCTION": r"CREATE FUNCTION (\w+)",
    }
    for kind, query in there.items():
        names = declared(patterns[kind])
        assert names, kind
        found = {record[0] for record in await connection.fetch(query)}
        assert names <= found, names - found


async def test_constraints_are_all_validated_and_indexes_all_usable(connection: asyncpg.Connection[Any]) -> None:
    assert await connection.fetch("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []
    assert await connection.fetch("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid") == []


async def test_every_foreign_key_has_an_index_that_starts_with_it(connection: asyncpg.Connection[Any]) -> None:
    bare = await connection.fetch(
        """
        SELECT conrelid::regclass::text || ' ' || conname AS name FROM pg_constraint c
        WHERE contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid
            AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', (
                SELECT attname FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1])))
            AND (i.indkey::int2[])[0:array_length(c.conkey, 1) - 1] = c.conkey
        )
        """
    )
    assert [record["name"] for record in bare] == []


async def test_tables_that_grow_without_end_are_not_referred_to(connection: asyncpg.Connection[Any]) -> None:
    referred = await connection.fetch(
        "SELECT DISTINCT confrelid::regclass::text AS name FROM pg_constraint WHERE contype = 'f'"
    )
    names = {record["name"] for record in referred}
    assert not names & {"events", "ledger_postings", "ledger_transactions", "audit_entries", "webhook_events"}


async def test_the_time_of_writing_is_the_database_s_where_nobody_says_it(connection: asyncpg.Connection[Any]) -> None:
    missing = await connection.fetch(
        """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name IN ('created_at', 'updated_at') AND column_default IS NULL
            AND table_name <> 'tortoise_migrations'
        """
    )
    assert missing == []


async def test_money_is_a_bigint_everywhere_and_nothing_is_a_float(connection: asyncpg.Connection[Any]) -> None:
    columns = await connection.fetch(
        """
        SELECT table_name || '.' || column_name AS name, data_type FROM information_schema.columns
        WHERE table_schema = 'public'
        """
    )
    types = {record["name"]: record["data_type"] for record in columns}
    assert not {name for name, type_ in types.items() if type_ in {"real", "double precision", "money"}}
    minor = {name: type_ for name, type_ in types.items() if name.endswith("_minor")}
    assert minor
    assert set(minor.values()) == {"bigint"}


async def test_models_and_migrations_say_the_same(database: Database) -> None:
    apps = tortoise_config(database.url)["apps"]
    assert Tortoise.apps is not None
    writers = await MigrationAutodetector(Tortoise.apps, apps).changes()
    assert [(writer.name, writer.operations) for writer in writers] == []


async def test_columns_of_models_and_database_agree_on_null(database: Database) -> None:
    assert Tortoise.apps is not None
    records = await database.pool.fetch(
        """
        SELECT table_name, column_name, is_nullable = 'YES' AS nullable FROM information_schema.columns
        WHERE table_schema = 'public'
        """
    )
    there = {(record["table_name"], record["column_name"]): record["nullable"] for record in records}
    for model in Tortoise.apps["models"].values():
        for name, column in model._meta.fields_db_projection.items():
            assert there[model._meta.db_table, column] == model._meta.fields_map[name].null, (model, name)


async def test_running_them_again_changes_nothing(postgres: PostgresServer) -> None:
    name = await create_database(postgres)
    await migrate_database(postgres.database(name))
    await drop_database(postgres, name)


async def test_a_database_that_stopped_halfway_goes_on(postgres: PostgresServer) -> None:
    name = await create_database(postgres, template="template0")
    for stop in migration_names():
        await migrate_database(postgres.database(name), target=f"models.{stop}")
    connection = await asyncpg.connect(postgres.database(name))
    assert await pending_migrations(connection) == []
    await connection.close()
    await drop_database(postgres, name)


async def test_refunds_that_were_made_before_are_told_as_stripe_made_them(postgres: PostgresServer) -> None:
    name = await create_database(postgres, template="template0")
    await migrate_database(postgres.database(name), target="models.0003_webhook_claims")
    connection = await asyncpg.connect(postgres.database(name))
    await connection.execute("SET session_replication_role = replica")  # without the rows that it refers to
    await connection.execute(
        """
        INSERT INTO refunds (id, payment_id, amount_minor, currency, fee_minor, host_minor, status, origin,
            requested_by, stripe_refund_id)
        VALUES ($1, $1, 1000, 'USD', 100, 900, 'SUCCEEDED', 'PAYDESK', 'user:host', 're_1')
        """,
        new_id(),
    )
    await migrate_database(postgres.database(name), target="models.0004_refunds_as_stripe_made_them")
    made = await connection.fetchrow(
        "SELECT platform_minor, transfer_reversed_minor, application_fee_refunded_minor FROM refunds"
    )
    await connection.close()
    await drop_database(postgres, name)
    assert made is not None
    assert tuple(made) == (0, 1000, 100)


def test_they_are_numbered_without_gaps() -> None:
    assert [int(name[:4]) for name in migration_names()] == list(range(1, len(migration_names()) + 1))
