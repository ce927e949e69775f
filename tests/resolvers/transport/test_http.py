from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import strawberry

from resolvers.transport.negotiation import PLAIN_JSON, RESPONSE_JSON, is_json, media_type, wants_html
from tests.resolvers.transport.conftest import Server, serve, token

JSON = {"content-type": "application/json", "accept": RESPONSE_JSON}


async def send(server: Server, body: bytes | str, **headers: str) -> tuple[int, Any]:
    async with server.http.post(server.url, data=body, headers={**JSON, **headers}) as response:
        return response.status, await response.json(content_type=None)


def code_of(answer: dict[str, Any]) -> str:
    assert "data" not in answer
    return str(answer["errors"][0]["extensions"]["code"])


async def test_a_query_is_answered(server: Server) -> None:
    assert await server.post("{ hello }") == (200, {"data": {"hello": "Hello, world!"}})


async def test_variables_and_the_operation_name_are_heeded(server: Server) -> None:
    query = "query A { hello } query B($name: String!) { hello(name: $name) }"
    answer = await server.post(query, operationName="B", variables={"name": "Ännchen 🏃"})
    assert answer == (200, {"data": {"hello": "Hello, Ännchen 🏃!"}})


async def test_a_document_of_several_operations_needs_a_name(server: Server) -> None:
    status, answer = await server.post("query A { hello } query B { hello }")
    assert (status, "data" in answer) == (400, False)
    assert "operationName" in answer["errors"][0]["message"]
    status, answer = await server.post("query A { hello }", operationName="C")
    assert (status, answer["errors"][0]["message"]) == (400, "The document has no operation named 'C'.")


async def test_who_asks_and_the_language_reach_the_resolvers(server: Server) -> None:
    assert await server.post("{ viewer }") == (200, {"data": {"viewer": None}})
    assert await server.post("{ viewer }", token=token("admin", sub="ops")) == (200, {"data": {"viewer": "admin:ops"}})
    status, answer = await send(server, b'{"query": "{ language }"}', **{"accept-language": "de-CH, en;q=0.5"})
    assert (status, answer) == (200, {"data": {"language": "de-CH, en;q=0.5"}})


async def test_a_bad_token_is_401_with_a_graphql_error(server: Server) -> None:
    for bad in ("Bearer nonsense", f"Bearer {token(ttl_s=-60)}", "Basic dTpw"):
        async with server.http.post(
            server.url, json={"query": 'mutation { move(what: "a") }'}, headers={"authorization": bad}
        ) as response:
            answer = await response.json()
            assert response.status == 401
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
            assert code_of(answer) == "UNAUTHENTICATED"
            assert bad.split()[1] not in json.dumps(answer)
    assert server.world.moved == []


async def test_errors_before_execution_have_no_data(server: Server) -> None:
    for query in (
        "", "{", "{ nothing }", "{ hello(name: 1) }", "query ($a: String!) { hello(name: $a) }",
        "fragment A on Query { hello }",
    ):  # fmt: skip
        status, answer = await server.post(query)
        assert (status, "data" in answer, bool(answer["errors"])) == (400, False, True)
        status, answer = await server.post(query, accept=PLAIN_JSON)
        assert (status, "data" in answer, bool(answer["errors"])) == (200, False, True)


async def test_an_error_of_a_field_leaves_the_others(server: Server) -> None:
    status, answer = await server.post("{ hello missing }")
    assert status == 200
    assert answer["data"] == {"hello": "Hello, world!", "missing": None}
    assert answer["errors"][0]["path"] == ["missing"]


