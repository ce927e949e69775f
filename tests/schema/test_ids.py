"""Global ids say what they were made of, and nothing else is one."""

from __future__ import annotations

from base64 import b64encode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import new_id
from schema.ids import GlobalId, global_id, id_of, parse_id, require_id
from services.errors import NotFound


def test_an_id_says_its_type_and_its_uuid() -> None:
    id_ = new_id()
    assert parse_id(global_id("Payment", id_)) == GlobalId("Payment", id_)
    assert id_of("Payment", global_id("Payment", id_)) == id_
    assert id_of("Refund", global_id("Payment", id_)) is None


@given(st.text())
def test_any_other_text_is_no_id(text: str) -> None:
    assert parse_id(text) is None


@given(st.binary(max_size=80))
def test_any_other_bytes_are_no_id(content: bytes) -> None:
    assert parse_id(b64encode(content).decode()) is None


def test_one_thing_has_one_id() -> None:
    id_ = UUID("01890000-0000-7000-8000-00000000abcd")
    for spelling in (id_.hex, str(id_).upper(), f"{{{id_}}}", f"urn:uuid:{id_}", f" {id_}"):
        assert parse_id(b64encode(f"Payment:{spelling}".encode()).decode()) is None


def test_where_an_id_is_needed_no_id_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        require_id("Payment", "nonsense", ["input", "paymentId"])
    assert caught.value.path == ["input", "paymentId"]
