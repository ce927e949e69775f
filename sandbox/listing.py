"""Lists: newest first, by cursor ("Pagination")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.errors import Json, invalid, missing_object
from sandbox.tables import LINKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandbox.operations import Call

_LIMIT: Final = 10
_LIMIT_AT_MOST: Final = 100
_NOT_FILTERS: Final = frozenset({"limit", "starting_after", "ending_before", "expand", "created"})


def list_objects(
    call: Call,
    kind: str,
    url: str,
    *,
    where: Json | None = None,
    matches: Callable[[Json], bool] | None = None,
    filters: tuple[str, ...] = (),
    account: str | None = None,
) -> Json:
    """One page of a kind's objects.

    Args:
        where: fields that must have a value.
        matches: what else must hold.
        filters: parameters that are fields of the same name.
        account: whose objects, if not those of the account that is asked for.
    """
    account = account or call.work.account
    wanted = dict(where or {})
    for name in filters:
        if call.given(name) is not None:
            wanted[name] = call.params[name]
    link = next(((name, str(wanted[name])) for name in LINKS.get(kind, ()) if wanted.get(name) is not None), None)
    limit = limit_of(call)
    after, before = call.given("starting_after"), call.given("ending_before")
    if after and before:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.", "ending_before")
    cursor = None
    if after or before:
        cursor = call.work.store.row(after or before)
        if cursor is None or cursor.account != account or cursor.kind != kind:
            raise missing_object(kind, after or before, "starting_after" if after else "ending_before")
    page: list[Json] = []
    rows = call.work.store.rows(
        account, kind, link=link, after=cursor, newest_first=before is None, created=created_range(call)
    )
    for row in rows:
        if all(row.body.get(name) == value for name, value in wanted.items()) and (
            matches is None or matches(row.body)
        ):
            page.append(row.body)
            if len(page) > limit:
                break
    has_more = len(page) > limit
    page = page[:limit]
    if before is not None:
        page.reverse()
    return as_list(page, url, has_more=has_more)


def as_list(items: Iterable[Json], url: str, *, has_more: bool = False, **fields: Any) -> Json:
    """A list object."""
    return {"object": "list", "data": list(items), "has_more": has_more, **fields, "url": url}


def page_of(call: Call, items: Sequence[Json], url: str) -> Json:
    """One page of what is part of another object, in its order."""
    limit, ids = limit_of(call), [item["id"] for item in items]
    after, before = call.given("starting_after"), call.given("ending_before")
    if after and before:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.", "ending_before")
    for cursor, name in ((after, "starting_after"), (before, "ending_before")):
        if cursor is not None and cursor not in ids:
            raise missing_object(items[0]["object"] if items else "item", cursor, name)
    if before is not None:
        last = ids.index(before)
        first = max(0, last - limit)
        return as_list(items[first:last], url, has_more=first > 0)
    first = ids.index(after) + 1 if after is not None else 0
    return as_list(items[first : first + limit], url, has_more=first + limit < len(items))


def put_first(items: Json, body: Json) -> None:
    """Show an object first in a list that is part of another object, which holds the newest ten."""
    shown = [body, *items["data"]]
    items["has_more"] = items["has_more"] or len(shown) > _LIMIT
    items["data"] = shown[:_LIMIT]


def limit_of(call: Call) -> int:
    """How many are asked for."""
    limit = int(call.param("limit", _LIMIT))
    if not 1 <= limit <= _LIMIT_AT_MOST:
        word = "greater than or equal to 1" if limit < 1 else f"less than or equal to {_LIMIT_AT_MOST}"
        raise invalid(f"Invalid integer: this value must be {word}.", "limit", "parameter_invalid_integer")
    return limit


def created_range(call: Call) -> tuple[int, int]:
    """The first and last second of `created`."""
    return time_range(call, "created")


def time_range(call: Call, name: str) -> tuple[int, int]:
    """The first and last second of a parameter that is one, or a range of them."""
    created = call.given(name)
    if created is None:
        return 0, 2**53
    if not isinstance(created, dict):
        return int(created), int(created)
    bounds = {name: int(value) for name, value in created.items()}
    first = max(bounds.get("gte", 0), bounds.get("gt", -1) + 1)
    last = min(bounds.get("lte", 2**53), bounds.get("lt", 2**53 + 1) - 1)
    return first, last