async def test_an_error_that_takes_all_data_with_it_is_still_an_answer(server: Server) -> None:
    status, answer = await server.post("{ invalid }")
    assert (status, answer["data"]) == (200, None)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"nonsense", "not valid JSON"),
        (b'{"query": "{ hello }"} trailing', "not valid JSON"),
        (b'{"query": "\xff{ hello }"}', "not valid UTF-8"),
        (b'{"query": "\\ud800"}', "not valid JSON"),
        (b'{"query": NaN}', "not valid JSON"),
        (b"[" * 5000, "not valid JSON"),
        (b'[{"query": "{ hello }"}]', "Batches are not supported"),
        (b'"{ hello }"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{}", "named `query`"),
        (b'{"query": null}', "named `query`"),
        (b'{"query": {}}', "`query` must be a string"),
        (b'{"query": "{ hello }", "operationName": 1}', "`operationName` must be a string"),
        (b'{"query": "{ hello }", "variables": []}', "`variables` must be an object"),
        (b'{"query": "{ hello }", "variables": "{}"}', "`variables` must be an object"),
        (b'{"query": "{ hello }", "extensions": 0}', "`extensions` must be an object"),
        (b'{"query": "{ hello }", "variables": {"a": [{"b": "x\\u0000"}]}}', "U+0000"),
    ],
)
async def test_a_body_that_is_no_request_is_told_what_is_wrong(body: bytes, says: str, server: Server) -> None:
    for accept in (RESPONSE_JSON, PLAIN_JSON):
        status, answer = await send(server, body, accept=accept)
        assert (status, code_of(answer)) == (400, "BAD_REQUEST")
        assert says in answer["errors"][0]["message"]
    assert server.world.contexts == 0


async def test_a_nul_character_in_a_literal_is_refused(server: Server) -> None:
    status, answer = await server.post(r'{ hello(name: "a\u0000b") }')
    assert (status, "U+0000" in answer["errors"][0]["message"]) == (400, True)


