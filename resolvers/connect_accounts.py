"""Hosts' accounts at Stripe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.events import EventSubject
from resolvers.arguments import StreamAfter
from resolvers.streams import follow
from schema.connect_accounts import (
    ConnectAccountChange,
    CreateConnectAccountInput,
    CreateConnectAccountPayload,
    CreateDashboardLinkPayload,
    CreateOnboardingLinkInput,
    CreateOnboardingLinkPayload,
    account_or_none,
)
from schema.context import Info
from schema.described import mutation, object_type, subscription
from schema.errors import payload
from services.connect.accounts import create_connect_account
from services.connect.links import create_dashboard_link, create_onboarding_link
from services.errors import NotFound
from services.live import EventFilter


@object_type
class ConnectAccountMutations:
    """What hosts do with their accounts."""

    @mutation
    @payload(CreateConnectAccountPayload)
    async def create_connect_account(
        self, info: Info, input: Annotated[CreateConnectAccountInput, strawberry.argument(description="What kind.")]
    ) -> CreateConnectAccountPayload:
        """Open the viewer's account at Stripe, to be paid as a host. A host has one."""
        row = await create_connect_account(
            info.context.services,
            viewer=info.context.require_viewer(),
            type_=input.type,
            country=input.country,
            idempotency_key=input.idempotency_key,
        )
        return CreateConnectAccountPayload(account=account_or_none(row))

    @mutation
    @payload(CreateOnboardingLinkPayload)
    async def create_onboarding_link(
        self,
        info: Info,
        input: Annotated[CreateOnboardingLinkInput, strawberry.argument(description="Where to come back to.")],
    ) -> CreateOnboardingLinkPayload:
        """A link to Stripe's onboarding for the viewer's account, made anew each time."""
        link = await create_onboarding_link(
            info.context.services,
            viewer=info.context.require_viewer(),
            return_url=input.return_url,
            refresh_url=input.refresh_url,
        )
        return CreateOnboardingLinkPayload(url=link.url, expires_at=link.expires_at)

    @mutation
    @payload(CreateDashboardLinkPayload)
    async def create_dashboard_link(self, info: Info) -> CreateDashboardLinkPayload:
        """A link to the dashboard of the viewer's account, made anew each time."""
        url = await create_dashboard_link(info.context.services, viewer=info.context.require_viewer())
        return CreateDashboardLinkPayload(url=url)


@object_type
class ConnectAccountSubscriptions:
    """Changes of hosts' accounts."""

    @subscription
    async def connect_account_changed(
        self, info: Info, after: StreamAfter = None
    ) -> AsyncIterator[ConnectAccountChange]:
        """Each change of the viewer's own account: requirements, capabilities, being cut off."""
        moment = await info.context.services.live.moment()
        user = await info.context.user()
        if user is None:
            info.context.require_viewer()
            raise NotFound("There is no such person here yet.")
        wanted = EventFilter(EventSubject.CONNECT_ACCOUNT, host_id=user.id)
        return follow(info.context, wanted, after, moment, ConnectAccountChange.of)
