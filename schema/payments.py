"""Payments."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.events import EventSubject
from models.payments import Payment as PaymentRow
from schema import activities, disputes, invoices, payment_changes, refunds, rsvps, subscriptions
from schema.context import Info
from schema.described import field, object_type
from schema.enums import PaymentStatus, SettlementStatus
from schema.ids import global_id
from schema.ledger import LedgerMovement
from schema.money import Money
from schema.nodes import Node
from schema.pages import After, Before, First, Last, page_request
from schema.payment_attempts import PaymentAttempt, PaymentFailure
from schema.payment_methods import PaymentMethod
from schema.payment_splits import PaymentSplit
from schema.users import User
from services.pages import Page
from services.viewer import Role

if TYPE_CHECKING:
    from schema.activities import Activity
    from schema.disputes import DisputeConnection, FraudWarning
    from schema.invoices import Invoice
    from schema.payment_changes import PaymentStatusChangeConnection
    from schema.refunds import RefundConnection
    from schema.rsvps import Rsvp
    from schema.subscriptions import BillingSubscription


@object_type
class NextAction:
    """What the guest must still do; the client hands `clientSecret` to Stripe.js or opens `redirectUrl`."""

    type: str = strawberry.field(description="Stripe's word for it: redirect_to_url, use_stripe_sdk …")
    redirect_url: str | None = strawberry.field(
        description="A page to send the guest to, where there is one. For the payer alone."
    )


@object_type
class Payment(Node):
    """A guest's payment, for an activity or an invoice. Visible to the guest, the activity's host and the platform."""

    status: PaymentStatus = strawberry.field(description="Where it stands.")
    version: int = strawberry.field(description="Grows by one with each change of state: the larger is the later.")
    capture_before: datetime | None = strawberry.field(description="When an authorization runs out.")
    stripe_payment_intent_id: str | None = strawberry.field(description="Stripe's id (pi_…), once Stripe knows of it.")
    stripe_account_id: str | None = strawberry.field(
        description="The host's account that the payment intent is on (acct_…), which Stripe.js needs as its"
        " `stripeAccount` then; null where it is the platform's."
    )
    created_at: datetime = strawberry.field(description="When it was asked for.")
    updated_at: datetime = strawberry.field(description="When it last changed.")
    row: strawberry.Private[PaymentRow]

    @classmethod
    def of(cls, row: PaymentRow) -> Payment:
        """From its row."""
        return cls(
            id=global_id("Payment", row.id),
            status=row.status,
            version=row.version,
            capture_before=row.capture_before,
            stripe_payment_intent_id=row.stripe_payment_intent_id,
            stripe_account_id=row.stripe_account or None,
            created_at=row.created_at,
            updated_at=row.updated_at,
            row=row,
        )

    @field
    def amount(self) -> Money:
        """What was asked for; with `captureLater`, what was authorized."""
        return Money.of(self.row.amount)

    @field
    def captured_amount(self) -> Money:
        """What was captured; `amount` is what was authorized."""
        return Money.of(self.row.captured)

    @field
    def refunded_amount(self) -> Money:
        """What was given back."""
        return Money.of(self.row.refunded)

    @field
    def refundable_amount(self) -> Money:
        """What can still be given back; refunds under way are taken off."""
        return Money.of(self.row.refundable)

    @field
    def platform_fee(self) -> Money:
        """The platform's part, before refunds."""
        return Money.of(self.row.platform_fee)

    @field
    def host_amount(self) -> Money:
        """What the hosts get of it, before refunds; like `platformFee` in the currency of `amount`."""
        return Money.of(self.row.host_amount)

    @field
    async def payer(self, info: Info) -> User:
        """The guest."""
        return User.of(await info.context.loaders.users.load(self.row.payer_id))

    @field
    async def activity(self, info: Info) -> Annotated[Activity, strawberry.lazy("schema.activities")] | None:
        """What it pays for; null where it pays an invoice of a subscription."""
        if self.row.activity_id is None:
            return None
        return activities.Activity.of(await info.context.loaders.activities.load(self.row.activity_id))

    @field
    async def invoice(self, info: Info) -> Annotated[Invoice, strawberry.lazy("schema.invoices")] | None:
        """The invoice that it pays; null where it pays for an activity."""
        if self.row.invoice_id is None:
            return None
        return invoices.Invoice.of(await info.context.loaders.invoices.load(self.row.invoice_id))

    @field
    async def subscription(
        self, info: Info
    ) -> Annotated[BillingSubscription, strawberry.lazy("schema.subscriptions")] | None:
        """The subscription that it pays for; null where it pays for an activity."""
        if self.row.subscription_id is None:
            return None
        row = await info.context.loaders.subscriptions.load(self.row.subscription_id)
        return subscriptions.BillingSubscription.of(row)

    @field
    async def rsvp(self, info: Info) -> Annotated[Rsvp, strawberry.lazy("schema.rsvps")] | None:
        """The seats that it pays for."""
        if self.row.rsvp_id is None:
            return None
        return rsvps.Rsvp.of(await info.context.loaders.rsvps.load(self.row.rsvp_id))

    @field
    async def payment_method(self, info: Info) -> PaymentMethod | None:
        """What it was last tried with; null before Stripe has said. To its owner a saved one is what it is now."""
        kept, viewer = self.row.payment_method, info.context.require_viewer()
        if kept is not None and (viewer.sees_everything or await self._is_payer(info)):
            saved = await info.context.loaders.attached_by_stripe_id.load(kept["stripe_id"])
            if saved is not None:
                return PaymentMethod.of(saved)
        return PaymentMethod.of_payment(self.row)

    @field
    async def client_secret(self, info: Info) -> str | None:
        """What Stripe.js needs to go on with it. For the payer alone."""
        return self.row.client_secret if self.row.client_secret and await self._is_payer(info) else None

    @field
    async def next_action(self, info: Info) -> NextAction | None:
        """What the guest must still do; null where there is nothing."""
        action = self.row.next_action
        if action is None:
            return None
        url = action.get("redirect_url")
        return NextAction(type=action["type"], redirect_url=url if url and await self._is_payer(info) else None)

    @field
    def failure(self) -> PaymentFailure | None:
        """Why the last try did not work; null where it did, or none was made."""
        return PaymentFailure.of(self.row)

    @field
    async def attempts(self, info: Info) -> list[PaymentAttempt]:
        """Each try to take the money, the oldest first, as Stripe tells of them."""
        return [PaymentAttempt.of(row) for row in await info.context.loaders.attempts.load(self.row.id)]

    @field
    async def refunds(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Annotated[RefundConnection, strawberry.lazy("schema.refunds")]:
        """What was given back, newest first."""
        request = page_request(first=first, after=after, last=last, before=before)
        page = await info.context.loaders.refunds.load((self.row.id, request))
        return refunds.RefundConnection.of(page, refunds.Refund.of)

    @field
    async def disputes(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Annotated[DisputeConnection, strawberry.lazy("schema.disputes")]:
        """What the guest's bank took back or asks about, newest first. Empty for the guest."""
        request = page_request(first=first, after=after, last=last, before=before)
        if not (await self._is_host_s(info) or await self._is_shared_with(info)):
            return disputes.DisputeConnection.of(Page([], has_next=False, has_previous=False), disputes.Dispute.of)
        page = await info.context.loaders.disputes.load((self.row.id, request))
        return disputes.DisputeConnection.of(page, disputes.Dispute.of)

    @field
    async def fraud_warnings(self, info: Info) -> list[Annotated[FraudWarning, strawberry.lazy("schema.disputes")]]:
        """What the card's issuer reported of it, the oldest first. Empty for the guest."""
        if not await self._is_host_s(info):
            return []
        rows = await info.context.loaders.fraud_warnings.load(self.row.id)
        return [disputes.FraudWarning.of(row) for row in rows]

    @field
    async def splits(self, info: Info) -> list[PaymentSplit]:
        """Who gets what of it: one entry for each host."""
        return [PaymentSplit.of(share) for share in await info.context.loaders.host_shares.load(self.row.id)]

    @field
    async def history(
        self, info: Info, first: First = None, after: After = None
    ) -> Annotated[PaymentStatusChangeConnection, strawberry.lazy("schema.payment_changes")]:
        """Every change, its creation first: the same rows that the subscriptions carry."""
        page = await info.context.loaders.histories.load((EventSubject.PAYMENT, self.row.id, first, after))
        return payment_changes.PaymentStatusChangeConnection.of_changes(page)

    @field
    async def settlement_status(self, info: Info) -> SettlementStatus | None:
        """How far the money has come to those whose it is, the hosts where they have a part; null until it is captured.

        What is in a payout is known of Stripe's automatic payouts alone.
        """
        return await info.context.loaders.settlement_statuses.load(self.row.id)

    @field
    async def movements(self, info: Info) -> list[LedgerMovement]:
        """Where the money is: every movement that this payment caused, from the guest's card to the host's bank.

        The guest sees no payouts and no debts of hosts, a host nothing of other hosts' accounts.
        """
        return [LedgerMovement.of(movement) for movement in await info.context.loaders.movements.load(self.row.id)]

    async def _is_host_s(self, info: Info) -> bool:
        """Whether the viewer sees it as its activity's host does, or as the platform."""
        viewer = info.context.require_viewer()
        if viewer.sees_everything or self.row.host_id is None:
            return viewer.sees_everything
        host = await info.context.loaders.users.load(self.row.host_id)
        return host.external_id == viewer.external_id

    async def _is_shared_with(self, info: Info) -> bool:
        """Whether the viewer has a host's part of it."""
        viewer = info.context.require_viewer()
        shares = await info.context.loaders.host_shares.load(self.row.id)
        hosts = await info.context.loaders.users.load_many([share.allocation.host_id for share in shares])
        return viewer.external_id in {host.external_id for host in hosts}

    @field
    async def unexplained(self, info: Info) -> list[Money]:
        """What Stripe moved for it and nobody can say why, in each currency: zero where every cent is explained."""
        return [Money.of(money) for money in await info.context.loaders.unexplained.load(self.row.id)]

    async def _is_payer(self, info: Info) -> bool:
        viewer = info.context.viewer
        if viewer is None or viewer.role is not Role.USER:
            return False
        payer = await info.context.loaders.users.load(self.row.payer_id)
        return payer.external_id == viewer.external_id
