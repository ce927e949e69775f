from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import strawberry
import structlog

from resolvers.transport.socket_messages import CloseCode, ProtocolViolation, fit_reason, read_message
from resolvers.transport.sockets import Sockets
from tests.resolvers.transport.conftest import Server, serve, token

PROTOCOL = "graphql-transport-ws"


class Client:
    """A client that says exactly what a test tells it to."""

    def __init__(self, socket_: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket_

    async def send(self, type_: str, id_: str | None = None, payload: Any = None) -> None:
        message = {"type": type_, **({"id": id_} if id_ is not None else {})}
        await self.socket.send_json({**message, **({"payload": payload} if payload is not None else {})})

    async def subscribe(self, id_: str, query: str, **variables: Any) -> None:
        await self.send("subscribe", id_, {"query": query, "variables": variables})

    async def read(self) -> Any:
        return await asyncio.wait_for(self.socket.receive_json(), 5)

    async def init(self, payload: dict[str, Any] | None = None) -> None:
        await self.send("connection_init", payload=payload)
        assert await self.read() == {"type": "connection_ack"}

    async def closed(self) -> tuple[int | None, str]:
        """The code and reason that the server ends the connection with; messages before it are passed over."""
        while True:
            message = await asyncio.wait_for(self.socket.receive(), 5)
            if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                return self.socket.close_code, message.extra or ""


@asynccontextmanager
async def connected(server: Server, **headers: str) -> AsyncIterator[Client]:
    async with server.http.ws_connect(server.socket_url, protocols=[PROTOCOL], headers=headers) as socket_:
        yield Client(socket_)


async def until_gone(server: Server) -> None:
    """Wait until no connection and no task of one is left."""
    names: set[str] = set()
    for _ in range(500):
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        if not len(server.sockets) and not any(name.startswith(("Connection.", "Execution.")) for name in names):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left behind: {names}")


async def test_a_subscription_streams_until_it_is_complete(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("a", "subscription ($to: Int!) { count(to: $to) }", to=3)
        for number in range(3):
            assert await client.read() == {"id": "a", "type": "next", "payload": {"data": {"count": number}}}
        assert await client.read() == {"id": "a", "type": "complete"}
        await client.subscribe("a", "subscription { count(to: 0) }")
        assert await client.read() == {"id": "a", "type": "complete"}


async def test_queries_and_mutations_go_over_the_socket_too(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("q", "{ hello missing }")
        answer = await client.read()
        assert (answer["type"], answer["payload"]["data"]) == ("next", {"hello": "Hello, world!", "missing": None})
        assert answer["payload"]["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        assert await client.read() == {"id": "q", "type": "complete"}
        await client.subscribe("m", 'mutation { move(what: "seat") }')
        assert (await client.read())["payload"] == {"data": {"move": "seat"}}
        assert await client.read() == {"id": "m", "type": "complete"}
    assert server.world.moved == ["seat"]


async def test_who_asks_is_said_once_and_holds_for_all(server: Server) -> None:
    bearer = f"Bearer {token(sub='guest-7')}"
    payloads: list[dict[str, Any] | None] = [{"authorization": bearer}, {"Authorization": bearer, "other": 1}]
    for payload in payloads:
        async with connected(server) as client:
            await client.init(payload)
            await client.subscribe("v", "{ viewer }")
            assert (await client.read())["payload"]["data"] == {"viewer": "user:guest-7"}
    async with connected(server, authorization=bearer) as client:
        await client.init()
        await client.subscribe("v", "{ viewer }")
        assert (await client.read())["payload"]["data"] == {"viewer": "user:guest-7"}
    for nobody in (None, {}, {"authorization": None}):
        async with connected(server) as client:
            await client.init(nobody)
            await client.subscribe("v", "{ viewer }")
            assert (await client.read())["payload"]["data"] == {"viewer": None}


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "nonsense", 7, ["Bearer a"], ""])
async def test_a_bad_token_ends_the_connection(authorization: Any, server: Server) -> None:
    async with connected(server) as client:
        await client.send("connection_init", payload={"authorization": authorization})
        code, reason = await client.closed()
        assert code == 4403
        assert reason
        assert "nonsense" not in reason


async def test_a_connection_ends_with_its_token(server: Server) -> None:
    expired = {"authorization": f"Bearer {token(ttl_s=-60)}"}
    async with connected(server) as client:
        await client.send("connection_init", payload=expired)
        assert await client.closed() == (4403, "The token has expired. Get a new one and try again.")
    async with connected(server) as client:
        # Accepted for the five seconds that clocks may differ, of which less than one is left.
        await client.init({"authorization": f"Bearer {token(ttl_s=-3.5)}"})
        await client.subscribe("t", "subscription { ticks { number } }")
        assert await client.closed() == (4403, "The token has expired. Connect again with a new one.")
    await until_gone(server)
    assert server.world.streams == 0


async def test_another_subprotocol_is_refused(server: Server) -> None:
    for protocols in ((), ("graphql-ws",)):
        async with server.http.ws_connect(server.socket_url, protocols=protocols) as socket_:
            code, reason = await Client(socket_).closed()
            assert code == 4406
            assert PROTOCOL in reason


async def test_pages_of_other_origins_are_refused(schema: strawberry.Schema, server: Server) -> None:
    own = server.url.removesuffix("/graphql")
    async with connected(server, origin=own) as client:
        await client.init()
    for origin in ("https://evil.example", "null", "http://127.0.0.1", own + ".evil.example", ""):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await server.http.ws_connect(server.socket_url, protocols=[PROTOCOL], headers={"origin": origin})
        assert caught.value.status == 403
    async with serve(schema, allowed_origins="https://shop.example") as open_:
        async with connected(open_, origin="https://shop.example") as client:
            await client.init()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await open_.http.ws_connect(open_.socket_url, protocols=[PROTOCOL], headers={"origin": "https://evil.example"})


async def test_a_connection_that_does_not_say_who_it_is_times_out(schema: strawberry.Schema) -> None:
    async with serve(schema, socket_init_s=0.05) as server, connected(server) as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_once_it_said_so_there_is_no_time_out(schema: strawberry.Schema) -> None:
    async with serve(schema, socket_init_s=0.05) as server, connected(server) as client:
        await client.init()
        await asyncio.sleep(0.1)
        await client.subscribe("a", "{ hello }")
        assert (await client.read())["type"] == "next"


async def test_operations_before_the_handshake_are_unauthorized(server: Server) -> None:
    async with connected(server) as client:
        await client.subscribe("a", 'mutation { move(what: "a") }')
        assert (await client.closed())[0] == 4401
    assert server.world.moved == []


async def test_a_second_init_is_too_many(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.send("connection_init")
        assert await client.closed() == (4429, "Too many initialisation requests")


async def test_a_second_operation_of_the_same_id_is_one_too_many(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("x", "subscription { ticks { number } }")
        assert (await client.read())["type"] == "next"
        await client.subscribe("x", "{ hello }")
        assert await client.closed() == (4409, "Subscriber for x already exists")
    await until_gone(server)
    assert server.world.streams == 0


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", "null", '"ping"', "{}", '{"type": 1}', '{"type": "start"}', '{"type": "next", "id": "a"}',
        '{"type": "subscribe"}', '{"type": "subscribe", "id": ""}', '{"type": "subscribe", "id": 1, "payload": {}}',
        '{"type": "subscribe", "id": "a"}', '{"type": "subscribe", "id": "a", "payload": []}',
        '{"type": "subscribe", "id": "a", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ hello }", "variables": "x"}}',
        '{"type": "complete"}', '{"type": "ping", "payload": 1}', '{"type": "subscribe", "id": "' + "a" * 256 + '"}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ hello }", "variables": {"a": "\\u0000"}}}',
    ],
)  # fmt: skip
async def test_a_message_that_is_none_ends_the_connection(text: str, server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.socket.send_str(text)
        code, reason = await client.closed()
        assert (code, bool(reason)) == (4400, True)


async def test_binary_messages_and_bad_inits_end_the_connection(server: Server) -> None:
    async with connected(server) as client:
        await client.socket.send_bytes(b'{"type": "connection_init"}')
        assert await client.closed() == (4400, "Messages must be text.")
    async with connected(server) as client:
        await client.send("connection_init", payload=["x"])
        assert (await client.closed())[0] == 4400


async def test_a_message_over_the_limit_ends_the_connection(schema: strawberry.Schema) -> None:
    async with serve(schema, body_limit=2048) as server, connected(server) as client:
        await client.init()
        await client.subscribe("a", "{ hello }" + " " * 3000)
        assert (await client.closed())[0] == 1009


async def test_pings_are_answered_at_any_time_and_pongs_passed_over(server: Server) -> None:
    async with connected(server) as client:
        await client.send("ping")
        assert await client.read() == {"type": "pong"}
        await client.send("ping", payload={"n": 1})
        assert await client.read() == {"type": "pong", "payload": {"n": 1}}
        await client.send("pong", payload={"n": 1})
        await client.init()
        await client.send("complete", "unknown")
        await client.send("ping")
        assert await client.read() == {"type": "pong"}


async def test_what_cannot_be_executed_is_an_error_of_that_id_alone(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        for query in ("{", "{ nothing }", "subscription ($a: Int!) { count(to: $a) }", "subscription { a: nothing }"):
            await client.subscribe("a", query)
            answer = await client.read()
            assert (answer["id"], answer["type"]) == ("a", "error")
            assert answer["payload"][0]["message"]
        await client.subscribe("a", "{ hello }")
        assert (await client.read())["type"] == "next"


async def test_errors_of_a_stream_end_it_and_bugs_are_masked(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("s", "subscription { stale }")
        answer = await client.read()
        assert (answer["type"], answer["payload"][0]["extensions"]) == ("error", {"code": "STALE_CURSOR"})
        with structlog.testing.capture_logs() as logs:
            await client.subscribe("b", "subscription { broken }")
            assert (await client.read())["payload"] == {"data": {"broken": 0}}
            answer = await client.read()
        assert answer["type"] == "error"
        assert (answer["payload"][0]["message"], len(logs)) == ("internal error", 1)
        assert answer["payload"][0]["extensions"]["errorId"] == logs[0]["error_id"]


async def test_each_event_sees_a_context_of_its_own(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("c", "subscription { contexts { number } }")
        numbers = [(await client.read())["payload"]["data"]["contexts"]["number"] for _ in range(2)]
        assert numbers == [2, 3]


async def test_a_completed_subscription_is_closed_and_its_id_is_free(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        for _ in range(3):
            server.world.drained.clear()
            await client.subscribe("x", "subscription { ticks { number } }")
            assert (await client.read())["type"] == "next"
            assert server.world.streams == 1
            await client.send("complete", "x")
            await asyncio.wait_for(server.world.drained.wait(), 5)
            assert server.world.streams == 0
        await client.send("ping")
        assert await client.read() == {"type": "pong"}


async def test_a_query_whose_client_lost_interest_is_cancelled(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("q", "{ slow }")
        await asyncio.wait_for(server.world.entered.wait(), 5)
        await client.send("complete", "q")
        await asyncio.wait_for(server.world.drained.wait(), 5)
        await client.send("ping")
        assert await client.read() == {"type": "pong"}


async def test_a_mutation_runs_to_its_end_though_its_client_lost_interest_or_left(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("m", 'mutation { move(what: "slowly") }')
        await asyncio.wait_for(server.world.entered.wait(), 5)
        await client.send("complete", "m")
        server.world.entered.clear()
        await client.subscribe("n", 'mutation { move(what: "slowly") }')
        await asyncio.wait_for(server.world.entered.wait(), 5)
    assert server.world.moved == []
    server.world.gate.set()
    await asyncio.wait_for(server.world.drained.wait(), 5)
    await until_gone(server)
    assert server.world.moved == ["slowly", "slowly"]


async def test_a_client_that_drops_leaves_nothing_behind(server: Server) -> None:
    for _ in range(3):
        async with connected(server) as client:
            await client.init()
            for number in range(10):
                await client.subscribe(str(number), "subscription { ticks { number } }")
                assert (await client.read())["type"] == "next"
            assert server.world.streams == 10
            client.socket._writer.transport.abort()
        await until_gone(server)
        assert server.world.streams == 0


async def test_operations_over_the_cap_are_refused_and_mutations_given_up_on_count(schema: strawberry.Schema) -> None:
    async with serve(schema, socket_subscriptions=3) as server, connected(server) as client:
        await client.init()
        await client.subscribe("m", 'mutation { move(what: "slowly") }')
        await client.send("complete", "m")
        for number in range(5):
            await client.subscribe(str(number), "subscription { ticks { number } }")
        answers = [await client.read() for _ in range(5)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert sorted(answer["id"] for answer in refused) == ["2", "3", "4"]
        assert refused[0]["payload"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"
        await client.send("complete", "0")
        await asyncio.wait_for(server.world.drained.wait(), 5)
        await client.subscribe("again", "subscription { ticks { number } }")
        assert (await client.read())["type"] == "next"


async def test_a_source_that_gives_up_on_a_slow_reader_ends_the_connection(server: Server) -> None:
    async with connected(server) as client:
        await client.init()
        await client.subscribe("s", "subscription { tooSlow }")
        code, reason = await client.closed()
        assert code == 1013
        assert "resume from your cursor" in reason


async def test_a_client_that_does_not_read_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.transport.connection._LAST_WORDS_S", 0.1)
    async with server.http.ws_connect(server.socket_url, protocols=[PROTOCOL]) as socket_:
        client = Client(socket_)
        await client.init()
        (connection,) = server.sockets._open
        connection.stall_s = 0.2
        socket_._conn.transport.pause_reading()  # type: ignore[union-attr]
        socket_._conn.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # type: ignore[union-attr]
        await client.subscribe("f", "subscription { flood(size: 50000) }")
        await asyncio.wait_for(server.world.drained.wait(), 30)
        await until_gone(server)
        assert server.world.streams == 0
        socket_._conn.transport.abort()  # type: ignore[union-attr]


async def test_stopping_ends_connections_with_going_away_and_waits_for_mutations(server: Server) -> None:
    async with connected(server) as client, connected(server) as other:
        for each in (client, other):
            await each.init()
        await client.subscribe("t", "subscription { ticks { number } }")
        assert (await client.read())["type"] == "next"
        await other.subscribe("m", 'mutation { move(what: "slowly") }')
        server.world.entered.clear()
        await asyncio.wait_for(server.world.entered.wait(), 5)
        stopping = asyncio.create_task(server.sockets.close_all())
        assert await client.closed() == (1001, "The server is stopping. Connect again.")
        assert (await other.closed())[0] == 1001
        assert not stopping.done()
        server.world.gate.set()
        await asyncio.wait_for(stopping, 5)
        assert server.world.moved == ["slowly"]
        assert server.world.streams == 0
        async with connected(server) as late:
            assert (await late.closed())[0] == 1001
    await until_gone(server)


async def test_sockets_that_never_opened_close_at_once() -> None:
    await asyncio.wait_for(Sockets().close_all(), 1)


async def test_a_connection_is_forgotten_when_it_is_gone(server: Server) -> None:
    from resolvers.transport.connection import Connection  # noqa: PLC0415

    for _ in range(5):
        async with connected(server) as client:
            await client.init({"authorization": f"Bearer {token()}"})
            await client.subscribe("a", "subscription { ticks { number } }")
            await client.read()
    await until_gone(server)
    await asyncio.sleep(0.05)
    gc.collect()
    alive = [found for found in gc.get_objects() if isinstance(found, Connection)]
    assert len(alive) <= 1


def test_a_reason_fits_a_close_frame() -> None:
    assert len(fit_reason("ü" * 200).encode()) <= 123
    with pytest.raises(ProtocolViolation) as caught:
        read_message("[]")
    assert caught.value.code is CloseCode.BAD_REQUEST
