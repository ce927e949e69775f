"""Pages of long lists by keyset: the cursor is the id of a row, and ids carry their time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from services.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

Item = TypeVar("Item")

PAGE_DEFAULT = 20
PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list, in its order."""

    items: Sequence[Item]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows: so many after, or before, a row; lists are newest first."""

    limit: int
    after: UUID | None = None
    before: UUID | None = None
    backwards: bool = False

    @classmethod
    def of(
        cls, *, first: int | None = None, after: UUID | None = None, last: int | None = None, before: UUID | None = None
    ) -> PageRequest:
        """From the arguments of a connection ("Relay Cursor Connections").

        Raises: InvalidInput for both `first` and `last`, or a number outside 0 to 100.
        """
        if first is not None and last is not None:
            raise InvalidInput(path=["last"], message="Give either `first` or `last`, not both.")
        for name, number in (("first", first), ("last", last)):
            if number is not None and not 0 <= number <= PAGE_MAX:
                raise InvalidInput(path=[name], message=f"`{name}` is between 0 and {PAGE_MAX}.")
        backwards = last is not None
        return cls(last if last is not None else PAGE_DEFAULT if first is None else first, after, before, backwards)

    def conditions(self, column: str, first_parameter: int) -> tuple[str, list[UUID]]:
        """SQL that keeps to the rows between the cursors (starting with AND), and its parameters."""
        parts: list[str] = []
        values: list[UUID] = []
        for operator, cursor in (("<", self.after), (">", self.before)):
            if cursor is not None:
                parts.append(f" AND {column} {operator} ${first_parameter + len(values)}")
                values.append(cursor)
        return "".join(parts), values

    def order(self, column: str) -> str:
        """SQL that orders and limits: one row more than asked for tells whether there is another page."""
        return f" ORDER BY {column} {'ASC' if self.backwards else 'DESC'} LIMIT {self.limit + 1}"

    def page(self, rows: Sequence[Item]) -> Page[Item]:
        """The page, from rows in the order of `order`."""
        more = len(rows) > self.limit
        kept = list(rows[: self.limit])
        if self.backwards:
            kept.reverse()
            return Page(kept, has_next=self.before is not None, has_previous=more or self.after is not None)
        return Page(kept, has_next=more or self.before is not None, has_previous=self.after is not None)
