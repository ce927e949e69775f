"""Payments as lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import strawberry

from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import PaymentStatus
from schema.ids import id_of
from schema.pages import Connection, page_request
from schema.payments import Payment
from services.pages import Page
from services.payments import reading


@input_type
class PaymentFilter:
    """Which payments; what is left out does not matter."""

    status: list[PaymentStatus] | None = strawberry.field(default=None, description="Those with one of these.")
    activity_id: strawberry.ID | None = strawberry.field(default=None, description="Those for this activity.")
    subscription_id: strawberry.ID | None = strawberry.field(
        default=None, description="Those of this billing subscription's invoices."
    )
    payer_id: strawberry.ID | None = strawberry.field(default=None, description="Those of this guest.")
    created_from: datetime | None = strawberry.field(default=None, description="Those asked for then or later.")
    created_to: datetime | None = strawberry.field(default=None, description="Those asked for before then.")

    def to_filter(self) -> reading.PaymentFilter | None:
        """The service's own; None where it names something that cannot exist, so that nothing matches."""
        named = [("Activity", self.activity_id), ("User", self.payer_id), ("BillingSubscription", self.subscription_id)]
        ids = [None if global_id is None else id_of(type_name, global_id) for type_name, global_id in named]
        if any(id_ is None and global_id is not None for id_, (_, global_id) in zip(ids, named, strict=True)):
            return None
        activity_id, payer_id, subscription_id = ids
        return reading.PaymentFilter(
            self.status, activity_id, payer_id, self.created_from, self.created_to, subscription_id
        )


@object_type
class PaymentConnection(Connection[Payment]):
    """A page of payments, newest first."""

    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @field
    async def total_count(self) -> int:
        """How many there are on all pages; counted only where it is asked for."""
        return await self.count()


async def payment_connection(
    info: Info,
    scope: reading.Scope,
    filter_: PaymentFilter | None,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> PaymentConnection:
    """A page of the viewer's payments.

    Raises: Unauthenticated, InvalidInput.
    """
    services, viewer = info.context.services, info.context.require_viewer()
    page = page_request(first=first, after=after, last=last, before=before)
    wanted = reading.PaymentFilter() if filter_ is None else filter_.to_filter()
    if wanted is None:
        return PaymentConnection.of(Page([], has_next=False, has_previous=False), Payment.of, count=_nothing)

    async def count() -> int:
        return await reading.count_payments(services, viewer=viewer, wanted=wanted, scope=scope)

    found = await reading.list_payments(services, viewer=viewer, wanted=wanted, page=page, scope=scope)
    return PaymentConnection.of(found, Payment.of, count=count)


async def _nothing() -> int:
    return 0
