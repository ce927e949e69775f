"""When a failed invoice is tried again, and when that ends: days, counted from the try before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to come of an invoice that could not be collected.

    With the days 2, 5, 7 and 7 an invoice that fails on day 0 is tried on the days 2, 7, 14 and 21, and ends on day 21
    when the last of these tries fails. Without days it ends as soon as it fails.

    Attributes:
        days: until each try, counted from the one before it.
        retries: tries of the schedule that were made, the first failure not among them.
        last_failed_at: when the last of them failed, or the first failure where there was none.
        next_attempt_at: when the next is due; None after the last.
        ends_at: when the last is due, and with its failure the end.
    """

    days: Sequence[int]
    retries: int
    last_failed_at: datetime
    next_attempt_at: datetime | None
    ends_at: datetime

    @classmethod
    def begin(cls, days: Sequence[int], failed_at: datetime) -> Plan:
        """After the first failure."""
        ends_at = failed_at + timedelta(days=sum(days))
        return cls(days, 0, failed_at, _due(days, 0, failed_at, ends_at), ends_at)

    @property
    def due_at(self) -> datetime | None:
        """When the next try is due by the schedule alone, whatever the guest does; None where none is left."""
        return _due(self.days, self.retries, self.last_failed_at, self.ends_at)

    def failed(self, tried_at: datetime) -> Plan:
        """After a try of ours failed.

        A try that was due counts, and the next is counted from when it was made: one that came late moves all that
        follows by as much. A try ahead of its time (another card has come) changes nothing of what is to come. A try
        that had to wait for the guest counts, but its lateness is the guest's: the end stays where it is.
        """
        due_at = self.due_at
        if due_at is None or tried_at < due_at:
            return replace(self, next_attempt_at=due_at)
        late = tried_at - self.next_attempt_at if self.next_attempt_at is not None else timedelta()
        ends_at = self.ends_at + max(late, timedelta())
        retries = self.retries + 1
        return Plan(self.days, retries, tried_at, _due(self.days, retries, tried_at, ends_at), ends_at)


def _due(days: Sequence[int], retries: int, last_failed_at: datetime, ends_at: datetime) -> datetime | None:
    if retries >= len(days) or last_failed_at >= ends_at:
        return None
    return min(last_failed_at + timedelta(days=days[retries]), ends_at)
