"""A stand-in for Stripe that only answers: every payment of 20 USD succeeds, after a set time.

It keeps nothing but what it made, checks nothing, and costs a twentieth of a millisecond a call, so that what is
measured is Paydesk. With a webhook address it also sends the events that follow a payment, signed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import uvloop

from benchmarks.wire import Connections, body_of, request, response

API_VERSION = "2026-10-28.endive"
TEMPLATE = Path(__file__).with_name("payment_intent.json")


def webhook(url: str, secret: str, payload: bytes) -> bytes:
    """A signed webhook request ("Check the webhook signatures")."""
    parts, now = urlsplit(url), int(time.time())
    signature = hmac.new(secret.encode(), b"%d.%b" % (now, payload), hashlib.sha256).hexdigest()
    return request(
        "POST", parts.path, parts.netloc, payload, "content-type: application/json",
        f"stripe-signature: t={now},v1={signature}",
    )  # fmt: skip


def event(number: str, type_: str, thing: dict[str, object]) -> bytes:
    """The body of one of Stripe's events."""
    return json.dumps(
        {
            "id": f"evt_{number}", "object": "event", "api_version": API_VERSION, "created": int(time.time()),
            "data": {"object": thing}, "livemode": False, "pending_webhooks": 1,
            "request": {"id": f"req_{number}", "idempotency_key": None}, "type": type_,
        }
    ).encode()  # fmt: skip


def as_in_events(intent: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """A payment intent and its charge as events carry them: nothing is expanded."""
    charge = {key: _id(value) for key, value in dict(intent["latest_charge"]).items()}  # type: ignore[call-overload]
    return {**intent, "latest_charge": charge["id"]}, charge


def _id(value: object) -> object:
    return value["id"] if isinstance(value, dict) and "id" in value else value


class Stripe:
    """What it made, and where it sends events to."""

    def __init__(self, latency_s: float, webhook_url: str | None, secret: str) -> None:
        self.latency_s = latency_s
        self.template = json.dumps(json.loads(TEMPLATE.read_text()), separators=(",", ":")).encode()
        self.made: dict[str, bytes] = {}
        self.numbers = (f"{int(time.time())}{number:010d}" for number in itertools.count())
        self.calls: dict[str, int] = {}
        self.url, self.secret = webhook_url, secret
        self.events: asyncio.Queue[bytes] = asyncio.Queue()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        resource = path.split("/")[2] if path.startswith("/v1/") else path
        self.calls[f"{method} {resource}"] = self.calls.get(f"{method} {resource}", 0) + 1
        if path == "/calls":
            return json.dumps(self.calls).encode()
        if method == "POST" and resource == "payment_intents":
            form = parse_qs(body.decode())
            number = next(self.numbers)
            intent = (
                self.template.replace(b"@N@", number.encode())
                .replace(b"@PAYMENT@", form["metadata[payment_id]"][0].encode())
                .replace(b"@OPERATION@", form["metadata[operation_id]"][0].encode())
            )
            self.made[f"pi_{number}"] = intent
            if self.url:
                self.tell(intent, number)
            return intent
        if resource == "payment_intents":
            return self.made[path.split("/")[3].split("?", maxsplit=1)[0]]
        if method == "POST":
            return json.dumps({"id": f"obj_{next(self.numbers)}", "object": resource[:-1]}).encode()
        return b'{"object":"list","data":[],"has_more":false,"url":"/v1"}'

    def tell(self, body: bytes, number: str) -> None:
        intent, charge = as_in_events(json.loads(body))
        for type_, thing in (
            ("payment_intent.created", intent), ("charge.succeeded", charge), ("payment_intent.succeeded", intent),
            ("charge.updated", charge),
        ):  # fmt: skip
            self.events.put_nowait(event(f"{number}{type_}", type_, thing))

    async def send_events(self) -> None:
        assert self.url is not None
        parts = urlsplit(self.url)
        connections = Connections(parts.hostname or "", parts.port or 80)
        while True:
            payload = await self.events.get()
            await connections.send(webhook(self.url, self.secret, payload))


class Protocol(asyncio.Protocol):
    def __init__(self, stripe: Stripe) -> None:
        self.stripe = stripe
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, chunk: bytes) -> None:
        self.buffer += chunk
        while (found := body_of(self.buffer)) is not None:
            head, end = found
            body, self.buffer = self.buffer[len(head) + 4 : end], self.buffer[end:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            answer = response(self.stripe.answer(method, path, body), "request-id: req_benchmark")
            asyncio.get_running_loop().call_later(self.stripe.latency_s, self.transport.write, answer)  # type: ignore[attr-defined]


async def serve() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--webhook")
    parser.add_argument("--webhook-secret", default="")
    arguments = parser.parse_args()
    stripe = Stripe(arguments.latency_ms / 1000, arguments.webhook, arguments.webhook_secret)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(stripe), "127.0.0.1", 0, backlog=4096)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.gather(server.serve_forever(), *(stripe.send_events() for _ in range(16 if stripe.url else 0)))


if __name__ == "__main__":
    uvloop.run(serve())
