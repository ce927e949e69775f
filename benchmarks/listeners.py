"""Follows payments over websockets (graphql-transport-ws): so many subscribers, one to a connection, in one process.

Told what to do as `benchmarks.load` is; it listens until a second line comes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import uvloop

FOLLOW = """
subscription Follow($activityId: ID!) {
  activityPaymentStatusChanged(activityId: $activityId) {
    cursor previousStatus status occurredAt payment { id amount { amount currency } }
  }
}
"""


def frame(text: str) -> bytes:
    """A masked text frame (RFC 6455, section 5)."""
    payload, mask = text.encode(), os.urandom(4)
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + struct.pack("!H", size)
    return b"\x81" + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Subscriber(asyncio.Protocol):
    """One websocket with one subscription."""

    def __init__(self, spec: dict[str, Any], number: int, seen: list[float]) -> None:
        self.spec, self.number, self.seen = spec, number, seen
        self.buffer = b""
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        where = urlsplit(self.spec["url"])
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {where.path} HTTP/1.1\r\nhost: {where.netloc}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n"
            "sec-websocket-protocol: graphql-transport-ws\r\n\r\n".encode()
        )
        self.shaken = False

    def data_received(self, chunk: bytes) -> None:
        self.buffer += chunk
        if not self.shaken:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head, head
            self.buffer, self.shaken = rest, True
            token = self.spec["tokens"][0]
            self._say({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        while (message := self._frame()) is not None:
            self._take(message)

    def _frame(self) -> bytes | None:
        if len(self.buffer) < 2:
            return None
        size, start = self.buffer[1] & 0x7F, 2
        if size == 126:
            size, start = struct.unpack("!H", self.buffer[2:4].ljust(2, b"\0"))[0], 4
        if len(self.buffer) < start + size:
            return None
        message, self.buffer = self.buffer[start : start + size], self.buffer[start + size :]
        return message

    def _take(self, message: bytes) -> None:
        if b'"next"' in message:
            at = message.find(b'"occurredAt":"') + 14
            occurred = datetime.fromisoformat(message[at : message.find(b'"', at)].decode())
            self.seen.append(time.time() - occurred.timestamp())
        elif b'"connection_ack"' in message:
            activities = self.spec["activities"]
            variables = {"activityId": activities[self.number % len(activities)]}
            self._say({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW, "variables": variables}})
            self.ready.set_result(None)
        elif b'"ping"' in message:
            self._say({"type": "pong"})
        elif b'"error"' in message:
            print(message.decode(), file=sys.stderr)

    def _say(self, message: dict[str, Any]) -> None:
        self.transport.write(frame(json.dumps(message)))


async def follow(spec: dict[str, Any]) -> dict[str, Any]:
    where = urlsplit(spec["url"])
    seen: list[float] = []
    loop = asyncio.get_running_loop()
    for number in range(spec["subscribers"]):
        _, subscriber = await loop.create_connection(
            lambda number=number: Subscriber(spec, number, seen), where.hostname, where.port
        )
        await subscriber.ready
    await asyncio.sleep(0.5)  # a subscription that has begun says nothing
    print("warm", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    seen.clear()
    await asyncio.to_thread(sys.stdin.readline)
    lags = sorted(seen) or [0.0]
    return {
        "deliveries": len(seen), "lag_p50_ms": 1000 * lags[len(lags) // 2],
        "lag_p95_ms": 1000 * lags[int(0.95 * (len(lags) - 1))],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(uvloop.run(follow(json.loads(sys.stdin.readline())))), flush=True)
