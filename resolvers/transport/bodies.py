"""Bodies of requests: read up to a limit, and those that carry evidence for a dispute up to one of their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from resolvers.transport.parameters import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive

_EVIDENCE: Final = b"submitDisputeEvidence"
# What bounds the memory that they take, together with their limit.
_LARGE_AT_ONCE: Final = 4
# For a turn, and from there for the rest of the body: nobody keeps the others' place by sending slowly.
_LARGE_S: Final = 30.0


class BodyTooLarge(Exception):
    """A body over its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than the limit of {limit} bytes.")


class BodyTooSlow(Exception):
    """A large body that did not come in time, or found too many others before it."""

    def __init__(self) -> None:
        super().__init__("Too many large bodies are on their way, or this one is too slow. Try again.")


class Bodies:
    """Reads bodies, a few large ones at once."""

    def __init__(self, *, limit: int, evidence_limit: int) -> None:
        """
        Args:
            limit: bytes of a body at most.
            evidence_limit: the same of one that names `submitDisputeEvidence`, wherever it does: clients differ in
                whether the document or its variables come first.
        """
        self.limit = limit
        self._evidence_limit = max(limit, evidence_limit)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    @asynccontextmanager
    async def read(self, declared: str, receive: Receive, *, known: bool) -> AsyncIterator[bytes]:
        """A body; a large one keeps its place among them until it is done with.

        Args:
            declared: the `Content-Length`, if any.
            known: whether it is known who sends it: nobody else has large ones.

        Raises: BodyTooLarge; BodyTooSlow; MalformedRequest.
        """
        most = self._evidence_limit if known else self.limit
        if declared.isdigit() and int(declared) > most:
            raise BodyTooLarge(most)
        async with AsyncExitStack() as place:
            incoming = _Incoming(receive)
            if not await incoming.read_to(self.limit):
                if not known:
                    raise BodyTooLarge(self.limit)
                await self._read_on(incoming, place)
            yield b"".join(incoming.chunks)

    async def _read_on(self, incoming: _Incoming, place: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(_LARGE_S):
                await place.enter_async_context(self._large)
            async with asyncio.timeout(_LARGE_S):
                whole = await incoming.read_to(self._evidence_limit)
        except TimeoutError:
            raise BodyTooSlow from None
        if not whole:
            raise BodyTooLarge(self._evidence_limit)
        if _EVIDENCE not in b"".join(incoming.chunks):
            raise BodyTooLarge(self.limit)


class _Incoming:
    """What has come of a body so far."""

    def __init__(self, receive: Receive) -> None:
        self.chunks: list[bytes] = []
        self._receive = receive
        self._size = 0
        self._ended = False

    async def read_to(self, limit: int) -> bool:
        """Read on until it ends or goes over the limit; whether it is within.

        Raises: MalformedRequest where it ends early.
        """
        while not self._ended and self._size <= limit:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise MalformedRequest("The body ended early.")
            chunk = message.get("body", b"")
            self._size += len(chunk)
            self.chunks.append(chunk)
            self._ended = not message.get("more_body")
        return self._size <= limit
