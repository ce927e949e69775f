"""A cache that forgets what was used least recently, bounded in entries and in size."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by text; an entry weighs what the caller says, and a value heavier than the whole is not kept."""

    def __init__(self, *, entries: int, weight: int) -> None:
        self._entries = entries
        self._weight = weight
        self._held = 0
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Value | None:
        """The value, now the most recent one."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: str, value: Value, *, weight: int) -> None:
        """Keep a value, at the cost of the oldest ones."""
        if weight > self._weight:
            return
        replaced = self._values.pop(key, None)
        self._held += weight - (replaced[1] if replaced else 0)
        self._values[key] = value, weight
        while self._held > self._weight or len(self._values) > self._entries:
            self._held -= self._values.popitem(last=False)[1][1]
