"""Disputes, their evidence, and early fraud warnings."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

import strawberry

from models.disputes import Dispute as DisputeRow
from models.disputes import EvidenceFile as EvidenceFileRow
from models.disputes import FraudWarning as FraudWarningRow
from models.events import EventSubject
from models.money import Money as Amount
from schema import payments, refunds
from schema.context import Info
from schema.described import field, object_type
from schema.enums import DisputeStatus, EvidenceFileField
from schema.errors import Payload
from schema.ids import global_id
from schema.money import Money
from schema.nodes import Node
from schema.pages import After, Connection, First
from services.disputes.reading import visible_texts
from services.live import LiveChange

if TYPE_CHECKING:
    from schema.payments import Payment
    from schema.refunds import Refund
    from services.pages import Page


@object_type
class DisputeText:
    """One text of the evidence."""

    name: str = strawberry.field(description="Stripe's name of it: product_description …")
    text: str = strawberry.field(description="What it says.")


@object_type
class EvidenceFile:
    """One file of the evidence."""

    field: EvidenceFileField = strawberry.field(description="What it is.")
    name: str = strawberry.field(description="The file's own name.")
    media_type: str = strawberry.field(description="application/pdf, image/jpeg or image/png.")

    @classmethod
    def of(cls, row: EvidenceFileRow) -> EvidenceFile:
        """From its row."""
        return cls(field=EvidenceFileField(row.field), name=row.filename, media_type=row.media_type)


@object_type
class DisputeNote:
    """A message or a note of the platform, for the evidence that is gathered."""

    author: str = strawberry.field(description="Who wrote it.")
    text: str = strawberry.field(description="What it says.")
    at: datetime = strawberry.field(description="When.")


@object_type
class Dispute(Node):
    """A guest's bank takes a payment back, or asks about it. Visible to the hosts of the payment and the platform; the
    activity's host and the platform answer it.
    """

    status: DisputeStatus = strawberry.field(description="Where it stands.")
    reason: str = strawberry.field(description="Stripe's word for why: fraudulent, product_not_received …")
    network_reason_code: str | None = strawberry.field(description="The card network's code for why.")
    evidence_due_by: datetime | None = strawberry.field(description="Until when it can be answered; null where not.")
    submission_count: int = strawberry.field(description="How often evidence was handed in: banks look at it once.")
    created_at: datetime = strawberry.field(description="When the bank opened it.")
    closed_at: datetime | None = strawberry.field(description="When it became known to be decided.")
    version: int = strawberry.field(description="Grows by one with each change: the larger is the later.")
    row: strawberry.Private[DisputeRow]

    @classmethod
    def of(cls, row: DisputeRow) -> Dispute:
        """From its row."""
        return cls(
            id=global_id("Dispute", row.id),
            status=row.status,
            reason=row.reason,
            network_reason_code=row.network_reason_code,
            evidence_due_by=row.evidence_due_by,
            submission_count=row.submission_count,
            created_at=row.stripe_created_at,
            closed_at=row.closed_at,
            version=row.version,
            row=row,
        )

    @field
    def amount(self) -> Money:
        """What is disputed."""
        return Money.of(self.row.amount)

    @field
    def withdrawn_amount(self) -> Money:
        """What the bank has taken and not given back."""
        return Money.of(Amount(self.row.withdrawn_minor, self.row.currency))

    @field
    def host_amount(self) -> Money:
        """What the hosts bear of it, where it is lost."""
        return Money.of(Amount(self.row.host_minor, self.row.currency))

    @field
    async def payment(self, info: Info) -> Annotated[Payment, strawberry.lazy("schema.payments")]:
        """What is disputed."""
        return payments.Payment.of(await info.context.loaders.payments.load(self.row.payment_id))

    @field
    def evidence(self, info: Info) -> list[DisputeText]:
        """The texts that Stripe has, staged or handed in; of the guest's address hosts see no more than elsewhere."""
        files = {one.value for one in EvidenceFileField}
        texts = visible_texts(info.context.require_viewer(), self.row.evidence)
        return [DisputeText(name=name, text=text) for name, text in texts.items() if name not in files]

    @field
    async def gathered_evidence(self, info: Info) -> list[DisputeText]:
        """What Paydesk knows itself, and hands in beside what was given: whatever Stripe has already stays."""
        gathered = await info.context.loaders.gathered_evidence.load(self.row.id)
        texts = visible_texts(info.context.require_viewer(), gathered)
        return [DisputeText(name=name, text=text) for name, text in texts.items()]

    @field
    async def files(self, info: Info) -> list[EvidenceFile]:
        """The files that Stripe has, as far as they were given here."""
        rows = await info.context.loaders.evidence_files.load(self.row.id)
        return [EvidenceFile.of(row) for row in rows if row.stripe_file_id is not None]

    @field
    def notes(self) -> list[DisputeNote]:
        """The platform's messages and notes, the oldest first."""
        return [
            DisputeNote(author=note["author"], text=note["text"], at=datetime.fromisoformat(note["at"]))
            for note in self.row.notes
        ]

    @field
    async def history(
        self, info: Info, first: First = None, after: After = None
    ) -> Annotated[DisputeChangeConnection, strawberry.lazy("schema.disputes")]:
        """Every change, its creation first: the same rows that the subscription carries."""
        page = await info.context.loaders.histories.load((EventSubject.DISPUTE, self.row.id, first, after))
        return DisputeChangeConnection.of_changes(page)


