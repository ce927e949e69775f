"""Money on its way from hosts' balances at Stripe to their banks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from models.connect_accounts import ConnectAccount as ConnectAccountRow
from models.money import Money as Amount
from models.payouts import Payout as PayoutRow
from schema import connect_accounts, payments
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import PayoutInterval, PayoutStatus, Weekday
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money, MoneyInput
from schema.nodes import Node
from schema.pages import After, Connection, First, page_request
from services.live import LiveChange
from services.payouts import schedule as schedules
from services.payouts.failures import failure_of

if TYPE_CHECKING:
    from schema.connect_accounts import ConnectAccount
    from schema.payments import Payment


@object_type
class PayoutDestination:
    """Where a payout goes."""

    type: str = strawberry.field(description="bank_account or card.")
    name: str | None = strawberry.field(description="The bank's or the card's name.")
    last4: str | None = strawberry.field(description="The last four characters of its number.")

    @classmethod
    def of(cls, kept: dict[str, Any] | None) -> PayoutDestination | None:
        """From what the row keeps."""
        return None if kept is None else cls(type=kept["type"], name=kept.get("name"), last4=kept.get("last4"))


@object_type
class Payout(Node):
    """Money paid out to a bank. Visible to its host and the platform; the platform's own to the platform alone."""

    amount: Money = strawberry.field(
        description="What arrives at the bank; below zero for what Stripe takes from there, because it is owed."
    )
    status: PayoutStatus = strawberry.field(description="Where it stands.")
    instant: bool = strawberry.field(description="Whether it arrives within minutes.")
    automatic: bool = strawberry.field(description="Whether a schedule made it.")
    arrival_date: datetime | None = strawberry.field(description="When the bank is to have it.")
    failure_code: str | None = strawberry.field(description="Stripe's code for why it failed.")
    failure_message: str | None = strawberry.field(description="Why it failed, and what to do; null where it did not.")
    fee: Money = strawberry.field(
        description="What it cost the host; nothing where the platform bears Stripe's fees."
    )
    stripe_payout_id: str | None = strawberry.field(description="Stripe's id (po_…), once Stripe knows of it.")
    destination: PayoutDestination | None = strawberry.field(description="Where it goes, once Stripe has told.")
    payments_known: bool = strawberry.field(
        description="Whether `payments` is all that is inside. Stripe tells that of automatic payouts alone."
    )
    created_at: datetime = strawberry.field(description="When it was made.")
    row: strawberry.Private[PayoutRow]

    @classmethod
    def of(cls, row: PayoutRow) -> Payout:
        """From its row."""
        return cls(
            id=global_id("Payout", row.id),
            amount=Money.of(row.amount),
            status=row.status,
            instant=row.instant,
            automatic=row.automatic,
            arrival_date=row.arrival_date,
            failure_code=row.failure_code,
            failure_message=failure_of(row),
            fee=Money.of(Amount(row.fee_minor, row.currency)),
            stripe_payout_id=row.stripe_payout_id,
            destination=PayoutDestination.of(row.destination),
            payments_known=row.contents_known,
            created_at=row.stripe_created_at or row.created_at,
            row=row,
        )

    @field
    async def account(
        self, info: Info
    ) -> Annotated[ConnectAccount, strawberry.lazy("schema.connect_accounts")] | None:
        """The host's account; null for the platform's own payouts."""
        id_ = self.row.connect_account_id
        if id_ is None:
            return None
        return connect_accounts.ConnectAccount.of(await info.context.loaders.connect_accounts.load(id_))

    @field
    async def payments(self, info: Info, first: First = None, after: After = None) -> PaymentsInPayout:
        """The payments whose money is inside, newest first, as far as Stripe has told: see `paymentsKnown`."""
        page = await info.context.loaders.payments_inside.load((self.row.id, page_request(first=first, after=after)))
        return PaymentsInPayout.of(page, payments.Payment.of)


@object_type
class PaymentsInPayout(Connection[Annotated["Payment", strawberry.lazy("schema.payments")]]):
    """A page of the payments inside a payout, newest first."""


@object_type
class PayoutConnection(Connection[Payout]):
    """A page of payouts, newest first."""


@object_type
class PayoutChange:
    """One change of a payout."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    previous_status: PayoutStatus | None = strawberry.field(
        description="The status before; null for a payout that is new."
    )
    status: PayoutStatus = strawberry.field(description="The status that it changed to.")
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> PayoutChange:
        """From an event of the stream."""
        event = change.event
        return cls(
            cursor=change.cursor,
            previous_status=None if event.previous_status is None else PayoutStatus(event.previous_status),
            status=PayoutStatus(event.status),
            occurred_at=event.created_at,
            change=change,
        )

    @field
    async def payout(self, info: Info) -> Payout:
        """The payout as it is now, which may be later than this change."""
        return Payout.of(await info.context.loaders.payouts.load(self.change.event.subject_id))


@object_type
class PayoutSchedule:
    """When a host is paid out without asking."""

    interval: PayoutInterval = strawberry.field(description="How often.")
    weekly_days: list[Weekday] = strawberry.field(description="On which days of the week, where it is WEEKLY.")
    monthly_days: list[int] = strawberry.field(
        description="On which days of the month, where it is MONTHLY; what a month lacks is its last day."
    )
    delay_days: int | None = strawberry.field(description="For how many days money waits before it is paid out.")

    @classmethod
    def of(cls, row: ConnectAccountRow) -> PayoutSchedule | None:
        """From the row of an account."""
        kept = schedules.PayoutSchedule.of(row)
        if kept is None:
            return None
        return cls(
            interval=kept.interval, weekly_days=list(kept.weekly_days), monthly_days=list(kept.monthly_days),
            delay_days=kept.delay_days,
        )  # fmt: skip


@input_type
class CreatePayoutInput:
    """How much of the viewer's balance to pay out."""

    amount: MoneyInput = strawberry.field(description="How much, in a currency of the balance.")
    instant: bool = strawberry.field(
        default=False, description="Within minutes, to where that is possible; Stripe takes a fee for it."
    )
    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")


@object_type
class CreatePayoutPayload(Payload):
    """What became of it."""

    payout: Payout | None = strawberry.field(
        default=None, description="The payout as it is now; one that Stripe refused has FAILED."
    )


@input_type
class SetPayoutScheduleInput:
    """When to pay the viewer out without being asked."""

    interval: PayoutInterval = strawberry.field(description="How often.")
    weekly_days: list[Weekday] = strawberry.field(default_factory=list, description="The days, for WEEKLY alone.")
    monthly_days: list[int] = strawberry.field(
        default_factory=list, description="The days, 1 to 31, for MONTHLY alone."
    )
    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")

    def to_schedule(self) -> schedules.PayoutSchedule:
        """The service's own."""
        return schedules.PayoutSchedule(self.interval, tuple(self.weekly_days), tuple(self.monthly_days))


@object_type
class SetPayoutSchedulePayload(Payload):
    """What became of it."""

    account: Annotated[ConnectAccount, strawberry.lazy("schema.connect_accounts")] | None = strawberry.field(
        default=None, description="The account as it is now."
    )
