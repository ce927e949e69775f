"""A subscriber that is cut off at random, and goes on at another process, sees each change once and in order."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from websockets.asyncio.client import connect

from tests.e2e.system import token
from tests.support.postgres import free_port

if TYPE_CHECKING:
    from tests.e2e.system import System

PAYMENTS = 30
CHANGES = """subscription ($after: String) { viewerPaymentStatusChanged(after: $after) {
  cursor previousStatus status payment { id }
} }"""
PAY = """
mutation ($input: PayForActivityInput!) { payForActivity(input: $input) { payment { id } errors { code message } } }"""
HISTORY = """query ($id: ID!) { payment(id: $id) { status history(first: 100) { edges { node {
  cursor previousStatus status payment { id }
} } } } }"""
PAID = "{ payments(first: 100) { totalCount edges { node { id status } } } }"


async def listen(port: int, after: str | None, count: int, whole_s: float) -> list[dict[str, Any]]:
    """What a subscriber hears until it has so many changes, or its time is over."""
    heard: list[dict[str, Any]] = []
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        payload = {"authorization": f"Bearer {token('guest')}"}
        await socket.send(orjson.dumps({"type": "connection_init", "payload": payload}).decode())
        await socket.recv()
        query = {"query": CHANGES, "variables": {"after": after}}
        await socket.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": query}).decode())
        try:
            async with asyncio.timeout(whole_s):
                while len(heard) < count:
                    message = orjson.loads(await socket.recv())
                    assert message["type"] == "next", message
                    heard.append(message["payload"]["data"]["viewerPaymentStatusChanged"])
        except TimeoutError:
            pass
    return heard


async def test_each_change_is_seen_once_and_in_order(system: System) -> None:
    ports = [system.port, free_port()]
    for port in ports:
        await system.start(port=port)
    await system.host()
    await system.user("guest")
    activity = await system.activity(capacity=None)
    first = await pay(system, activity, ports[0], "pm_card_visa")
    after = (await history(system, first))[-1]["cursor"]
    chance = random.Random(7)
    heard: list[dict[str, Any]] = []

    async def subscribe() -> None:
        nonlocal after
        while True:
            for change in await listen(chance.choice(ports), after, chance.randint(1, 7), chance.uniform(0.05, 0.6)):
                heard.append(change)
                after = change["cursor"]

    listening = asyncio.create_task(subscribe())
    methods = ("pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired")
    async with asyncio.TaskGroup() as group:
        for number in range(PAYMENTS):
            group.create_task(pay(system, activity, chance.choice(ports), methods[number % 3]))
    listed = (await system.ask("guest", PAID))["payments"]
    assert listed["totalCount"] == PAYMENTS + 1
    told = [
        change
        for edge in listed["edges"]
        for change in await history(system, edge["node"]["id"])
        if edge["node"]["id"] != first
    ]
    async with asyncio.timeout(20):
        while len(heard) < len(told):  # noqa: ASYNC110 - the last may be on its way
            await asyncio.sleep(0.05)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert len({change["cursor"] for change in heard}) == len(heard)
    assert {change["cursor"] for change in heard} == {change["cursor"] for change in told}
    for edge in listed["edges"]:
        if edge["node"]["id"] != first:
            mine = [change for change in heard if change["payment"]["id"] == edge["node"]["id"]]
            assert mine == await history(system, edge["node"]["id"])


async def pay(system: System, activity: str, port: int, method: str) -> str:
    wanted = {"activityId": activity, "paymentMethod": method, "idempotencyKey": str(uuid4())}
    answer = await system.ask("guest", PAY, port=port, input=wanted)
    return str(answer["payForActivity"]["payment"]["id"])


async def history(system: System, payment: str) -> list[dict[str, Any]]:
    found = (await system.ask("guest", HISTORY, id=payment))["payment"]
    return [edge["node"] for edge in found["history"]["edges"]]
