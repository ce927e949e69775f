"""A server that answers as a test says: for what no real server can be made to do."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class Answer:
    """What is answered; the connection is cut `before` the request is read, after it, or `halfway` through."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""
    delay_s: float = 0


@dataclass(slots=True)
class ScriptedServer:
    """Answers in the order of `answers`, and with an empty object when they have run out."""

    url: str = ""
    answers: deque[Answer] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def will(self, *answers: Answer) -> None:
        """Answer this next."""
        self.answers.extend(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.strip().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(method, path, headers, body.decode()))
        answer = self.answers.popleft() if self.answers else Answer()
        await asyncio.sleep(answer.delay_s)
        if answer.cut == "after":
            writer.transport.abort()
            return False
        content = answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
        more = {"content-type": "application/json", "request-id": f"req_{len(self.received)}", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} X", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        if answer.cut == "halfway":
            writer.write(content[: len(content) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(content)
        await writer.drain()
        return True


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """One on a port of its own."""
    scripted = ScriptedServer()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        await asyncio.sleep(0)
