"""Guests' seats."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers.arguments import input_path
from schema.context import Info
from schema.described import mutation, object_type
from schema.errors import payload, user_errors
from schema.ids import require_id
from schema.refunds import Refund
from schema.rsvps import CancelRsvpInput, CancelRsvpPayload, Rsvp
from services.rsvps import cancel_rsvp


@object_type
class RsvpMutations:
    """What guests and hosts do with seats."""

    @mutation
    @payload(CancelRsvpPayload)
    async def cancel_rsvp(
        self, info: Info, input: Annotated[CancelRsvpInput, strawberry.argument(description="Which seats.")]
    ) -> CancelRsvpPayload:
        """Give up seats: what was paid is refunded, what was not is called off. For guest, host and platform."""
        canceled = await cancel_rsvp(
            info.context.services,
            viewer=info.context.require_viewer(),
            rsvp_id=require_id("Rsvp", input.rsvp_id, input_path("rsvpId")),
            idempotency_key=input.idempotency_key,
        )
        return CancelRsvpPayload(
            rsvp=Rsvp.of(canceled.rsvp),
            refund=None if canceled.refund is None else Refund.of(canceled.refund),
            errors=user_errors(canceled.error),
        )
