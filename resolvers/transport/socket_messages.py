"""The messages of graphql-transport-ws, the protocol of npm `graphql-ws` (its PROTOCOL.md), and its close codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

SUBPROTOCOL: Final = "graphql-transport-ws"
ID_LENGTH: Final = 255
_REASON_BYTES: Final = 123


class CloseCode(IntEnum):
    """Why a connection ends; graphql-ws connects again after 1001, 1013 and 4403."""

    GOING_AWAY = 1001
    MESSAGE_TOO_BIG = 1009
    INTERNAL = 1011
    SLOW_READER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INIT_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429


class ProtocolViolation(Exception):
    """A message that the protocol answers with the end of the connection."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = fit_reason(reason)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a client; `id` is empty where the type has none."""

    type: str
    id: str
    payload: Any


def fit_reason(reason: str) -> str:
    """A reason as a close frame can carry it."""
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")


def read_message(text: str) -> Message:
    """The message in a text frame.

    Raises: ProtocolViolation.
    """
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ProtocolViolation(CloseCode.BAD_REQUEST, "A message is not valid JSON.") from None
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in {"subscribe", "complete"}:
        identity = given.get("id")
        if not isinstance(identity, str) or not 0 < len(identity) <= ID_LENGTH:
            raise ProtocolViolation(
                CloseCode.BAD_REQUEST, f"A `{kind}` message needs an `id` of 1 to {ID_LENGTH} characters."
            )
        return Message(kind, identity, given.get("payload"))
    if kind in {"connection_init", "ping", "pong"}:
        payload = given.get("payload")
        if payload is not None and not isinstance(payload, dict):
            raise ProtocolViolation(CloseCode.BAD_REQUEST, f"The `payload` of `{kind}` must be an object.")
        return Message(kind, "", payload)
    raise ProtocolViolation(CloseCode.BAD_REQUEST, "A message has a `type` that graphql-transport-ws does not know.")


def write_message(kind: str, identity: str | None = None, payload: Any = None) -> str:
    """A message to a client, as text."""
    message: dict[str, Any] = {"type": kind}
    if identity is not None:
        message = {"id": identity, "type": kind}
    if payload is not None:
        message["payload"] = payload
    return orjson.dumps(message).decode()
