"""What is hashed can be written down by anybody: with Python's own JSON, and from the guide alone."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.hashing import (
    ENTRY_COLUMNS,
    SealFacts,
    content_hash,
    entry_content,
    entry_hash,
    record_content,
    seal_hash,
)
from tests.support.audit import entry, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import asyncpg

    from services.database import Database

GUIDE = (Path(__file__).parents[3] / "docs/audit-trail.md").read_text()

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
values = st.dictionaries(
    texts, st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)),
    max_size=5,
)  # fmt: skip
times = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def guide_s_content() -> Callable[[Mapping[str, Any]], str]:
    """The function that the guide gives for an entry's content."""
    [source] = re.findall(r"```python\n(def content.*?)```", GUIDE, flags=re.DOTALL)
    scope: dict[str, Any] = {"json": json, "timezone": timezone}
    exec(source, scope)
    return scope["content"]  # type: ignore[no-any-return]


@pytest.mark.usefixtures("database")
@given(id_=st.uuids(), at=times, name=texts, before=st.none() | values, after=values)
def test_the_guide_s_program_writes_the_same_bytes(
    id_: UUID, at: datetime, name: str, before: dict[str, Any] | None, after: dict[str, Any]
) -> None:
    row = {
        "id": id_, "created_at": at, "actor": name, "action": name, "subject_type": "PAYMENT", "subject_id": id_,
        "before": before, "after": after,
    }  # fmt: skip
    assert guide_s_content()(row).encode() == entry_content(entry(**row))


async def test_a_row_and_a_record_of_it_have_the_same_hash(
    connection: asyncpg.Connection[Any], database: Database
) -> None:
    [id_] = await record(connection, 1)
    found = await connection.fetchrow(f"SELECT {ENTRY_COLUMNS} FROM audit_entries WHERE id = $1", id_)
    row = await type(entry()).get(id=id_)
    assert content_hash(record_content(found)).hex() == entry_hash(row)
    assert orjson.loads(record_content(found))["actor"] == "user:gräfin"


async def test_the_database_may_keep_json_as_it_likes(connection: asyncpg.Connection[Any]) -> None:
    sql = "SELECT '{\"b\":1, \"a\":[1,2], \"aa\":{\"z\":null,\"y\":\"\\u00e9\"}}'::jsonb::text"
    kept = {**dict.fromkeys(("actor", "action", "subject_type"), "x"), "created_at": datetime(2030, 1, 1, tzinfo=UTC)}
    record_ = {**kept, "id": UUID(int=1), "subject_id": UUID(int=2), "before": None}
    content = record_content({**record_, "after": await connection.fetchval(sql)})
    assert '"after":{"a":[1,2],"aa":{"y":"é","z":null},"b":1}' in content.decode()


def facts() -> SealFacts:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    return SealFacts(7, bytes(32), b"r" * 32, 2, 10, UUID(int=1), 11, UUID(int=2), at, b"h")


def test_a_seal_says_everything_and_reads_back() -> None:
    seal = facts()
    assert json.loads(seal.content) == {
        "count": 2, "first": {"id": str(UUID(int=1)), "position": 10}, "last": {"id": str(UUID(int=2)), "position": 11},
        "number": 7, "previous": "00" * 32, "root": "72" * 32, "sealed_at": "2030-01-01T00:00:00.000000Z",
    }  # fmt: skip
    assert SealFacts.parse(seal.content, seal.hash) == seal
    assert seal_hash(seal.content) != content_hash(seal.content)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"1", b'{"number": 1}'])
def test_what_is_no_seal_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        SealFacts.parse(content, b"")
