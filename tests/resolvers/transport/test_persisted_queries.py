from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.resolvers.transport.conftest import Server

QUERY = "{ hello }"


def by_hash(query: str, *, version: int = 1) -> dict[str, Any]:
    return {"persistedQuery": {"version": version, "sha256Hash": hashlib.sha256(query.encode()).hexdigest()}}


async def ask(server: Server, **body: Any) -> tuple[int, Any]:
    async with server.http.post(
        server.url, json=body, headers={"accept": "application/graphql-response+json"}
    ) as response:
        return response.status, await response.json(content_type=None)


async def test_a_document_can_be_asked_for_by_its_hash_once_it_was_sent(server: Server) -> None:
    status, answer = await ask(server, extensions=by_hash(QUERY))
    assert status == 400
    assert answer["errors"] == [
        {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}
    ]
    for body in ({"query": QUERY, "extensions": by_hash(QUERY)}, {"extensions": by_hash(QUERY)}):
        assert await ask(server, **body) == (200, {"data": {"hello": "Hello, world!"}})
    parameters = {"extensions": json.dumps(by_hash(QUERY))}
    async with server.http.get(server.url, params=parameters) as response:
        assert await response.json() == {"data": {"hello": "Hello, world!"}}


async def test_a_hash_of_another_document_is_refused_and_not_kept(server: Server) -> None:
    status, answer = await ask(server, query="{ viewer }", extensions=by_hash(QUERY))
    assert (status, "SHA-256" in answer["errors"][0]["message"]) == (400, True)
    assert (await ask(server, extensions=by_hash(QUERY)))[0] == 400


async def test_an_invalid_document_is_not_kept(server: Server) -> None:
    assert (await ask(server, query="{ nothing }", extensions=by_hash("{ nothing }")))[0] == 400
    _, answer = await ask(server, extensions=by_hash("{ nothing }"))
    assert answer["errors"][0]["message"] == "PersistedQueryNotFound"


async def test_a_malformed_hash_is_refused(server: Server) -> None:
    for extensions in (by_hash(QUERY, version=2), {"persistedQuery": "x"}, {"persistedQuery": {"version": 1}}):
        status, answer = await ask(server, query=QUERY, extensions=extensions)
        assert (status, "sha256Hash" in answer["errors"][0]["message"]) == (400, True)
