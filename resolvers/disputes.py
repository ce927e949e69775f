"""Disputes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from models.disputes import Dispute as DisputeRow
from models.events import EventSubject
from resolvers.arguments import StreamAfter, input_path
from resolvers.streams import follow
from schema.context import Info
from schema.described import field, mutation, object_type, subscription
from schema.dispute_inputs import AcceptDisputeInput, AddDisputeNoteInput, SubmitDisputeEvidenceInput
from schema.disputes import Dispute, DisputeChange, DisputeConnection, DisputePayload
from schema.enums import DisputeStatus
from schema.errors import payload, user_errors
from schema.ids import require_id
from schema.pages import After, Before, First, Last, page_request
from services.disputes.acceptance import accept_dispute
from services.disputes.notes import add_dispute_note
from services.disputes.reading import list_disputes
from services.disputes.submission import submit_dispute_evidence
from services.errors import NotFound
from services.live import EventFilter


@object_type
class DisputeQueries:
    """Queries about disputes."""

    @field
    async def disputes(
        self,
        info: Info,
        status: Annotated[
            list[DisputeStatus] | None, strawberry.argument(description="Those with one of these.")
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> DisputeConnection:
        """Those that wait for an answer by their deadlines, then the rest, the newest first. For a user those of the
        payments that they have a host's part of.
        """
        page = page_request(first=first, after=after, last=last, before=before)
        viewer = info.context.require_viewer()
        found = await list_disputes(info.context.services, viewer=viewer, status=status, page=page)
        return DisputeConnection.of(found, Dispute.of)


@object_type
class DisputeMutations:
    """What is said to disputes."""

    @mutation
    @payload(DisputePayload)
    async def submit_dispute_evidence(
        self,
        info: Info,
        input: Annotated[SubmitDisputeEvidenceInput, strawberry.argument(description="What to say.")],
    ) -> DisputePayload:
        """Stage evidence, or hand it in, completed by what Paydesk knows. For the activity's host and the platform."""
        answered = await submit_dispute_evidence(
            info.context.services,
            viewer=info.context.require_viewer(),
            dispute_id=require_id("Dispute", input.dispute_id, input_path("disputeId")),
            texts=input.evidence.texts(),
            files=[file.to_file() for file in input.files or ()],
            submit=input.submit,
            idempotency_key=input.idempotency_key,
        )
        return DisputePayload(dispute=Dispute.of(answered.dispute), errors=user_errors(answered.error))

    @mutation
    @payload(DisputePayload)
    async def accept_dispute(
        self, info: Info, input: Annotated[AcceptDisputeInput, strawberry.argument(description="Which.")]
    ) -> DisputePayload:
        """Give a dispute up: it is lost, for good. For the activity's host and the platform."""
        answered = await accept_dispute(
            info.context.services,
            viewer=info.context.require_viewer(),
            dispute_id=require_id("Dispute", input.dispute_id, input_path("disputeId")),
            idempotency_key=input.idempotency_key,
        )
        return DisputePayload(dispute=Dispute.of(answered.dispute), errors=user_errors(answered.error))

    @mutation
    @payload(DisputePayload)
    async def add_dispute_note(
        self, info: Info, input: Annotated[AddDisputeNoteInput, strawberry.argument(description="What was said.")]
    ) -> DisputePayload:
        """Keep a message between guest and host, or a note, for the evidence. For service and admin."""
        row = await add_dispute_note(
            info.context.services,
            viewer=info.context.require_viewer(),
            dispute_id=require_id("Dispute", input.dispute_id, input_path("disputeId")),
            text=input.text,
            author=input.author,
            at=input.at,
            idempotency_key=input.idempotency_key,
        )
        return DisputePayload(dispute=Dispute.of(row))


@object_type
class DisputeSubscriptions:
    """Changes of disputes."""

    @subscription
    async def dispute_changed(
        self,
        info: Info,
        dispute_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="One dispute; all where nothing is said.")
        ] = None,
        after: StreamAfter = None,
    ) -> AsyncIterator[DisputeChange]:
        """Each change of disputes, the first one included: for hosts of their activities', for the platform of all."""
        context = info.context
        moment = await context.services.live.moment()
        viewer = context.require_viewer()
        if dispute_id is not None:
            id_ = require_id("Dispute", dispute_id, ["disputeId"])
            if await context.loaders.visible(DisputeRow).load(id_) is None:
                raise NotFound("There is no such dispute.", path=["disputeId"])
            wanted = EventFilter(EventSubject.DISPUTE, subject_id=id_)
        elif viewer.sees_everything:
            wanted = EventFilter(EventSubject.DISPUTE)
        else:
            user = await context.user()
            if user is None:
                raise NotFound("There is no such person here yet.")
            wanted = EventFilter(EventSubject.DISPUTE, host_id=user.id)
        return follow(context, wanted, after, moment, DisputeChange.of)
