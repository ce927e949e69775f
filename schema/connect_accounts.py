"""Hosts' accounts at Stripe."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry

from models.connect_accounts import ConnectAccount as ConnectAccountRow
from schema import payments, payouts
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.enums import ConnectAccountType, RequirementUrgency
from schema.errors import Payload
from schema.ids import global_id
from schema.money import CurrencyCode, Money
from schema.nodes import Node
from schema.pages import After, First, page_request
from schema.users import User
from services.connect.balance import account_balance
from services.live import LiveChange
from services.transfers.debts import Debt

if TYPE_CHECKING:
    from schema.payments import Payment
    from schema.payouts import PayoutConnection, PayoutSchedule
    from services.connect.balance import Arrival, BalanceInCurrency


@object_type
class AccountRequirement:
    """Something that Stripe wants to know of a host."""

    field: str = strawberry.field(description="What, in Stripe's name: individual.verification.document …")
    urgency: RequirementUrgency = strawberry.field(description="How soon.")
    error: str | None = strawberry.field(description="What was wrong with what was handed in.")
    deadline: datetime | None = strawberry.field(description="Until when.")

    @classmethod
    def of(cls, entry: dict[str, Any]) -> AccountRequirement:
        """From an entry of the row."""
        deadline = entry.get("deadline")
        return cls(
            field=entry["field"],
            urgency=RequirementUrgency(entry["urgency"]),
            error=entry.get("error"),
            deadline=None if deadline is None else datetime.fromisoformat(deadline),
        )


@object_type
class BalanceArrival:
    """A part of what is pending."""

    amount: Money = strawberry.field(description="How much.")
    on: datetime | None = strawberry.field(description="When it can be paid out; null where Stripe has not told yet.")

    @classmethod
    def of(cls, arrival: Arrival) -> BalanceArrival:
        """From the service's answer."""
        return cls(amount=Money.of(arrival.amount), on=arrival.on)


@object_type
class AccountBalance:
    """What a host has at Stripe in one currency."""

    available: Money = strawberry.field(description="What can be paid out; below zero for what is owed.")
    pending: Money = strawberry.field(description="What has not settled yet.")
    instant_available: Money | None = strawberry.field(
        description="What can be paid out within minutes, for a fee; null where nothing can be."
    )
    arrives: list[BalanceArrival] = strawberry.field(
        description="When what is pending can be paid out, the earliest first."
    )
    explanation: str | None = strawberry.field(description="Why nothing is paid out, where it is below zero.")

    @classmethod
    def of(cls, balance: BalanceInCurrency) -> AccountBalance:
        """From the service's answer."""
        instant = balance.instant_available
        return cls(
            available=Money.of(balance.available),
            pending=Money.of(balance.pending),
            instant_available=None if instant is None else Money.of(instant),
            arrives=[BalanceArrival.of(arrival) for arrival in balance.arrives],
            explanation=balance.explanation,
        )


@object_type
class AccountDebt:
    """What a host owes the platform in one currency."""

    amount: Money = strawberry.field(description="How much.")
    since: datetime = strawberry.field(description="Since when.")
    is_recovered: bool = strawberry.field(description="Whether it is kept from what the host is paid next.")
    explanation: str = strawberry.field(description="Why, and what becomes of it, in words for the host.")
    debt: strawberry.Private[Debt]

    @classmethod
    def of(cls, debt: Debt) -> AccountDebt:
        """From the service's answer."""
        return cls(
            amount=Money.of(debt.amount), since=debt.since, is_recovered=debt.is_recovered,
            explanation=debt.explanation, debt=debt,
        )  # fmt: skip

    @field
    async def payments(self, info: Info) -> list[Annotated[Payment, strawberry.lazy("schema.payments")]]:
        """What it was taken back of, the earliest first, and no more than a hundred."""
        rows = await info.context.loaders.payments.load_many(list(self.debt.payment_ids))
        return [payments.Payment.of(row) for row in rows]