@object_type
class DisputeConnection(Connection[Dispute]):
    """A page of disputes."""


@object_type
class DisputeChange:
    """One change of a dispute. Money that moves and evidence are changes too, where the status stays the same."""

    cursor: str = strawberry.field(
        description="Pass it as `after` to go on from here, with nothing missed and nothing twice."
    )
    previous_status: DisputeStatus | None = strawberry.field(description="The status before; null for a new dispute.")
    status: DisputeStatus = strawberry.field(description="The status that it changed to.")
    occurred_at: datetime = strawberry.field(description="When it changed.")
    change: strawberry.Private[LiveChange]

    @classmethod
    def of(cls, change: LiveChange) -> DisputeChange:
        """From an event of the stream."""
        event = change.event
        previous = event.previous_status
        return cls(
            cursor=change.cursor,
            previous_status=None if previous is None else DisputeStatus(previous),
            status=DisputeStatus(event.status),
            occurred_at=event.created_at,
            change=change,
        )

    @field
    async def dispute(self, info: Info) -> Dispute:
        """The dispute as it is now, which may be later than this change."""
        return Dispute.of(await info.context.loaders.disputes_by_id.load(self.change.event.subject_id))


@object_type
class DisputeChangeConnection(Connection[DisputeChange]):
    """A page of a dispute's history, the oldest first."""

    @classmethod
    def of_changes(cls, page: Page[LiveChange]) -> Self:
        """From the service's answer."""
        return cls.of(page, DisputeChange.of, lambda change: change.cursor)


@object_type
class FraudWarning:
    """A card's issuer reported a payment as fraud. Visible to the activity's host and the platform."""

    fraud_type: str = strawberry.field(description="Stripe's word for it: unauthorized_use_of_card …")
    actionable: bool = strawberry.field(description="Whether a refund can still prevent a dispute.")
    created_at: datetime = strawberry.field(description="When it was reported.")
    row: strawberry.Private[FraudWarningRow]

    @classmethod
    def of(cls, row: FraudWarningRow) -> FraudWarning:
        """From its row."""
        return cls(
            fraud_type=row.fraud_type, actionable=row.actionable, created_at=row.stripe_created_at, row=row
        )

    @field
    async def refund(self, info: Info) -> Annotated[Refund, strawberry.lazy("schema.refunds")] | None:
        """The refund that was made for it by itself; null where none was."""
        if self.row.refund_id is None:
            return None
        row = await info.context.loaders.refunds_by_id.load(self.row.refund_id)
        return None if row is None else refunds.Refund.of(row)


@object_type
class DisputePayload(Payload):
    """What became of it."""

    dispute: Dispute | None = strawberry.field(default=None, description="The dispute as it is now.")
