"""What the store keeps: objects, answers, events, deliveries, and what is to happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json


@dataclass(slots=True)
class Row:
    """An object as stored; `body` may hold hidden fields, which begin with an underscore."""

    seq: int
    account: str
    kind: str
    created: int
    listed: bool
    body: Json


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """What an idempotency key was answered with."""

    request: str
    status: int
    body: bytes
    request_id: str
    created: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event as it is delivered.

    Attributes:
        created: when it happened, in real time.
        clock_time: what it says itself, where that is a test clock's time.
    """

    id: str
    account: str
    type: str
    created: int
    body: bytes
    clock_time: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event that one endpoint has yet to get; `attempt` counts from 1, `due` is in seconds since the epoch."""

    id: int
    event: str
    endpoint: str
    attempt: int
    due: float


@dataclass(frozen=True, slots=True)
class Timer:
    """Something that happens by itself later, as a bank's answer to a debit.

    Attributes:
        clock: the test clock that `due` is of, empty for what was scheduled in real time; None for what only takes
            time, which nothing can call off.
    """

    id: int
    due: float
    account: str
    action: str
    subject: str
    clock: str | None = None
