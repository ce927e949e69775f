"""Changes of payments: what history lists and subscriptions deliver."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

import strawberry

from schema import payments
from schema.context import Info
from schema.described import field, object_type
from schema.enums import PaymentStatus
from schema.pages import Connection
from services.live import LiveChange

if TYPE_CHECKING:
    from schema.payments import Payment
    from services.pages import Page


@object_type
class PaymentStatusChange:
    """One change of a payment. Refunded amounts are changes too, where the status stays the same."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    previous_status: PaymentStatus | None = strawberry.field(
        description="The status before; null for the payment's creation."
    )
    status: PaymentStatus = strawberry.field(description="The status that it changed to.")
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> PaymentStatusChange:
        """From an event of the stream."""
        event = change.event
        return cls(
            cursor=change.cursor,
            previous_status=None if event.previous_status is None else PaymentStatus(event.previous_status),
            status=PaymentStatus(event.status),
            occurred_at=event.created_at,
            change=change,
        )

    @field
    async def payment(self, info: Info) -> Annotated[Payment, strawberry.lazy("schema.payments")]:
        """The payment as it is now, which may be later than this change."""
        return payments.Payment.of(await info.context.loaders.payments.load(self.change.event.subject_id))


@object_type
class PaymentStatusChangeConnection(Connection[PaymentStatusChange]):
    """A page of a payment's history, the oldest first."""

    @classmethod
    def of_changes(cls, page: Page[LiveChange]) -> Self:
        """From the service's answer."""
        return cls.of(page, PaymentStatusChange.of, lambda change: change.cursor)