async def test_only_json_in_utf8_may_be_posted(server: Server) -> None:
    body = b'{"query": "{ hello }"}'
    for kind in (
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
    ):  # fmt: skip
        status, answer = await send(server, body, **{"content-type": kind})
        assert (status, code_of(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    for kind in ("application/json", "Application/JSON; Charset=UTF-8", 'application/json; charset="utf-8"'):
        assert (await send(server, body, **{"content-type": kind}))[0] == 200
    status, answer = await send(server, body, **{"content-encoding": "gzip"})
    assert (status, code_of(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_other_methods_are_refused_with_those_that_work(server: Server) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        async with server.http.request(method, server.url, data=b"{}", headers=JSON) as response:
            assert (response.status, response.headers["allow"]) == (405, "GET, POST, OPTIONS")
            assert code_of(await response.json(content_type=None)) == "METHOD_NOT_ALLOWED"


async def test_a_media_type_that_cannot_be_had_is_406(server: Server) -> None:
    for accept in ("text/plain", "image/*", "application/json;q=0", "application/xml, text/html;q=0.5"):
        status, answer = await send(server, b'{"query": "{ hello }"}', accept=accept)
        assert (status, code_of(answer)) == (406, "NOT_ACCEPTABLE")


async def test_queries_may_come_by_get_and_mutations_may_not(server: Server) -> None:
    async def get(query: str) -> tuple[int, Any]:
        async with server.http.get(f"{server.url}?{query}", headers={"accept": RESPONSE_JSON}) as response:
            return response.status, await response.json(content_type=None)

    assert await get(f"query={quote('{ hello }')}") == (200, {"data": {"hello": "Hello, world!"}})
    query = quote("query ($n: String!) { hello(name: $n) }")
    variables = quote(json.dumps({"n": "ü"}))
    assert await get(f"query={query}&variables={variables}") == (200, {"data": {"hello": "Hello, ü!"}})
    mutation = 'mutation B { move(what: "a") }'
    status, answer = await get(f"query={quote(mutation)}")
    assert (status, code_of(answer)) == (405, "METHOD_NOT_ALLOWED")
    status, answer = await get(f"query={quote('query A { hello } ' + mutation)}&operationName=B")
    assert (status, code_of(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert server.world.moved == []
    for bad in ("", "query=%FF", "query={hello}&variables=x", "query={hello}&variables=[]", "&".join(["a=1"] * 40)):
        status, answer = await get(bad)
        assert (status, code_of(answer)) == (400, "BAD_REQUEST")


async def test_a_subscription_is_pointed_to_the_websocket(server: Server) -> None:
    status, answer = await server.post("subscription { count(to: 1) }")
    assert status == 400
    assert "graphql-transport-ws" in answer["errors"][0]["message"]


@pytest.fixture
async def small(schema: strawberry.Schema) -> AsyncIterator[Server]:
    async with serve(schema, body_limit=2048) as running:
        yield running


async def test_a_body_over_the_limit_is_refused_whether_announced_or_not(small: Server) -> None:
    large = json.dumps({"query": "{ hello }", "variables": {"a": "x" * 4000}}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 512):
            yield large[start : start + 512]

    for body in (large, chunks()):
        async with small.http.post(small.url, data=body, headers=JSON) as response:
            answer = await response.json(content_type=None)
            assert (response.status, code_of(answer)) == (413, "BODY_TOO_LARGE")
            assert "2048 bytes" in answer["errors"][0]["message"]
    fits = json.dumps({"query": "{ hello }", "variables": {"a": "x" * 1500}}).encode()
    assert (await send(small, fits))[0] == 200


async def test_an_endless_body_is_not_read_to_its_end(small: Server) -> None:
    host, port = small.url.removeprefix("http://").removesuffix("/graphql").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n")
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    sent = 0
    try:
        while sent < 200_000_000:
            writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent += 65536
            await asyncio.wait_for(writer.drain(), 5)
    except OSError:
        pass
    writer.transport.abort()
    assert sent < 200_000_000
    assert small.world.contexts == 0


async def test_other_origins_may_call_only_where_they_are_allowed(schema: strawberry.Schema, server: Server) -> None:
    preflight = {
        "origin": "https://shop.example", "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }  # fmt: skip
    async with server.http.options(server.url, headers=preflight) as response:
        assert "access-control-allow-origin" not in response.headers
    async with serve(schema, allowed_origins="https://shop.example") as open_:
        async with open_.http.options(open_.url, headers=preflight) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == "https://shop.example"
            assert "authorization" in response.headers["access-control-allow-headers"].lower()
        async with open_.http.options(open_.url, headers={**preflight, "origin": "https://evil.example"}) as response:
            assert "access-control-allow-origin" not in response.headers
        bad = {"origin": "https://shop.example", "authorization": "Bearer x"}
        async with open_.http.post(open_.url, json={"query": "{ hello }"}, headers=bad) as response:
            assert response.status == 401
            assert response.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_request_whose_client_left_is_finished(server: Server) -> None:
    gone = asyncio.create_task(server.post('mutation { move(what: "slowly") }'))
    await asyncio.wait_for(server.world.entered.wait(), 5)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    server.world.gate.set()
    await asyncio.wait_for(server.world.drained.wait(), 5)
    assert server.world.moved == ["slowly"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, PLAIN_JSON),
        ("*/*", PLAIN_JSON),
        ("application/*", PLAIN_JSON),
        (RESPONSE_JSON, RESPONSE_JSON),
        (f"{RESPONSE_JSON}, {PLAIN_JSON}", RESPONSE_JSON),
        (f"{PLAIN_JSON}, {RESPONSE_JSON}", RESPONSE_JSON),
        (f"{RESPONSE_JSON};charset=utf-8, {PLAIN_JSON};charset=utf-8", RESPONSE_JSON),
        (f"{RESPONSE_JSON};q=0.5, {PLAIN_JSON}", PLAIN_JSON),
        (f"{RESPONSE_JSON};q=0.5, {PLAIN_JSON};q=0.4", RESPONSE_JSON),
        (f"{PLAIN_JSON}, */*;q=0.1", PLAIN_JSON),
        ("APPLICATION/JSON", PLAIN_JSON),
        (f"{RESPONSE_JSON};q=0, */*", PLAIN_JSON),
        ("text/html", None),
        ("application/json;q=x", None),
        ("", None),
    ],
)
def test_the_media_type_is_the_one_that_the_client_likes_better(accept: str | None, expected: str | None) -> None:
    assert media_type(accept) == expected


def test_a_browser_is_told_from_a_client() -> None:
    assert wants_html("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
    assert not wants_html(f"{PLAIN_JSON}, text/html;q=0.5")
    assert not wants_html("*/*")
    assert not wants_html(None)
    assert not is_json(None)
