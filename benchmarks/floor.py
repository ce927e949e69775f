"""The floor: a payment's two commits and one call to Stripe, and nothing else. No GraphQL, no ORM, no rules.

Raw ASGI on uvicorn, httptools and uvloop, asyncpg, natural batching: the cheapest honest way to do what a payment must
do to survive a crash. What Paydesk costs above it is what its rules, ledger, audit, events and API cost.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import uvicorn
import uvloop
from uuid_utils.compat import uuid7

from benchmarks.wire import Connections, request

TABLES = """
CREATE TABLE floor_payments (
    id uuid PRIMARY KEY, key text UNIQUE NOT NULL, amount_minor bigint NOT NULL, status text NOT NULL, intent text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE floor_events (id uuid PRIMARY KEY, payment_id uuid NOT NULL, status text NOT NULL, intent text NOT NULL);
"""
RESERVE = """
INSERT INTO floor_payments (id, key, amount_minor, status)
SELECT id, key, 2000, 'PENDING' FROM unnest($1::uuid[], $2::text[]) AS v(id, key) ON CONFLICT DO NOTHING RETURNING id
"""
SETTLE = """
WITH paid AS (
    UPDATE floor_payments p SET status = v.status, intent = v.intent
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS v(id, status, intent) WHERE p.id = v.id
    RETURNING p.id, p.status, p.intent
)
INSERT INTO floor_events SELECT gen_random_uuid(), id, status, intent FROM paid
"""
FORM = (
    "amount=2000&currency=usd&customer=cus_benchmark&payment_method=pm_card_visa&confirm=true"
    "&application_fee_amount=200&transfer_data[destination]=acct_benchmark"
    "&expand[0]=latest_charge.balance_transaction&metadata[payment_id]={id}&metadata[operation_id]={id}"
)


class Batch:
    """Rows that come while a statement is under way leave together in the next one, on a connection of its own."""

    def __init__(self, url: str, sql: str) -> None:
        self._url, self._sql = url, sql
        self._rows: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._idle: list[Any] = []

    async def open(self, lanes: int) -> None:
        for _ in range(lanes):
            self._idle.append(await (await asyncpg.connect(self._url)).prepare(self._sql))

    def add(self, *row: Any) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._rows.append((row, done))
        if self._idle:
            self._task = asyncio.create_task(self._write(self._idle.pop()))
        return done

    async def _write(self, statement: Any) -> None:
        while self._rows:
            batch, self._rows = self._rows, []
            await statement.fetch(*([row[i] for row, _ in batch] for i in range(len(batch[0][0]))))
            for _, done in batch:
                done.set_result(None)
        self._idle.append(statement)


class Floor:
    """The ASGI application."""

    def __init__(self, reserve: Batch, settle: Batch, stripe: Connections) -> None:
        self.reserve, self.settle, self.stripe = reserve, settle, stripe

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        key = orjson.loads(body)["variables"]["input"]["idempotencyKey"]
        id_ = uuid7()
        await self.reserve.add(id_, key)
        form = FORM.format(id=id_).encode()
        _, answer = await self.stripe.send(
            request(
                "POST", "/v1/payment_intents", self.stripe.host, form, "authorization: Bearer sk_test_benchmark",
                "content-type: application/x-www-form-urlencoded", f"idempotency-key: {id_}",
            )
        )  # fmt: skip
        intent = orjson.loads(answer)
        await self.settle.add(id_, intent["status"].upper(), intent["id"])
        payment = {"id": str(id_), "status": intent["status"].upper(), "clientSecret": intent["client_secret"]}
        answer = orjson.dumps({"data": {"payForActivity": {"payment": payment, "errors": []}}})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def serve() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--stripe", required=True)
    arguments = parser.parse_args()
    connection = await asyncpg.connect(arguments.database)
    await connection.execute(TABLES)
    await connection.close()
    reserve, settle = Batch(arguments.database, RESERVE), Batch(arguments.database, SETTLE)
    await reserve.open(2)
    await settle.open(2)
    where = urlsplit(arguments.stripe)
    app = Floor(reserve, settle, Connections(where.hostname or "", where.port or 80))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, http="httptools", lifespan="off", log_config=None, access_log=False, server_header=False, backlog=4096
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(serve())
