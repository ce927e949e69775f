"""Payouts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.events import EventSubject
from resolvers.arguments import StreamAfter, input_path
from resolvers.streams import follow
from schema.connect_accounts import account_or_none
from schema.context import Info
from schema.described import field, mutation, object_type, subscription
from schema.errors import payload, user_errors
from schema.pages import After, First, page_request
from schema.payouts import (
    CreatePayoutInput,
    CreatePayoutPayload,
    Payout,
    PayoutChange,
    PayoutConnection,
    SetPayoutScheduleInput,
    SetPayoutSchedulePayload,
)
from services.errors import NotFound
from services.live import EventFilter
from services.payouts.creation import create_payout
from services.payouts.reading import platform_payouts
from services.payouts.schedule import set_payout_schedule


@object_type
class PayoutQueries:
    """Queries about payouts."""

    @field
    async def platform_payouts(self, info: Info, first: First = None, after: After = None) -> PayoutConnection:
        """The platform's own payouts, newest first. For service and admin."""
        page = page_request(first=first, after=after)
        found = await platform_payouts(info.context.services, viewer=info.context.require_viewer(), page=page)
        return PayoutConnection.of(found, Payout.of)


@object_type
class PayoutMutations:
    """What hosts do with what they have at Stripe."""

    @mutation
    @payload(CreatePayoutPayload)
    async def create_payout(
        self, info: Info, input: Annotated[CreatePayoutInput, strawberry.argument(description="How much.")]
    ) -> CreatePayoutPayload:
        """Pay so much of the viewer's balance out to their bank account, beside what is paid out by itself."""
        result = await create_payout(
            info.context.services,
            viewer=info.context.require_viewer(),
            amount=input.amount.to_money(input_path("amount")),
            instant=input.instant,
            idempotency_key=input.idempotency_key,
        )
        return CreatePayoutPayload(payout=Payout.of(result.payout), errors=user_errors(result.error))

    @mutation
    @payload(SetPayoutSchedulePayload)
    async def set_payout_schedule(
        self, info: Info, input: Annotated[SetPayoutScheduleInput, strawberry.argument(description="When.")]
    ) -> SetPayoutSchedulePayload:
        """Set when the viewer is paid out without asking. STANDARD hosts do so in Stripe's dashboard."""
        row = await set_payout_schedule(
            info.context.services,
            viewer=info.context.require_viewer(),
            schedule=input.to_schedule(),
            idempotency_key=input.idempotency_key,
        )
        return SetPayoutSchedulePayload(account=account_or_none(row))


@object_type
class PayoutSubscriptions:
    """Changes of payouts."""

    @subscription
    async def payout_changed(self, info: Info, after: StreamAfter = None) -> AsyncIterator[PayoutChange]:
        """Each change of each of the viewer's own payouts; for service and admin, of all."""
        moment = await info.context.services.live.moment()
        viewer = info.context.require_viewer()
        if viewer.sees_everything:
            return follow(info.context, EventFilter(EventSubject.PAYOUT), after, moment, PayoutChange.of)
        user = await info.context.user()
        if user is None:
            raise NotFound("There is no such person here yet.")
        return follow(
            info.context, EventFilter(EventSubject.PAYOUT, host_id=user.id), after, moment, PayoutChange.of
        )
