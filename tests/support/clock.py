"""Time that a test can move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """The time of now, and what a test added to it."""

    def __init__(self) -> None:
        self._added = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._added

    def forward(self, *, seconds: float = 0, hours: float = 0) -> None:
        """Let time pass."""
        self._added += timedelta(seconds=seconds, hours=hours)
