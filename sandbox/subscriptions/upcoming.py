"""What a subscription will be billed next ("Create a preview invoice")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


@dataclass(slots=True)
class Upcoming:
    """The next invoice of a subscription as far as the subscription decides it.

    Attributes:
        lines: as `sandbox.invoices.draft.line` makes them; pending invoice items are not among them.
        period: first and last second of the invoice.
        currency: in small letters.
        billing_reason: "upcoming", or what an invoice at once would say.
        discounts: ids of the subscription's discounts, those that are asked for included.
    """

    lines: list[Json]
    period: tuple[int, int]
    currency: str
    billing_reason: str = "upcoming"
    discounts: list[str] = field(default_factory=list)


def upcoming_lines(work: Work, customer: str | None, subscription: str | None, changes: Json) -> Upcoming:
    """What the next invoice of a subscription, or of one that is yet to be made, has on it.

    Args:
        customer: whose subscription would be made, where there is none yet.
        subscription: the id of one that exists.
        changes: `subscription_details` of the request.

    Raises: ApiError for changes that the subscription would refuse.
    """
    return Upcoming([], (work.now, work.now), "usd")
