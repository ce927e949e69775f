"""Activities that were called off, and what became of everybody's money."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.activity_cancellations import ActivityCancellation as ActivityCancellationRow
from models.activity_cancellations import ActivityCancellationItem as ActivityCancellationItemRow
from schema import activities, payments, refunds
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import CancellationOutcome, CancellationStatus
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money
from schema.nodes import Node
from schema.pages import After, Before, Connection, First, Last, page_request
from schema.users import User
from services.activity_cancellation.preview import CancellationPreview, PlaceBalance, Totals
from services.live import LiveChange

if TYPE_CHECKING:
    from schema.activities import Activity
    from schema.payments import Payment
    from schema.refunds import Refund


@object_type
class ActivityCancellationItem:
    """One payment of a canceled activity."""

    outcome: CancellationOutcome = strawberry.field(description="What became of it so far.")
    error: str | None = strawberry.field(description="Why its guest could not get the money back; null otherwise.")
    attempts: int = strawberry.field(description="How many attempts at it have ended.")
    row: strawberry.Private[ActivityCancellationItemRow]

    @classmethod
    def of(cls, row: ActivityCancellationItemRow) -> ActivityCancellationItem:
        """From its row."""
        return cls(outcome=row.outcome, error=row.error, attempts=row.attempts, row=row)

    @field
    async def payment(self, info: Info) -> Annotated[Payment, strawberry.lazy("schema.payments")]:
        """The payment as it is now."""
        return payments.Payment.of(await info.context.loaders.payments.load(self.row.payment_id))

    @field
    async def refund(self, info: Info) -> Annotated[Refund, strawberry.lazy("schema.refunds")] | None:
        """The refund that was made, or tried, of it; null where there was none."""
        if self.row.refund_id is None:
            return None
        row = await info.context.loaders.refunds_by_id.load(self.row.refund_id)
        return None if row is None else refunds.Refund.of(row)


@object_type
class ActivityCancellationItemConnection(Connection[ActivityCancellationItem]):
    """A page of a cancellation's items, newest first."""


