"""Drives a server in a closed loop: so many clients, each sending its next request when the last one is answered.

A process of its own: it is told what to do as JSON on standard input, says `warm`, begins when a line comes, and prints
what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.stripe_stub import TEMPLATE, as_in_events, event, webhook
from benchmarks.wire import Connection, request

PAY = """
mutation Pay($input: PayForActivityInput!) {
  payForActivity(input: $input) {
    payment {
      id status version amount { amount currency } stripePaymentIntentId clientSecret nextAction { type redirectUrl }
    }
    errors { code message path }
  }
}
"""


class Payments:
    """Guests who pay, each time with a key of its own."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.where = urlsplit(spec["url"])
        self.tokens, self.activities = spec["tokens"], spec["activities"]
        self.numbers = itertools.count()
        self.run = f"{os.getpid()}-{time.time_ns()}"

    def next(self) -> bytes:
        number = next(self.numbers)
        key = {"activityId": self.activities[number % len(self.activities)], "idempotencyKey": f"{self.run}-{number}"}
        variables = {"input": {"quantity": 1, "paymentMethod": "pm_card_visa", **key}}
        body = json.dumps({"query": PAY, "variables": variables, "operationName": "Pay"}).encode()
        return request(
            "POST", self.where.path or "/", self.where.netloc, body, "content-type: application/json",
            "accept: application/graphql-response+json, application/json", "accept-language: en-GB,en;q=0.9",
            f"authorization: Bearer {self.tokens[number % len(self.tokens)]}",
        )  # fmt: skip

    good = b'"status":"SUCCEEDED"'


class Webhooks:
    """Stripe, sending events of payments that nobody has heard of."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.url, self.secret = spec["url"], spec["secret"]
        text = TEMPLATE.read_text().replace("@PAYMENT@", "none").replace("@OPERATION@", "none")
        self.intent, _ = as_in_events(json.loads(text))
        self.numbers = itertools.count()
        self.run = f"{os.getpid()}{time.time_ns()}"

    def next(self) -> bytes:
        number = f"{self.run}{next(self.numbers)}"
        return webhook(self.url, self.secret, event(number, "payment_intent.succeeded", self.intent))

    good = b'"received":true'


async def drive(spec: dict[str, Any]) -> dict[str, Any]:
    source = {"payments": Payments, "webhooks": Webhooks}[spec["kind"]](spec)
    where = urlsplit(spec["url"])
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(spec["concurrency"]):
        _, connection = await loop.create_connection(Connection, where.hostname, where.port)
        connections.append(connection)
    took: list[float] = []
    bad: list[str] = []

    async def client(connection: Connection, until: float) -> None:
        while True:
            message, started = source.next(), time.perf_counter()
            head, body = await connection.send(message)
            took.append(time.perf_counter() - started)
            if source.good not in body:
                bad.append((head + body).decode(errors="replace")[:500])
            if time.perf_counter() >= until:
                return

    await asyncio.gather(*(client(connection, time.perf_counter() + 0.2) for connection in connections))
    took.clear()
    print("warm", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    started = time.perf_counter()
    await asyncio.gather(*(client(connection, started + spec["seconds"]) for connection in connections))
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    took.sort()
    return {
        "count": len(took), "seconds": seconds, "bad": len(bad), "first_bad": bad[:1],
        "p50_ms": 1000 * took[len(took) // 2], "p95_ms": 1000 * took[int(0.95 * (len(took) - 1))],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(uvloop.run(drive(json.loads(sys.stdin.readline())))), flush=True)
