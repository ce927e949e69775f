"""An activity is called off, and the server killed three times on the way: each guest is refunded once.

CANCELED_GUESTS says how many have paid, where that is to be more than what a usual run has time for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from services.ledger_check import check_ledger
from tests.e2e.system import eventually, token

if TYPE_CHECKING:
    from tests.e2e.system import System

GUESTS = int(os.environ.get("CANCELED_GUESTS", "200"))
KILLED_AT = (0.1, 0.4, 0.7)
AT_ONCE = 16

ADD_GUESTS = """
INSERT INTO users (id, external_id, email, name)
SELECT gen_random_uuid(), 'guest-' || n, 'guest-' || n || '@example.com', 'Guest ' || n FROM generate_series(1, $1) n
"""
PAY = """mutation ($input: PayForActivityInput!) { payForActivity(input: $input) {
    payment { status } errors { code message } } }"""
CANCEL = """mutation ($input: CancelActivityInput!) { cancelActivity(input: $input) {
    cancellation { id total } errors { code message } } }"""
PREVIEW = """query ($id: ID!) { activityCancellationPreview(activityId: $id) {
    paymentsToRefund totals { guestsReceive { minorUnits } } } }"""
CANCELLATION = """query ($id: ID!) { activity(id: $id) { seatsTaken cancellation {
    status total done failed refunded { minorUnits } items(outcome: FAILED) { edges { node { error } } } } } }"""
CHANGES = """subscription ($id: ID!, $after: String) { activityCancellationChanged(activityId: $id, after: $after) {
    cursor previousStatus status total done failed } }"""


class Follower:
    """Somebody who watches, is cut off with each kill, and goes on from the last that they saw."""

    def __init__(self, system: System, activity: str) -> None:
        self.system = system
        self.activity = activity
        self.seen: list[dict[str, Any]] = []
        self.connections = 0

    @property
    def done(self) -> float:
        """The part that has been dealt with, as far as is seen."""
        return self.seen[-1]["done"] / self.seen[-1]["total"] if self.seen else 0.0

    async def follow(self) -> None:
        """Until it is finished."""
        while not self.seen or self.seen[-1]["status"] != "FINISHED":
            try:
                await self._listen()
            except (OSError, WebSocketException):
                await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        url = f"ws://127.0.0.1:{self.system.port}/graphql"
        async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            payload = {"authorization": f"Bearer {token('service')}"}
            await socket.send(orjson.dumps({"type": "connection_init", "payload": payload}).decode())
            await socket.recv()
            self.connections += 1
            variables = {"id": self.activity, "after": self.seen[-1]["cursor"] if self.seen else None}
            query = {"query": CHANGES, "variables": variables}
            await socket.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": query}).decode())
            async for received in socket:
                message = orjson.loads(received)
                assert message["type"] == "next", message
                self.seen.append(message["payload"]["data"]["activityCancellationChanged"])
                if self.seen[-1]["status"] == "FINISHED":
                    return


async def everybody_pays(system: System, activity: str) -> None:
    """Each guest for one seat."""
    connection = await asyncpg.connect(system.database_url)
    await connection.execute(ADD_GUESTS, GUESTS)
    await connection.close()
    room = asyncio.Semaphore(AT_ONCE)

    async def pay(number: int) -> None:
        wanted = {"activityId": activity, "paymentMethod": "pm_card_bypassPending", "idempotencyKey": str(uuid4())}
        async with room:
            answer = (await system.ask(f"guest-{number}", PAY, input=wanted))["payForActivity"]
        assert (answer["errors"], answer["payment"]["status"]) == ([], "SUCCEEDED")

    async with asyncio.TaskGroup() as group:
        for number in range(1, GUESTS + 1):
            group.create_task(pay(number))


async def kill_and_start(system: System) -> None:
    """SIGKILL, in the middle of it."""
    assert await system.processes[-1].stop(signal.SIGKILL) == -signal.SIGKILL
    await start(system)


async def start(system: System) -> None:
    await system.start(PAYDESK_CANCELLATION_EVERY_S="0.2")


async def refunds_at_stripe(system: System) -> Counter[str]:
    """How often each payment intent was refunded whole."""
    found: Counter[str] = Counter()
    after: dict[str, str] = {}
    while True:
        page = await system.stripe("GET", "/v1/refunds", {"limit": "100", **after})
        for refund in page["data"]:
            assert (refund["status"], refund["amount"]) == ("succeeded", 2000)
            found[refund["payment_intent"]] += 1
        if not page["has_more"]:
            return found
        after = {"starting_after": page["data"][-1]["id"]}


@pytest.mark.timeout(max(120, GUESTS))
async def test_everybody_is_refunded_once_though_the_server_is_killed_three_times(system: System) -> None:
    await start(system)
    await system.host()
    activity = await system.activity(capacity=None, price="20.00")
    began = time.monotonic()
    await everybody_pays(system, activity)
    paid = time.monotonic()
    preview = (await system.ask("service", PREVIEW, id=activity))["activityCancellationPreview"]
    assert preview["paymentsToRefund"] == GUESTS
    follower = Follower(system, activity)
    following = asyncio.create_task(follower.follow())
    await eventually(lambda: _is_connected(follower))
    wanted = {"activityId": activity}
    begun = (await system.ask("service", CANCEL, input=wanted))["cancelActivity"]
    assert (begun["errors"], begun["cancellation"]["total"]) == ([], GUESTS)

    for part in KILLED_AT:
        async with asyncio.timeout(GUESTS):
            while follower.done < part:  # noqa: ASYNC110 - another process moves
                await asyncio.sleep(0.01)
        assert follower.done < 1
        await kill_and_start(system)
        again = (await system.ask("service", CANCEL, input=wanted))["cancelActivity"]
        assert again["cancellation"]["id"] == begun["cancellation"]["id"]
    async with asyncio.timeout(GUESTS):
        await following
    ended = time.monotonic()

    shown = (await system.ask("service", CANCELLATION, id=activity))["activity"]
    assert shown["seatsTaken"] == 0
    cancellation = shown["cancellation"]
    assert (cancellation["status"], cancellation["total"], cancellation["done"]) == ("FINISHED", GUESTS, GUESTS)
    assert (cancellation["failed"], cancellation["items"]["edges"]) == (0, [])
    [totals] = preview["totals"]
    assert cancellation["refunded"] == [totals["guestsReceive"]] == [{"minorUnits": 2000 * GUESTS}]

    refunds = await refunds_at_stripe(system)
    assert (len(refunds), set(refunds.values())) == (GUESTS, {1})
    await check_here(system)
    # Followed through all of it: nothing twice, nothing back, from the beginning to the end.
    assert follower.connections == 1 + len(KILLED_AT)
    assert len({change["cursor"] for change in follower.seen}) == len(follower.seen)
    done = [change["done"] for change in follower.seen]
    assert (done[0], done[-1]) == (0, GUESTS)
    assert done == sorted(set(done))
    print(f"{GUESTS} paid in {paid - began:.1f} s; refunded in {ended - paid:.1f} s, {len(done)} changes told")


async def _is_connected(follower: Follower) -> bool:
    await asyncio.sleep(0.2)
    return follower.connections == 1


async def check_here(system: System) -> None:
    """What holds here once nothing is under way."""
    connection = await asyncpg.connect(system.database_url)

    async def rests() -> bool:
        return not await connection.fetchval("SELECT EXISTS (SELECT FROM operations WHERE status = 'RUNNING')")

    try:
        await eventually(rests)
        counted = await connection.fetch("SELECT status, count(*) AS number FROM payments GROUP BY status")
        assert [tuple(record) for record in counted] == [("REFUNDED", GUESTS)]
        assert await connection.fetchval("SELECT count(*) FROM refunds") == GUESTS
        assert await connection.fetchval("SELECT count(*) FROM rsvps WHERE status = 'CANCELED'") == GUESTS
        assert (await check_ledger(connection)).findings == []
    finally:
        await connection.close()
