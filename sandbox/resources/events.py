"""What has happened, for 30 days ("The Event object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from sandbox.errors import Json, invalid, missing_object
from sandbox.listing import as_list, created_range, limit_of
from sandbox.operations import Call, Operation

if TYPE_CHECKING:
    from sandbox.stored import EventRow

_KEPT_S: Final = 30 * 86_400
_TYPES: Final = 20


def _shown(call: Call, event: EventRow) -> Json:
    body: Json = orjson.loads(event.body)
    body["pending_webhooks"] = call.work.store.pending_deliveries(event.id)
    return body


def retrieve(call: Call) -> Json:
    """ "Retrieve an event"."""
    event = call.work.store.event(call.path["id"])
    if event is None or event.account != call.work.account:
        raise missing_object("event", call.path["id"], "id", in_path=True)
    return _shown(call, event)


def list_(call: Call) -> Json:
    """ "List all events"."""
    types = call.given("types") or []
    if types and call.given("type"):
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    if len(types) > _TYPES:
        raise invalid(f"You may pass up to {_TYPES} event types.", "types")
    after, before = call.given("starting_after"), call.given("ending_before")
    store = call.work.store
    for name in ("starting_after", "ending_before"):
        cursor = call.given(name)
        known = store.event(cursor) if cursor else None
        if cursor and (known is None or known.account != call.work.account):
            raise missing_object("event", cursor, name)
    first, last = created_range(call)
    limit = limit_of(call)
    found = store.events(
        call.work.account,
        globs=[*types, *([call.params["type"]] if call.given("type") else [])],
        after=after or before,
        newest_first=before is None,
        created=(first, last),
        kept_since=call.work.wall - _KEPT_S,
        limit=limit + 1,
    )
    page = found[:limit]
    if before is not None:
        page.reverse()
    delivered = call.given("delivery_success")
    bodies = [_shown(call, event) for event in page]
    if delivered is not None:
        bodies = [body for body in bodies if (body["pending_webhooks"] == 0) == delivered]
    return as_list(bodies, "/v1/events", has_more=len(found) > limit)


OPERATIONS = (
    Operation("GET", "/v1/events", list_, "event_list"),
    Operation("GET", "/v1/events/{id}", retrieve, "event_retrieve"),
)
