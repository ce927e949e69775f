"""How large a request may be: evidence of disputes has a limit of its own, and no more at once than memory allows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import strawberry

from resolvers.transport import bodies
from tests.resolvers.transport.conftest import Server, serve, token

NAMED = "query A { hello } # submitDisputeEvidence"


@pytest.fixture
async def small(schema: strawberry.Schema) -> AsyncIterator[Server]:
    async with serve(schema, body_limit=2048, evidence_body_limit=8192) as running:
        yield running


async def send(server: Server, given: dict[str, Any], *, known: bool = True, chunk: int = 0) -> tuple[int, Any]:
    """The answer to a body, sent whole with its length or in chunks without."""
    body = json.dumps(given).encode()
    headers = {"content-type": "application/json"}
    if known:
        headers["authorization"] = f"Bearer {token()}"

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    async with server.http.post(server.url, data=chunks() if chunk else body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("chunk", [0, 700, 5000])
async def test_evidence_may_be_larger_wherever_the_document_stands_in_the_body(small: Server, chunk: int) -> None:
    for given in (
        {"query": NAMED, "variables": {"a": "x" * 5000}}, {"variables": {"a": "x" * 5000}, "query": NAMED},
    ):  # fmt: skip
        assert await send(small, given, chunk=chunk) == (200, {"data": {"hello": "Hello, world!"}})


@pytest.mark.parametrize("chunk", [0, 700, 5000])
async def test_everything_else_keeps_the_limit(small: Server, chunk: int) -> None:
    large = {"a": "x" * 5000}
    for given, known, limit in (
        ({"query": "{ hello }", "variables": large}, True, 2048),
        ({"query": NAMED, "variables": large}, False, 2048),
        ({"query": NAMED, "variables": {"a": "x" * 9000}}, True, 8192),
    ):
        status, answer = await send(small, given, known=known, chunk=chunk)
        assert (status, answer["errors"][0]["extensions"]["code"]) == (413, "BODY_TOO_LARGE")
        assert f"{limit} bytes" in answer["errors"][0]["message"]
    assert small.world.contexts == 0


async def test_a_card_number_in_a_large_body_is_refused_too(small: Server) -> None:
    status, answer = await send(small, {"query": NAMED, "variables": {"a": "x" * 5000 + " 4242 4242 4242 4242"}})
    assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "CARD_NUMBER")
    assert small.world.contexts == 0


async def test_what_is_large_comes_as_variables_and_not_in_the_document(small: Server) -> None:
    status, answer = await send(small, {"query": NAMED + "x" * 5000})
    assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert "variables" in answer["errors"][0]["message"]
    assert small.world.contexts == 0


async def test_large_bodies_take_turns_and_do_not_hold_up_the_others(
    small: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"query": 'mutation submitDisputeEvidence { move(what: "slowly") }', "variables": {"a": "x" * 5000}}
    under_way = [asyncio.create_task(send(small, given)) for _ in range(bodies._LARGE_AT_ONCE)]
    while small.world.contexts < len(under_way):  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.005)
    monkeypatch.setattr(bodies, "_LARGE_S", 0.05)
    status, answer = await send(small, given)
    assert (status, answer["errors"][0]["extensions"]["code"]) == (503, "BUSY")
    assert (await send(small, {"query": "{ hello }"}))[0] == 200
    assert small.world.contexts == len(under_way) + 1
    monkeypatch.undo()
    last = asyncio.create_task(send(small, given))
    small.world.gate.set()
    assert {status for status, _ in await asyncio.gather(*under_way, last)} == {200}
