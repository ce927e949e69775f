"""What is said to disputes."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

import strawberry

from schema.described import input_type
from schema.enums import EvidenceFileField
from schema.idempotency import KEY
from services.disputes.files import FileInput


def _text(description: str) -> str | None:
    text: str | None = strawberry.field(default=None, description=description)
    return text


@input_type
class DisputeEvidenceInput:
    """Texts for the bank. One that is left out is what was staged before, or what Paydesk knows; an empty one is left
    out of the evidence.
    """

    customer_name: str | None = _text("The guest's name.")
    customer_email_address: str | None = _text("Their address.")
    product_description: str | None = _text("What was sold.")
    service_date: str | None = _text("When it took place, in words.")
    cancellation_policy_disclosure: str | None = _text("How the guest was told of the cancellation policy.")
    refund_refusal_explanation: str | None = _text("Why they are not entitled to a refund.")
    uncategorized_text: str | None = _text("Anything else; what Paydesk knows of the order is here otherwise.")
    refund_policy_disclosure: str | None = _text("How the guest was told of the refund policy.")
    cancellation_rebuttal: str | None = _text("Why a subscription was not canceled.")
    access_activity_log: str | None = _text("How the guest used what they bought.")
    billing_address: str | None = _text("The address that the guest gave.")
    customer_purchase_ip: str | None = _text("The address in the network that they paid from.")
    duplicate_charge_id: str | None = _text("Stripe's id of the charge that this one seems to repeat.")
    duplicate_charge_explanation: str | None = _text("Why it does not.")

    def texts(self) -> dict[str, str]:
        """Those that were given, by Stripe's names, which are these."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: text for name, text in given.items() if text is not None}


@input_type
class EvidenceFileInput:
    """A file for the bank: PDF, JPEG or PNG, all together 4.5 MB at most, and within what a request may have."""

    field: EvidenceFileField = strawberry.field(description="What it is; one file for each.")
    name: str = strawberry.field(description="The file's name.")
    media_type: str = strawberry.field(description="application/pdf, image/jpeg or image/png.")
    content: str = strawberry.field(description="What it holds, in base64.")

    def to_file(self) -> FileInput:
        """The service's own."""
        return FileInput(self.field, self.name, self.media_type, self.content)


@input_type
class SubmitDisputeEvidenceInput:
    """What to say to a dispute."""

    dispute_id: strawberry.ID = strawberry.field(description="The dispute.")
    evidence: DisputeEvidenceInput = strawberry.field(description="Texts; none need be given.")
    files: list[EvidenceFileInput] | None = strawberry.field(default=None, description="Files beside them.")
    submit: bool = strawberry.field(
        default=True, description="False keeps it at Stripe until it is handed in, which can be done once."
    )
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class AcceptDisputeInput:
    """A dispute to give up."""

    dispute_id: strawberry.ID = strawberry.field(description="The dispute.")
    idempotency_key: str = strawberry.field(description=KEY)


@input_type
class AddDisputeNoteInput:
    """A message or a note that belongs to a dispute."""

    dispute_id: strawberry.ID = strawberry.field(description="The dispute.")
    author: str = strawberry.field(description="Who wrote it, in words for the bank: “The guest”, “Support”.")
    text: str = strawberry.field(description="What it says.")
    at: datetime | None = strawberry.field(default=None, description="When; now where nothing is said.")
    idempotency_key: str = strawberry.field(description=KEY)
