"""HTTP/1.1 by hand, for the parts of a benchmark that must cost little beside what is measured."""

from __future__ import annotations

import asyncio
from collections import deque


def body_of(buffer: bytes) -> tuple[bytes, int] | None:
    """The head of the first message in the buffer and where that message ends; None while it is not whole."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head = buffer[:head_end]
    at = head.lower().find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    end = head_end + 4 + length
    return (head, end) if len(buffer) >= end else None


def request(method: str, path: str, host: str, body: bytes, *headers: str) -> bytes:
    """A request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def response(body: bytes, *headers: str) -> bytes:
    """A 200's bytes."""
    lines = ["HTTP/1.1 200 OK", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Connection(asyncio.Protocol):
    """A keep-alive connection of a client: one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiting: asyncio.Future[tuple[bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, chunk: bytes) -> None:
        self._buffer += chunk
        found = body_of(self._buffer)
        if found is None or self._waiting is None or self._waiting.done():
            return
        head, end = found
        whole, self._buffer = self._buffer[:end], self._buffer[end:]
        self._waiting.set_result((head, whole[len(head) + 4 :]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionResetError("closed"))

    async def send(self, message: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Connections:
    """As many connections to one place as are in use at the same time."""

    def __init__(self, host: str, port: int) -> None:
        self.host = f"{host}:{port}"
        self._address = host, port
        self._idle: deque[Connection] = deque()

    async def send(self, message: bytes) -> tuple[bytes, bytes]:
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        answer = await connection.send(message)
        self._idle.append(connection)
        return answer