@object_type
class ActivityCancellation(Node):
    """An activity that was called off: everybody who paid gets their money back.

    For service and admin, and the activity's host. It goes on by itself, whatever crashes; follow
    `activityCancellationChanged`.
    """

    status: CancellationStatus = strawberry.field(description="Whether everybody has been dealt with.")
    version: int = strawberry.field(description="Grows by one with each change.")
    reason: str | None = strawberry.field(description="Why, in the words of who canceled it.")
    total: int = strawberry.field(description="How many payments there are to deal with.")
    done: int = strawberry.field(description="How many of them have been dealt with, those that failed included.")
    failed: int = strawberry.field(
        description="How many guests could not get their money back: `items` with `outcome: FAILED` says who and why."
    )
    created_at: datetime = strawberry.field(description="When it began.")
    finished_at: datetime | None = strawberry.field(description="When the last of them was dealt with.")
    row: strawberry.Private[ActivityCancellationRow]

    @classmethod
    def of(cls, row: ActivityCancellationRow) -> ActivityCancellation:
        """From its row."""
        return cls(
            id=global_id("ActivityCancellation", row.id),
            status=row.status,
            version=row.version,
            reason=row.reason,
            total=row.total,
            done=row.done,
            failed=row.failed,
            created_at=row.created_at,
            finished_at=row.finished_at,
            row=row,
        )

    @field
    async def activity(self, info: Info) -> Annotated[Activity, strawberry.lazy("schema.activities")]:
        """What was called off."""
        return activities.Activity.of(await info.context.loaders.activities.load(self.row.activity_id))

    @field
    async def refunded(self, info: Info) -> list[Money]:
        """What guests have got back by it, or is on its way to them, by currency."""
        return [Money.of(sum_) for sum_ in await info.context.loaders.refunded_by_cancellation.load(self.row.id)]

    @field
    async def items(
        self,
        info: Info,
        outcome: Annotated[
            CancellationOutcome | None, strawberry.argument(description="Those with this outcome alone.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> ActivityCancellationItemConnection:
        """What became of each payment, newest first."""
        request = page_request(first=first, after=after, last=last, before=before)
        page = await info.context.loaders.cancellation_items(outcome).load((self.row.id, request))
        return ActivityCancellationItemConnection.of(page, ActivityCancellationItem.of)


@object_type
class ActivityCancellationChange:
    """How far a cancellation had come; some payments are dealt with between one change and the next."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    previous_status: CancellationStatus | None = strawberry.field(
        description="The status before; null when it began."
    )
    status: CancellationStatus = strawberry.field(description="The status that it changed to.")
    total: int = strawberry.field(description="How many payments there were to deal with.")
    done: int = strawberry.field(description="How many of them had been dealt with, those that failed included.")
    failed: int = strawberry.field(description="How many guests could not get their money back.")
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> ActivityCancellationChange:
        """From an event of the stream."""
        event = change.event
        previous = event.previous_status
        return cls(
            cursor=change.cursor,
            previous_status=None if previous is None else CancellationStatus(previous),
            status=CancellationStatus(event.status),
            total=event.detail["total"],
            done=event.detail["done"],
            failed=event.detail["failed"],
            occurred_at=event.created_at,
            change=change,
        )

    @field
    async def cancellation(self, info: Info) -> ActivityCancellation:
        """The cancellation as it is now, which may be later than this change."""
        row = await info.context.loaders.activity_cancellations.load(self.change.event.subject_id)
        return ActivityCancellation.of(row)


@object_type
class ActivityCancellationTotals:
    """Sums over the payments of one currency: what guests get is what hosts and platform give."""

    guests_receive: Money = strawberry.field(description="What guests get back.")
    hosts_give: Money = strawberry.field(
        description="The hosts' part of it, whether they have been sent it or the platform still holds it."
    )
    platform_gives: Money = strawberry.field(description="The platform's fee in it.")
    disputed: Money = strawberry.field(
        description="What is not refunded, since guests' banks hold it while they decide a dispute."
    )

    @classmethod
    def of(cls, totals: Totals) -> ActivityCancellationTotals:
        """From the service's answer."""
        return cls(
            guests_receive=Money.of(totals.guests_receive),
            hosts_give=Money.of(totals.hosts_give),
            platform_gives=Money.of(totals.platform_gives),
            disputed=Money.of(totals.disputed),
        )


@object_type
class ActivityCancellationBalance:
    """What would leave one balance at Stripe, and what is there now, in a currency that the payments settled in.

    Where guests paid in another currency it is reckoned at the rate of each payment; Stripe takes that of the day. The
    platform lays out each refund and gets the hosts' part of it back at once, where they have it.
    """

    gives: Money = strawberry.field(description="What leaves it once all is done.")
    available: Money = strawberry.field(description="What is there and can be used.")
    pending: Money = strawberry.field(description="What is on its way there.")
    missing: Money = strawberry.field(
        description="What of it is not available: refunds may fail for want of it, or a host be left owing."
    )
    place: strawberry.Private[PlaceBalance]

    @classmethod
    def of(cls, place: PlaceBalance) -> ActivityCancellationBalance:
        """From the service's answer."""
        return cls(
            gives=Money.of(place.gives),
            available=Money.of(place.available),
            pending=Money.of(place.pending),
            missing=Money.of(place.missing),
            place=place,
        )

    @field
    async def host(self, info: Info) -> User | None:
        """Whose balance it is; null for the platform's own."""
        host_id = self.place.host_id
        return None if host_id is None else User.of(await info.context.loaders.users.load(host_id))


@object_type
class ActivityCancellationPreview:
    """What cancelling an activity would give back, at whose cost, as things stand now."""

    payments_to_refund: int = strawberry.field(description="How many payments would be refunded.")
    payments_to_cancel: int = strawberry.field(description="How many, not paid yet, would be called off.")
    payments_at_banks: int = strawberry.field(
        description="How many a bank still works on: they are refunded once it has taken the money."
    )
    payments_disputed: int = strawberry.field(
        description="How many cannot be refunded, since their dispute is not decided."
    )
    totals: list[ActivityCancellationTotals] = strawberry.field(description="By currency, as guests paid.")
    balances: list[ActivityCancellationBalance] = strawberry.field(
        description="By whose balance gives it, and currency; the platform's first."
    )
    stripe_fees_lost: list[Money] = strawberry.field(
        description="What Stripe has taken for these payments and keeps when they are refunded, by currency."
    )
    payments_of_unknown_fee: int = strawberry.field(
        description="How many of them Stripe has not told its fee of yet: it comes on top of `stripeFeesLost`."
    )
    is_covered: bool = strawberry.field(description="Whether nothing is missing on any balance.")

    @classmethod
    def of(cls, preview: CancellationPreview) -> ActivityCancellationPreview:
        """From the service's answer."""
        return cls(
            payments_to_refund=preview.payments_to_refund,
            payments_to_cancel=preview.payments_to_cancel,
            payments_at_banks=preview.payments_at_banks,
            payments_disputed=preview.payments_disputed,
            totals=[ActivityCancellationTotals.of(totals) for totals in preview.totals],
            balances=[ActivityCancellationBalance.of(place) for place in preview.balances],
            stripe_fees_lost=[Money.of(fee) for fee in preview.stripe_fees_lost],
            payments_of_unknown_fee=preview.payments_of_unknown_fee,
            is_covered=not any(place.missing for place in preview.balances),
        )


@input_type
class CancelActivityInput:
    """What to call off. It can be asked for again: an activity is canceled once."""

    activity_id: strawberry.ID = strawberry.field(description="The activity.")
    reason: str | None = strawberry.field(default=None, description="Why, up to 1000 characters; kept, not sent.")


@input_type
class RetryActivityCancellationInput:
    """Whose guests to try again to give their money back."""

    activity_id: strawberry.ID = strawberry.field(description="The canceled activity.")


@object_type
class ActivityCancellationPayload(Payload):
    """What became of it."""

    cancellation: ActivityCancellation | None = strawberry.field(
        default=None, description="The cancellation as it is now."
    )
