"""Sends events to the registered endpoints, signed, again and again until they are taken ("Webhooks")."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from sandbox.stored import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.errors import Json
    from sandbox.faults import Faults
    from sandbox.store import Store

# Seconds after each attempt; Stripe keeps trying for up to three days.
_DELAYS_S: Final = (1, 5, 30, 120, 600, 3_600, 7_200, 14_400, 28_800, 57_600, 57_600, 57_600)
_TIMEOUT_S: Final = 15.0
_AT_ONCE: Final = 64


class Deliveries:
    """The outbox: what is in it is in the store too, and outlives the process."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._heap: list[tuple[float, int, Delivery]] = []
        self._order = 0
        self._waiting: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._flushes: list[tuple[set[int], asyncio.Event]] = []
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._sending: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.is_paused = False
        self.sent = 0

    @property
    def pending(self) -> int:
        """How many deliveries have not been taken yet."""
        return len(self._waiting)

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        connector = aiohttp.TCPConnector(limit=_AT_ONCE, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        for delivery in self._store.deliveries():
            self._push(delivery, delivery.due)
        try:
            while True:
                self._changed.clear()
                await self._slots.acquire()
                due = self._next()
                if due is None:
                    self._slots.release()
                    await self._until_due()
                    continue
                task = asyncio.create_task(self._send(due))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
        finally:
            for task in self._sending:
                task.cancel()
            await self._session.close()

    async def _until_due(self) -> None:
        timeout = None
        if self._heap and not self.is_paused:
            timeout = max(0.0, self._heap[0][0] - time.time())
        # Not wait_for, which loses the end of the sandbox where that comes together with a delivery.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def _next(self) -> Delivery | None:
        if self.is_paused or not self._heap or self._heap[0][0] > time.time():
            return None
        return heapq.heappop(self._heap)[2]

    def _push(self, delivery: Delivery, due: float) -> None:
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, delivery))
        self._waiting[delivery.id] = self._waiting.get(delivery.id, 0) + 1
        self._changed.set()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Send these, which are in the store, as soon as the faults that are set let them."""
        for delivery in deliveries:
            delays = self._faults.draw_webhook().delays_s
            if not delays:
                self._store.forget_delivery(delivery.id)
            for delay in delays:
                self._push(delivery, delivery.due + delay)

    def pause(self) -> None:
        """Hold everything back."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on."""
        self.is_paused = False
        self._changed.set()

    async def flush(self, timeout_s: float) -> int:
        """Try everything once, now, whatever it waits for; what is left is answered after `timeout_s` at the latest."""
        now = time.time()
        self._heap = [(min(due, now), order, delivery) for due, order, delivery in self._heap]
        heapq.heapify(self._heap)
        self._changed.set()
        flush = (set(self._waiting), asyncio.Event())
        if flush[0]:
            self._flushes.append(flush)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(flush[1].wait(), timeout_s)
            self._flushes = [other for other in self._flushes if other is not flush]
        return self.pending

    def _tried(self, id_: int) -> None:
        for waiting, done in self._flushes:
            waiting.discard(id_)
            if not waiting:
                done.set()

    async def _send(self, delivery: Delivery) -> None:
        try:
            endpoint = self._store.row(delivery.endpoint)
            event = self._store.event(delivery.event)
            if endpoint is None or event is None or not endpoint.listed or endpoint.body["status"] != "enabled":
                self._done(delivery)
                return
            if await self._post(endpoint.body, event.body):
                self.sent += 1
                self._done(delivery)
            else:
                self._retry(delivery)
            await self._store.committed()
        finally:
            self._slots.release()
            self._changed.set()

    async def _post(self, endpoint: Json, body: bytes) -> bool:
        assert self._session is not None
        if endpoint["api_version"] is not None:
            body = orjson.dumps({**orjson.loads(body), "api_version": endpoint["api_version"]})
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, endpoint["_secret"], int(time.time())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with self._session.post(endpoint["url"], data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _done(self, delivery: Delivery) -> None:
        left = self._waiting.get(delivery.id, 1) - 1
        if left > 0:
            self._waiting[delivery.id] = left
            return
        self._waiting.pop(delivery.id, None)
        self._store.forget_delivery(delivery.id)
        self._tried(delivery.id)

    def _retry(self, delivery: Delivery) -> None:
        if delivery.attempt > len(_DELAYS_S):
            self._done(delivery)
            return
        due = time.time() + _DELAYS_S[delivery.attempt - 1]
        again = Delivery(delivery.id, delivery.event, delivery.endpoint, delivery.attempt + 1, due)
        self._store.postpone(again)
        self._waiting[delivery.id] -= 1
        self._push(again, due)
        self._tried(delivery.id)


def signature(body: bytes, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` of a body ("Verify webhook signatures manually")."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, sha256).hexdigest()
    return f"t={timestamp},v1={signed}"