@object_type
class ConnectAccount(Node):
    """A host's account at Stripe. Visible to the host and to the platform."""

    stripe_account_id: str = strawberry.field(description="Stripe's id (acct_…).")
    type: ConnectAccountType = strawberry.field(description="Who faces the host.")
    country: str = strawberry.field(description="ISO 3166 alpha-2.")
    default_currency: CurrencyCode = strawberry.field(description="What it is paid out in where nothing else is said.")
    onboarding_complete: bool = strawberry.field(description="Whether the host has handed in what onboarding asks for.")
    payouts_enabled: bool = strawberry.field(description="Whether Stripe pays out to the host's bank.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    updated_at: datetime = strawberry.field(description="When it last changed.")
    row: strawberry.Private[ConnectAccountRow]

    @classmethod
    def of(cls, row: ConnectAccountRow) -> ConnectAccount:
        """From the row of an account that Stripe has opened."""
        return cls(
            id=global_id("ConnectAccount", row.id),
            stripe_account_id=row.stripe_account_id or "",
            type=row.type,
            country=row.country,
            default_currency=cast("CurrencyCode", row.default_currency),
            onboarding_complete=row.details_submitted,
            payouts_enabled=row.payouts_enabled,
            created_at=row.created_at,
            updated_at=row.updated_at,
            row=row,
        )

    @field
    def charges_enabled(self, info: Info) -> bool:
        """Whether Paydesk can pay this host now."""
        return self.row.can_be_paid(info.context.services.settings.platform_country)

    @field
    async def user(self, info: Info) -> User:
        """The host."""
        return User.of(await info.context.loaders.users.load(self.row.user_id))

    @field
    def requirements(self) -> list[AccountRequirement]:
        """What Stripe wants to know, the most pressing first."""
        return [AccountRequirement.of(entry) for entry in self.row.requirements]

    @field
    async def balance(self, info: Info) -> list[AccountBalance]:
        """What it holds, an entry for each currency; asked of Stripe each time."""
        context = info.context
        balances = await account_balance(context.services, viewer=context.require_viewer(), account=self.row)
        return [AccountBalance.of(balance) for balance in balances]

    @field
    async def debts(self, info: Info) -> list[AccountDebt]:
        """What the host owes the platform, an entry for each currency: taken back after it had been paid out."""
        return [AccountDebt.of(debt) for debt in await info.context.loaders.debts.load(self.row.user_id)]

    @field
    async def payouts(
        self, info: Info, first: First = None, after: After = None
    ) -> Annotated[PayoutConnection, strawberry.lazy("schema.payouts")]:
        """What was paid out to the host's bank, newest first: by schedule, and when asked for."""
        request = page_request(first=first, after=after)
        page = await info.context.loaders.payouts_of_accounts.load((self.row.id, request))
        return payouts.PayoutConnection.of(page, payouts.Payout.of)

    @field
    def payout_schedule(self) -> Annotated[PayoutSchedule, strawberry.lazy("schema.payouts")] | None:
        """When the host is paid out without asking; null where Stripe has not told yet."""
        return payouts.PayoutSchedule.of(self.row)


def account_or_none(row: ConnectAccountRow | None) -> ConnectAccount | None:
    """An account that Stripe has opened; while it is being opened there is nothing to show."""
    return None if row is None or row.stripe_account_id is None else ConnectAccount.of(row)


@object_type
class ConnectAccountChange:
    """One change of a host's account."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> ConnectAccountChange:
        """From an event of the stream."""
        return cls(cursor=change.cursor, occurred_at=change.event.created_at, change=change)

    @field
    async def account(self, info: Info) -> ConnectAccount:
        """The account as it is now, which may be later than this change."""
        return ConnectAccount.of(await info.context.loaders.connect_accounts.load(self.change.event.subject_id))


@input_type
class CreateConnectAccountInput:
    """What kind of account a host wants."""

    type: ConnectAccountType = strawberry.field(
        default=ConnectAccountType.EXPRESS, description="Who is to face the host."
    )
    country: str | None = strawberry.field(
        default=None, description="ISO 3166 alpha-2; the host's own where nothing is said, else the platform's."
    )
    idempotency_key: str = strawberry.field(description="1 to 255 characters, one per intent of the caller.")


@object_type
class CreateConnectAccountPayload(Payload):
    """What became of it."""

    account: ConnectAccount | None = strawberry.field(default=None, description="The account as it is now.")


@input_type
class CreateOnboardingLinkInput:
    """Where Stripe's onboarding sends the host afterwards; both are allow-listed."""

    return_url: str = strawberry.field(description="Where the host comes back to, done or not.")
    refresh_url: str = strawberry.field(description="Where the host is sent if the link is used up: make a new one.")


@object_type
class CreateOnboardingLinkPayload(Payload):
    """What became of it."""

    url: str | None = strawberry.field(default=None, description="Send the host there. It works once.")
    expires_at: datetime | None = strawberry.field(default=None, description="When it stops working.")


@object_type
class CreateDashboardLinkPayload(Payload):
    """What became of it."""

    url: str | None = strawberry.field(default=None, description="Send the host there.")
