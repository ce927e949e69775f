"""Answering disputes: what is handed in, what is not taken, and that nothing is handed in twice."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.disputes import Dispute, DisputeStatus, EvidenceFile, EvidenceFileField
from models.operations import Operation, OperationStatus
from models.payments import Payment
from services.disputes.evidence import TEXT_MAX
from services.disputes.files import FileInput
from services.disputes.notes import add_dispute_note
from services.disputes.submission import submit_dispute_evidence
from services.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
    NotFound,
    StripeUnavailable,
)
from services.viewer import Role, Viewer
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.disputes.submission import AnsweredDispute
    from tests.support.disputing import Disputing
    from tests.support.shop import Shop

PDF = b"%PDF-1.4 the terms that the guest has signed"


def a_file(content: bytes = PDF, **values: Any) -> FileInput:
    """A file as it is sent."""
    given: dict[str, Any] = {
        "field": EvidenceFileField.CUSTOMER_SIGNATURE, "name": 'terms "signed".pdf', "media_type": "application/pdf",
        "content": b64encode(content).decode(),
    }  # fmt: skip
    return FileInput(**{**given, **values})


async def submitted(shop: Shop, dispute: Dispute, **values: Any) -> AnsweredDispute:
    """Hand evidence in, by the host."""
    given: dict[str, Any] = {
        "viewer": as_user(shop.host), "texts": {}, "files": [], "submit": True, "idempotency_key": str(uuid4()),
    }  # fmt: skip
    return await submit_dispute_evidence(shop.services, dispute_id=dispute.id, **{**given, **values})


async def at_stripe(shop: Shop, dispute: Dispute) -> dict[str, Any]:
    """The dispute as Stripe has it."""
    return dict(await shop.sandbox.get(f"/v1/disputes/{dispute.stripe_dispute_id}"))


@pytest.fixture
async def dispute(disputing: Disputing, shop: Shop) -> Dispute:
    """One that waits for an answer."""
    return await disputing.disputed(await shop.paid(), reason="product_not_received")


async def test_what_is_known_is_handed_in_and_what_is_given_wins(shop: Shop, dispute: Dispute) -> None:
    answered = await submitted(shop, dispute, texts={"product_description": "Four wines, and cheese."})
    assert (answered.error, answered.dispute.status) == (None, DisputeStatus.UNDER_REVIEW)
    theirs = await at_stripe(shop, dispute)
    evidence = theirs["evidence"]
    assert evidence["product_description"] == "Four wines, and cheese."
    assert evidence["customer_name"] == shop.guest.name
    assert evidence["customer_email_address"] == shop.guest.email
    starts = shop.activity.starts_at
    assert evidence["service_date"] == f"{starts.day} {starts:%B %Y, %H:%M} UTC"
    assert "20.00 USD was paid with visa ending in 4242" in evidence["uncategorized_text"]
    assert evidence["refund_refusal_explanation"] == (
        "Nothing was given back. The guest has not canceled this booking."
    )
    assert (theirs["status"], theirs["evidence_details"]["submission_count"]) == ("under_review", 1)
    assert answered.dispute.evidence["product_description"] == "Four wines, and cheese."


async def test_an_empty_text_keeps_what_is_known_out(shop: Shop, dispute: Dispute) -> None:
    await submitted(shop, dispute, texts={"customer_email_address": "", "uncategorized_text": ""})
    evidence = (await at_stripe(shop, dispute))["evidence"]
    assert not evidence["customer_email_address"]
    assert not evidence["uncategorized_text"]


async def test_what_was_staged_is_handed_in_later_with_what_was_noted_meanwhile(shop: Shop, dispute: Dispute) -> None:
    staged = await submitted(shop, dispute, texts={"service_date": "Last Friday"}, submit=False)
    assert staged.dispute.status is DisputeStatus.NEEDS_RESPONSE
    assert staged.dispute.evidence["service_date"] == "Last Friday"
    note: dict[str, Any] = {
        "dispute_id": dispute.id, "author": "The guest", "text": "Thanks,\nit was great!", "at": None,
        "idempotency_key": str(uuid4()),
    }  # fmt: skip
    for _ in range(2):
        await add_dispute_note(shop.services, viewer=SERVICE, **note)
    assert len((await Dispute.get(id=dispute.id)).notes) == 1
    with pytest.raises(Forbidden):
        await add_dispute_note(shop.services, viewer=as_user(shop.host), **note)
    await submitted(shop, dispute)
    evidence = (await at_stripe(shop, dispute))["evidence"]
    assert evidence["service_date"] == "Last Friday"
    assert "The guest: Thanks,\nit was great!" in evidence["uncategorized_text"]


async def test_no_more_is_noted_than_the_evidence_can_hold(shop: Shop, dispute: Dispute) -> None:
    note: dict[str, Any] = {"viewer": SERVICE, "dispute_id": dispute.id, "author": "Support", "at": None}
    await add_dispute_note(shop.services, text="a" * 14_000, idempotency_key="first", **note)
    with pytest.raises(InvalidInput) as refused:
        await add_dispute_note(shop.services, text="b" * 1_000, idempotency_key="second", **note)
    assert refused.value.path == ["input", "text"]
    assert len((await Dispute.get(id=dispute.id)).notes) == 1
    await add_dispute_note(shop.services, text="The last word.", idempotency_key="second", **note)
    await submitted(shop, dispute)
    assert "The last word." in (await at_stripe(shop, dispute))["evidence"]["uncategorized_text"]


async def test_files_are_uploaded_once_and_named_in_the_evidence(shop: Shop, dispute: Dispute) -> None:
    png = b"\x89PNG\r\n\x1a\n\r\n--boundary\r\n\x00\xff"
    files = [a_file(), a_file(png, field=EvidenceFileField.RECEIPT, name="Beleg ü.png", media_type="image/png")]
    answered = await submitted(shop, dispute, files=files)
    assert answered.error is None
    evidence = (await at_stripe(shop, dispute))["evidence"]
    signature = await shop.sandbox.get(f"/v1/files/{evidence['customer_signature']}")
    receipt = await shop.sandbox.get(f"/v1/files/{evidence['receipt']}")
    assert (signature["size"], signature["type"], signature["purpose"]) == (len(PDF), "pdf", "dispute_evidence")
    assert (receipt["size"], receipt["filename"]) == (len(png), "Beleg ü.png")
    kept = await EvidenceFile.filter(dispute_id=dispute.id).order_by("id")
    assert [(file.stripe_file_id, file.content) for file in kept] == [(signature["id"], None), (receipt["id"], None)]


async def test_what_is_staged_counts_for_what_may_come_beside_it(shop: Shop, dispute: Dispute) -> None:
    half = PDF + b"." * 2_500_000
    receipt = EvidenceFileField.RECEIPT
    await submitted(shop, dispute, files=[a_file(half)], submit=False)
    before = await at_stripe(shop, dispute)
    with pytest.raises(InvalidInput, match="staged before") as refusal:
        await submitted(shop, dispute, files=[a_file(half, field=receipt)])
    assert refusal.value.path == ["input", "files"]
    assert await at_stripe(shop, dispute) == before
    assert await EvidenceFile.all().count() == 1
    await submitted(shop, dispute, files=[a_file(half + b".")], submit=False)  # in its place
    await submitted(shop, dispute, files=[a_file(PDF + b"." * 1_900_000, field=receipt)], submit=False)
    kept = await EvidenceFile.filter(dispute_id=dispute.id).order_by("size")
    assert [(file.size, file.content) for file in kept] == [(len(PDF) + 1_900_000, None), (len(half) + 1, None)]


async def test_a_file_that_is_staged_anew_takes_the_place_of_the_first(shop: Shop, dispute: Dispute) -> None:
    await submitted(shop, dispute, files=[a_file()], submit=False)
    await submitted(shop, dispute, files=[a_file(PDF + b", and countersigned")], submit=False)
    [kept] = await EvidenceFile.filter(dispute_id=dispute.id)
    assert kept.stripe_file_id == (await at_stripe(shop, dispute))["evidence"]["customer_signature"]


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ([a_file(b"<html>")], ["input", "files", "0", "content"]),
        ([a_file(b"")], ["input", "files", "0", "content"]),
        ([replace(a_file(), content="%%%")], ["input", "files", "0", "content"]),
        ([a_file(media_type="text/plain")], ["input", "files", "0", "mediaType"]),
        ([a_file(media_type="image/png")], ["input", "files", "0", "content"]),
        ([a_file(name=" ")], ["input", "files", "0", "name"]),
        ([a_file(), a_file()], ["input", "files", "1", "field"]),
        ([a_file(PDF + b"." * 4_500_000)], ["input", "files"]),
    ],
)  # fmt: skip
async def test_files_that_banks_do_not_take_are_refused_before_stripe_hears_of_them(
    shop: Shop, dispute: Dispute, files: list[FileInput], path: list[str]
) -> None:
    before = len(await shop.sandbox.requests_to("/v1/"))
    with pytest.raises(InvalidInput) as refusal:
        await submitted(shop, dispute, files=files)
    assert refusal.value.path == path
    assert len(await shop.sandbox.requests_to("/v1/")) == before
    assert await EvidenceFile.all().count() == 0


async def test_texts_that_are_too_long_are_refused_by_name(shop: Shop, dispute: Dispute) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await submitted(shop, dispute, texts={"customer_name": "x" * (TEXT_MAX + 1)})
    assert refusal.value.path == ["input", "evidence", "customerName"]
    whole = dict.fromkeys(
        ["access_activity_log", "billing_address", "cancellation_policy_disclosure", "cancellation_rebuttal",
         "product_description", "refund_policy_disclosure", "refund_refusal_explanation", "uncategorized_text"],
        "x" * TEXT_MAX,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="together"):
        await submitted(shop, dispute, texts=whole)
    assert (await at_stripe(shop, dispute))["evidence_details"]["has_evidence"] is False


async def test_evidence_is_handed_in_once(shop: Shop, dispute: Dispute) -> None:
    key = str(uuid4())
    first = await submitted(shop, dispute, texts={"customer_name": "Ada"}, idempotency_key=key)
    again = await submitted(shop, dispute, texts={"customer_name": "Ada"}, idempotency_key=key)
    assert (again.error, again.dispute.version) == (None, first.dispute.version)
    with pytest.raises(IdempotencyKeyReused):
        await submitted(shop, dispute, texts={"customer_name": "Bob"}, idempotency_key=key)
    with pytest.raises(InvalidState) as refusal:
        await submitted(shop, dispute, texts={"customer_name": "Bob"})
    assert refusal.value.state == "UNDER_REVIEW"
    theirs = await at_stripe(shop, dispute)
    assert (theirs["evidence"]["customer_name"], theirs["evidence_details"]["submission_count"]) == ("Ada", 1)


async def test_what_was_handed_in_at_stripe_s_dashboard_is_refused_here_with_its_files_forgotten(
    shop: Shop, dispute: Dispute
) -> None:
    await shop.sandbox.post(f"/v1/disputes/{dispute.stripe_dispute_id}", {"evidence": {"customer_name": "Ada"}})
    answered = await submitted(shop, dispute, texts={"customer_name": "Bob"}, files=[a_file()])
    assert isinstance(answered.error, InvalidState)
    assert answered.dispute.status is DisputeStatus.UNDER_REVIEW
    assert (await at_stripe(shop, dispute))["evidence"]["customer_name"] == "Ada"
    assert await EvidenceFile.all().count() == 0


async def test_after_its_deadline_a_dispute_takes_no_answer(shop: Shop, dispute: Dispute) -> None:
    assert dispute.evidence_due_by is not None
    ahead = dispute.evidence_due_by - shop.clock() + timedelta(seconds=5)
    shop.clock.forward(seconds=ahead.total_seconds())
    before = len(await shop.sandbox.requests_to("/v1/"))
    with pytest.raises(InvalidState) as refusal:
        await submitted(shop, dispute)
    assert refusal.value.state == "DEADLINE_PASSED"
    assert len(await shop.sandbox.requests_to("/v1/")) == before


async def test_who_may_not_see_a_dispute_cannot_answer_it(shop: Shop, dispute: Dispute) -> None:
    stranger = await shop.new_guest()
    for viewer in (as_user(shop.guest), as_user(stranger), Viewer(Role.USER, "nobody")):
        with pytest.raises(NotFound):
            await submitted(shop, dispute, viewer=viewer)
    with pytest.raises(NotFound):
        await submitted(shop, Dispute(id=uuid4()))
    assert await Operation.filter(kind="submit_dispute_evidence").count() == 0
    assert (await submitted(shop, dispute, viewer=SERVICE)).error is None


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "rate_500", "rate_429"])
async def test_an_answer_that_was_lost_is_found_again(shop: Shop, dispute: Dispute, fault: str) -> None:
    await shop.sandbox.faults(**{fault: 1, "seed": 3})
    with pytest.raises(StripeUnavailable):
        await submitted(shop, dispute, texts={"customer_name": "Ada"}, files=[a_file()])
    await shop.sandbox.heal()
    await shop.recover()
    theirs = await at_stripe(shop, dispute)
    assert (theirs["status"], theirs["evidence_details"]["submission_count"]) == ("under_review", 1)
    assert theirs["evidence"]["customer_signature"] is not None
    assert (await Dispute.get(id=dispute.id)).status is DisputeStatus.UNDER_REVIEW
    [kept] = await EvidenceFile.filter(dispute_id=dispute.id)
    assert (kept.stripe_file_id, kept.content) == (theirs["evidence"]["customer_signature"], None)


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("calls", [0, 1])
async def test_a_process_may_end_anywhere_on_the_way(
    shop: Shop, dispute: Dispute, boundary: Boundary, calls: int
) -> None:
    trap = Trap()
    key = str(uuid4())
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(boundary, calls))
        trap.begin()
        with suppress(Crash):
            await submitted(
                replace(shop, services=services), dispute, texts={"customer_name": "Ada"}, files=[a_file()],
                idempotency_key=key,
            )  # fmt: skip
        trap.arm(None)
    await shop.recover()
    again = await submitted(
        shop, dispute, texts={"customer_name": "Ada"}, files=[a_file()], idempotency_key=key
    )
    assert (again.error, again.dispute.status) == (None, DisputeStatus.UNDER_REVIEW)
    theirs = await at_stripe(shop, dispute)
    assert theirs["evidence_details"]["submission_count"] == 1
    [kept] = await EvidenceFile.filter(dispute_id=dispute.id)
    assert (kept.stripe_file_id, kept.content) == (theirs["evidence"]["customer_signature"], None)


async def test_a_file_that_is_still_to_be_uploaded_is_not_lost_to_another_of_its_kind(
    shop: Shop, dispute: Dispute
) -> None:
    trap = Trap()
    async with trapped(shop.services, trap, shop.sandbox) as services:
        trap.arm(Trouble.crash(Boundary.RESERVED, 0))
        trap.begin()
        with suppress(Crash):
            await submitted(replace(shop, services=services), dispute, files=[a_file()], submit=False)
    await submitted(shop, dispute, files=[a_file(PDF + b", and countersigned")], submit=False)
    await shop.recover()
    assert not await Operation.filter(status=OperationStatus.PARKED).exists()
    [kept] = await EvidenceFile.filter(dispute_id=dispute.id)
    assert kept.stripe_file_id == (await at_stripe(shop, dispute))["evidence"]["customer_signature"]


async def test_an_inquiry_is_answered_as_a_dispute_is(disputing: Disputing, shop: Shop) -> None:
    dispute = await disputing.disputed(await shop.paid(), status="warning_needs_response")
    answered = await submitted(shop, dispute)
    assert answered.dispute.status is DisputeStatus.WARNING_UNDER_REVIEW


async def test_one_who_says_they_paid_twice_is_told_of_the_other_payment(disputing: Disputing, shop: Shop) -> None:
    other, payment = await shop.paid(), await shop.paid()
    dispute = await disputing.disputed(payment, reason="duplicate")
    await submitted(shop, dispute)
    evidence = (await at_stripe(shop, dispute))["evidence"]
    assert evidence["duplicate_charge_id"] == other.stripe_charge_id
    assert "“Wine tasting”" in evidence["duplicate_charge_explanation"]


async def test_a_host_is_not_told_what_the_guest_paid_to_others(disputing: Disputing, shop: Shop) -> None:
    other, payment = await shop.paid(), await shop.paid()
    await Payment.filter(id=other.id).update(host_id=shop.guest.id)
    await submitted(shop, await disputing.disputed(payment, reason="duplicate"))
    dispute = await Dispute.get(payment_id=payment.id)
    assert not {"duplicate_charge_id", "duplicate_charge_explanation"} & dispute.evidence.keys()
