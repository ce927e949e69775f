"""Connections ("Relay Cursor Connections"): pages of lists, newest first unless said otherwise."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

import strawberry

from schema.described import object_type
from services.errors import InvalidInput
from services.pages import PageRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.pages import Page

Item = TypeVar("Item")

First = Annotated[
    int | None, strawberry.argument(description="So many from the start, 0 to 100; 20 where nothing is said.")
]
After = Annotated[str | None, strawberry.argument(description="Only what follows this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="So many from the end, 0 to 100; not with `first`.")]
Before = Annotated[str | None, strawberry.argument(description="Only what precedes this cursor.")]


@object_type
class PageInfo:
    """Where a page lies in its list."""

    has_next_page: bool = strawberry.field(description="Whether there is more after it.")
    has_previous_page: bool = strawberry.field(description="Whether there is more before it.")
    start_cursor: str | None = strawberry.field(description="The cursor of its first entry; null where it is empty.")
    end_cursor: str | None = strawberry.field(description="The cursor of its last entry; null where it is empty.")


@object_type
class Edge(Generic[Item]):
    """One entry of a list."""

    cursor: str = strawberry.field(description="Its place in the list, to go on from.")
    node: Item = strawberry.field(description="What is there.")


@object_type
class Connection(Generic[Item]):
    """A page of a list."""

    edges: list[Edge[Item]] = strawberry.field(description="The entries of this page, in the list's order.")
    page_info: PageInfo = strawberry.field(description="Where this page lies in the list.")

    @classmethod
    def of(
        cls, page: Page[Any], node: Callable[[Any], Item], cursor: Callable[[Any], str] | None = None, **more: Any
    ) -> Self:
        """From a page of rows; `cursor` where it is not made of the row's id, `more` for a subclass's own fields."""
        cursor = cursor or (lambda row: cursor_of(row.id))
        edges = [Edge(cursor=cursor(row), node=node(row)) for row in page.items]
        return cls(
            edges=edges,
            page_info=PageInfo(
                has_next_page=page.has_next,
                has_previous_page=page.has_previous,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
            **more,
        )


def cursor_of(id_: UUID) -> str:
    """The cursor of the row with this id."""
    return urlsafe_b64encode(id_.bytes).decode().rstrip("=")


def page_request(
    *, first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
) -> PageRequest:
    """What a connection's arguments ask for.

    Raises: InvalidInput for numbers out of range and cursors that are none.
    """
    return PageRequest.of(first=first, after=_row_at(after, "after"), last=last, before=_row_at(before, "before"))


def _row_at(cursor: str | None, argument: str) -> UUID | None:
    if cursor is None:
        return None
    try:
        id_ = UUID(bytes=urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        id_ = None
    if id_ is None or cursor_of(id_) != cursor:
        raise InvalidInput(path=[argument], message=f"`{argument}` is not a cursor of this list.")
    return id_
