"""Rows written set-wise come back as they were, whatever their columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tortoise import fields
from tortoise.models import Model

from models import MODULES
from models.audit import AuditEntry
from models.base import from_record, new_id, new_row
from models.ledger import LedgerAccount, LedgerAccountKind, LedgerPosting
from models.payments import Payment, PaymentStatus
from models.rsvps import Rsvp
from models.sets import Writes, from_joined, insert_rows, joined_columns, update_rows
from models.users import User
from models.webhook_events import WebhookEvent
from tests.support.rows import add_activity, add_payment, add_rsvp, add_user

if TYPE_CHECKING:
    from services.database import Database

pytestmark = pytest.mark.usefixtures("database")

AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def concrete_models() -> list[type[Model]]:
    """Every model with a table, by name."""
    found = {
        value
        for module in MODULES
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Model) and not value._meta.abstract
    }
    return sorted(found, key=lambda model: model.__name__)


def _value(field: Any, seed: int) -> Any:  # noqa: PLR0911 (a line a type)
    """A value that this kind of column must carry unharmed."""
    enum_type = getattr(field, "enum_type", None)
    if enum_type is not None:
        return list(enum_type)[seed % len(enum_type)]
    if isinstance(field, fields.JSONField):
        return {"naïve": [1, None, {"a": "\N{SNOWMAN} '\"\\"}], "seed": seed, "truth": True}
    if isinstance(field, fields.BinaryField):
        return bytes([0, 255, seed])
    if isinstance(field, fields.UUIDField):
        return new_id()
    if isinstance(field, fields.DatetimeField):
        return AT + timedelta(microseconds=seed)
    if isinstance(field, fields.DateField):
        return date(2026, 1, 1 + seed)
    if isinstance(field, fields.BooleanField):
        return bool(seed % 2)
    if isinstance(field, fields.DecimalField):
        return Decimal("1.123456789012") + seed
    if isinstance(field, fields.BigIntField):
        return 2**40 + seed
    if isinstance(field, fields.IntField):
        return 2**20 + seed
    text = f"é{seed}'\"\\,{{}}"
    return text[: getattr(field, "max_length", None) or len(text)]


def _filled(model: type[Model], seed: int, *, sparse: bool) -> Model:
    """A row with a value in each column; `sparse` leaves out those that may be null."""
    values = {
        name: None if sparse and field.null else _value(field, seed)
        for name, field in model._meta.fields_map.items()
        if name in model._meta.fields_db_projection and name not in {"created_at", "updated_at"}
    }
    return model(**values)


@pytest.mark.parametrize("model", concrete_models(), ids=lambda model: model.__name__)
async def test_every_column_of_every_model_survives_a_round_trip(
    connection: asyncpg.Connection[Any], model: type[Model]
) -> None:
    table = model._meta.db_table
    # A copy without constraints: what is tested here is the types.
    await connection.execute(f'CREATE TEMP TABLE "{table}" (LIKE public."{table}" INCLUDING DEFAULTS)')
    rows = [_filled(model, 1, sparse=False), _filled(model, 2, sparse=True)]
    nullable = {name for name, field in model._meta.fields_map.items() if field.null}
    for column in nullable & set(model._meta.fields_db_projection):
        name = model._meta.fields_db_projection[column]
        await connection.execute(f'ALTER TABLE "{table}" ALTER "{name}" DROP NOT NULL')
    await insert_rows(connection, model, rows)
    written = await connection.fetch(f'SELECT * FROM "{table}"')
    by_id = {record["id"]: from_record(model, record) for record in written}
    assert len(by_id) == len(rows)
    for row in rows:
        again = by_id[row.pk]
        for name in model._meta.fields_db_projection:
            if name not in {"created_at", "updated_at"}:
                assert getattr(again, name) == getattr(row, name), name


async def test_times_of_writing_are_the_database_s(connection: asyncpg.Connection[Any]) -> None:
    user = await add_user(connection)
    record = await connection.fetchrow("SELECT created_at, updated_at, now() AS now FROM users WHERE id = $1", user.id)
    assert record is not None
    assert record["created_at"] == record["updated_at"]
    assert record["now"] - record["created_at"] < timedelta(seconds=10)


async def test_an_update_writes_the_named_columns_of_the_named_rows_alone(connection: asyncpg.Connection[Any]) -> None:
    users = [await add_user(connection) for _ in range(3)]
    payments = [await add_payment(connection, user) for user in users]
    for payment in payments[:2]:
        payment.status = PaymentStatus.REQUIRES_ACTION
        payment.next_action = {"type": "redirect_to_url", "redirect_url": "https://example.com"}
        payment.client_secret = "not to be written"
    await update_rows(connection, Payment, payments[:2], ("status", "next_action"))
    written = [
        from_record(Payment, record) for record in await connection.fetch("SELECT * FROM payments ORDER BY id")
    ]
    assert [payment.status for payment in written] == [*[PaymentStatus.REQUIRES_ACTION] * 2, PaymentStatus.PENDING]
    assert [bool(payment.next_action) for payment in written] == [True, True, False]
    assert {payment.client_secret for payment in written} == {None}
    assert written[0].updated_at > written[0].created_at
    assert written[2].updated_at == written[2].created_at


async def test_an_update_can_write_null(connection: asyncpg.Connection[Any]) -> None:
    guest = await add_user(connection)
    activity = await add_activity(connection, guest)
    rsvp = await add_rsvp(connection, activity, guest, hold_expires_at=AT)
    rsvp.hold_expires_at = None
    await update_rows(connection, Rsvp, [rsvp], ("hold_expires_at",))
    assert await connection.fetchval("SELECT hold_expires_at FROM rsvps") is None


async def test_rows_that_conflict_are_left_out_where_the_caller_says_so(connection: asyncpg.Connection[Any]) -> None:
    user = await add_user(connection)
    same = User(id=new_id(), external_id=user.external_id, email="a@example.com", name="A")
    other = User(id=new_id(), external_id="other", email="b@example.com", name="B")
    made = await insert_rows(
        connection, User, [same, other], conflict="ON CONFLICT (external_id) DO NOTHING RETURNING id"
    )
    assert [record["id"] for record in made] == [other.id]
    assert await connection.fetchval("SELECT count(*) FROM users") == 2


async def test_no_rows_are_no_statement(connection: asyncpg.Connection[Any]) -> None:
    await connection.close()
    assert await insert_rows(connection, User, []) == []
    await update_rows(connection, User, [], ("name",))


async def test_a_record_of_hand_written_sql_is_the_orm_s_own_instance(database: Database) -> None:
    async with database.transaction() as connection:
        user = await add_user(connection, country=None)
        record = await connection.fetchrow("SELECT * FROM users WHERE id = $1", user.id)
    assert record is not None
    ours, theirs = from_record(User, record), await User.get(id=user.id)
    for name in User._meta.fields_db_projection:
        assert getattr(ours, name) == getattr(theirs, name), name


async def test_rows_of_several_tables_are_written_in_one_statement(connection: asyncpg.Connection[Any]) -> None:
    host = await add_user(connection)
    activity = await add_activity(connection, host)
    guest = User(id=new_id(), external_id="guest", email="guest@example.com", name="Guest")
    rsvp = Rsvp(id=new_id(), activity_id=activity.id, user_id=guest.id, quantity=2)
    activity.title = "Cheese tasting"
    statements: list[str] = []
    connection.add_query_logger(lambda query: statements.append(query.query))
    writes = Writes()
    writes.insert(Rsvp, [rsvp])  # points at a row that the same statement makes
    writes.insert(User, [guest], conflict="RETURNING external_id")
    writes.update(type(activity), [activity], ("title",))
    writes.add("seats", "UPDATE activities SET seats_taken = $1 WHERE id = $2 AND $2 <> $3", 2, new_id(), activity.id)
    made = await writes.run(connection, "SELECT external_id FROM inserted_users")
    assert [record["external_id"] for record in made] == ["guest"]
    assert await connection.fetchval("SELECT user_id FROM rsvps WHERE id = $1", rsvp.id) == guest.id
    assert await connection.fetchval("SELECT title FROM activities") == "Cheese tasting"
    assert [statement[:4] for statement in statements[:2]] == ["WITH", "SELE"]


async def test_nothing_to_write_is_no_statement(connection: asyncpg.Connection[Any]) -> None:
    await connection.close()
    writes = Writes()
    writes.insert(User, [])
    writes.update(User, [], ("name",))
    assert await writes.run(connection, "SELECT * FROM inserted_users") == []


async def test_a_join_gives_instances_of_each_model_it_joins(connection: asyncpg.Connection[Any]) -> None:
    user = await add_user(connection)
    record = await connection.fetchrow(
        f"""
        SELECT {joined_columns(User, "u")}, {joined_columns(Rsvp, "r")}
        FROM users u LEFT JOIN rsvps r ON r.user_id = u.id
        """
    )
    assert record is not None
    assert from_joined(Rsvp, record, "r") is None
    found = from_joined(User, record, "u")
    assert found is not None
    assert (found.id, found.external_id) == (user.id, user.external_id)


@pytest.mark.parametrize("model", concrete_models(), ids=lambda model: model.__name__)
def test_a_new_row_is_what_the_orm_makes_of_the_same_values(database: Database, model: type[Model]) -> None:
    filled = {name: value for name, value in vars(_filled(model, 1, sparse=True)).items() if not name.startswith("_")}
    for values in (filled, {"id": filled["id"]}):
        ours, theirs = new_row(model, **values), model(**{k: v for k, v in values.items() if v is not None})
        assert {name: value for name, value in vars(ours).items() if name != "_custom_generated_pk"} == {
            name: value for name, value in vars(theirs).items() if name != "_custom_generated_pk"
        }


def test_new_rows_share_nothing(database: Database) -> None:
    first, second = new_row(AuditEntry), new_row(AuditEntry)
    assert first.id != second.id
    assert vars(first)["_await_when_save"] is not vars(second)["_await_when_save"]


def test_a_new_row_takes_no_name_that_is_no_column_s(database: Database) -> None:
    with pytest.raises(TypeError, match="actr"):
        new_row(AuditEntry, actr="system:test")


@pytest.mark.parametrize("count", [1, 1000])
async def test_one_statement_writes_however_many(connection: asyncpg.Connection[Any], count: int) -> None:
    entries = [
        AuditEntry(
            id=new_id(), actor="system:test", action="test", subject_type="TEST", subject_id=new_id(), after={"i": i}
        )
        for i in range(count)
    ]
    await insert_rows(connection, AuditEntry, entries)
    assert await connection.fetchval("SELECT sum((after->>'i')::int) FROM audit_entries") == count * (count - 1) // 2


def test_the_models_are_all_known() -> None:
    names = {model.__name__ for model in concrete_models()}
    assert {"Payment", "Refund", "Operation", "Event", LedgerPosting.__name__, WebhookEvent.__name__} <= names
    assert LedgerAccount(kind=LedgerAccountKind.REFUNDS).kind is LedgerAccountKind.REFUNDS
