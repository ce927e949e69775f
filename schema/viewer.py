"""The bearer of the token."""

from __future__ import annotations

from typing import Annotated

import strawberry

from models.users import User as UserRow
from schema.connect_accounts import ConnectAccount, account_or_none
from schema.context import Info
from schema.described import field, object_type
from schema.entitlements import Entitlement
from schema.pages import After, Before, Connection, First, Last, page_request
from schema.payment_lists import PaymentConnection, PaymentFilter, payment_connection
from schema.payment_methods import PaymentMethod
from schema.rsvps import Rsvp
from schema.subscriptions import BillingSubscription, BillingSubscriptionConnection
from schema.users import User
from services.entitlements import list_entitlements
from services.payments.reading import Scope
from services.rsvp_lists import list_own_rsvps
from services.subscriptions.reading import list_own_subscriptions


@object_type
class RsvpConnection(Connection[Rsvp]):
    """A page of a guest's RSVPs, newest first."""


@object_type
class Viewer:
    """Whoever the token names, guest and host alike."""

    user: User = strawberry.field(description="The person.")
    row: strawberry.Private[UserRow]

    @classmethod
    def of(cls, row: UserRow) -> Viewer:
        """From the person's row."""
        return cls(user=User.of(row), row=row)

    @field
    async def connect_account(self, info: Info) -> ConnectAccount | None:
        """The account that this person is paid to as a host; null before there is one, and after it was cut off."""
        return account_or_none(await info.context.loaders.live_accounts.load(self.row.id))

    @field
    async def payment_methods(self, info: Info) -> list[PaymentMethod]:
        """What this person has saved to pay with, the default first, then the newest."""
        return [PaymentMethod.of(row) for row in await info.context.loaders.attached_methods.load(self.row.id)]

    @field
    async def payments(
        self,
        info: Info,
        filter: Annotated[PaymentFilter | None, strawberry.argument(description="Which of them.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> PaymentConnection:
        """The payments that this person makes as a guest, newest first."""
        return await payment_connection(info, Scope.PAID, filter, first=first, after=after, last=last, before=before)

    @field
    async def rsvps(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> RsvpConnection:
        """This person's own RSVPs, newest first."""
        page = page_request(first=first, after=after, last=last, before=before)
        found = await list_own_rsvps(info.context.services, viewer=info.context.require_viewer(), page=page)
        return RsvpConnection.of(found, Rsvp.of)

    @field
    async def subscriptions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> BillingSubscriptionConnection:
        """This person's own subscriptions, those that have ended too, newest first."""
        page = page_request(first=first, after=after, last=last, before=before)
        found = await list_own_subscriptions(
            info.context.services, viewer=info.context.require_viewer(), page=page
        )
        return BillingSubscriptionConnection.of(found, BillingSubscription.of)

    @field
    async def entitlements(self, info: Info) -> list[Entitlement]:
        """What this person's plans grant at this second, each feature once."""
        viewer = info.context.require_viewer()
        found = await list_entitlements(info.context.services, viewer=viewer, external_id=self.row.external_id)
        return [Entitlement.of(entitlement) for entitlement in found]
