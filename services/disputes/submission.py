"""Answering disputes: evidence staged or handed in, with files, completed by what Paydesk knows itself.

Each file is a step of its own, and the evidence the last one: a file at Stripe that no evidence names does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.base import new_id
from models.disputes import Dispute, EvidenceFile
from models.sets import insert_rows
from services.dispute_requests import retrieve_dispute, update_dispute, upload_evidence
from services.disputes.evidence import TEXT_MAX, TEXTS, TEXTS_MAX, gathered_evidence
from services.disputes.facts import DisputeFacts
from services.disputes.files import check_size, checked_files
from services.disputes.reading import lock_dispute
from services.disputes.settlement import Ending, settle_dispute
from services.errors import DomainError, InvalidInput, InvalidState
from services.operations import Intent, PlannedStep, Refusal, keep_arguments, recorded_error, reserve
from services.stripe_gateway import Priority, StripeRefusedError, StripeResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.disputes.files import CheckedFile, FileInput
    from services.operations import Answers
    from services.viewer import Viewer

SUBMIT: Final = "submit_dispute_evidence"
_UPDATE: Final = "update_dispute"
_UPLOAD: Final = "upload:"


@dataclass(frozen=True, slots=True)
class AnsweredDispute:
    """The dispute as it is now, and why Stripe refused what was wanted of it."""

    dispute: Dispute
    error: DomainError | None


async def submit_dispute_evidence(
    services: Services,
    *,
    viewer: Viewer,
    dispute_id: UUID,
    texts: Mapping[str, str],
    files: Sequence[FileInput],
    submit: bool,
    idempotency_key: str,
) -> AnsweredDispute:
    """Stage evidence, or hand it in: for the activity's host, service and admin.

    What is handed in is what was given here, then what was staged before, then what Paydesk knows itself. Banks look
    at it once: what was handed in cannot be changed.

    Args:
        texts: by Stripe's names; an empty one is left out of the evidence, whatever Paydesk knows.

    Raises: Forbidden, NotFound, InvalidInput, InvalidState, IdempotencyKeyReused, OperationInProgress,
        StripeUnavailable.
    """
    _check_texts(texts)
    checked = checked_files(files)
    intent = Intent(
        viewer.caller, idempotency_key, SUBMIT,
        {
            "dispute_id": str(dispute_id), "texts": dict(texts), "submit": submit,
            "files": [[file.field.value, file.name, file.digest] for file in checked],
        },
    )  # fmt: skip
    dispute = await Dispute.get_or_none(id=dispute_id)
    known = (await gathered_evidence(services, [dispute]))[dispute_id] if dispute is not None and submit else {}

    async def plan(connection: AnyConnection, operation: Operation) -> list[PlannedStep]:
        locked = await lock_dispute(connection, viewer, dispute_id)
        _require_answerable(locked.dispute, services.clock())
        evidence = {**_not_yet_said(known, locked.dispute), **texts}
        if not evidence and not checked and not (submit and locked.dispute.evidence):
            raise InvalidInput("evidence", "There is nothing to hand in.")
        _check_together({**locked.dispute.evidence, **evidence})
        await keep_arguments(
            connection, operation,
            {"evidence": evidence, "submit": submit, "submissions": locked.dispute.submission_count},
        )  # fmt: skip
        if checked:
            check_size(checked, await _staged(connection, dispute_id, checked))
        rows = [_row(locked.dispute, file) for file in checked]
        await insert_rows(connection, EvidenceFile, rows)
        await keep_arguments(connection, operation, {"files": [[str(row.id), row.field] for row in rows]})
        if not rows:
            return [_update(operation, locked.dispute, {})]
        account = locked.payment.stripe_account
        return [
            PlannedStep(f"{_UPLOAD}{row.id}", upload_evidence(evidence_file=str(row.id), stripe_account=account))
            for row in rows
        ]

    reserved = await reserve(services, intent, plan, subject_id=dispute_id)
    operation = (await services.operations.end(services, reserved)).operation
    return AnsweredDispute(await Dispute.get(id=dispute_id), recorded_error(operation))


def _check_texts(texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = ["input", "evidence", _camel(name)]
        if name not in TEXTS:
            raise InvalidInput(path=path, message="There is no such text.")
        if len(text) > TEXT_MAX:
            raise InvalidInput(path=path, message=f"This has at most {TEXT_MAX} characters.")
        if "\x00" in text:
            raise InvalidInput(path=path, message="This must not contain a null character.")


def _check_together(evidence: Mapping[str, str]) -> None:
    if sum(len(text) for name, text in evidence.items() if name in TEXTS) > TEXTS_MAX:
        raise InvalidInput("evidence", f"All texts together have at most {TEXTS_MAX} characters.")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _require_answerable(dispute: Dispute, now: datetime) -> None:
    """Refuse what Stripe would refuse, before it hears of it.

    Raises: InvalidState.
    """
    if not dispute.status.takes_evidence:
        decided = "It has been decided." if not dispute.status.is_open else "Its evidence was handed in."
        raise InvalidState(f"This dispute takes no evidence any more. {decided}", state=dispute.status.value)
    if dispute.evidence_due_by is not None and dispute.evidence_due_by < now:
        raise InvalidState("The time to answer this dispute is over.", state="DEADLINE_PASSED")


def _not_yet_said(known: Mapping[str, str], dispute: Dispute) -> dict[str, str]:
    return {name: text for name, text in known.items() if name not in dispute.evidence}


def _row(dispute: Dispute, file: CheckedFile) -> EvidenceFile:
    return EvidenceFile(
        id=new_id(), dispute_id=dispute.id, field=file.field.value, filename=file.name, media_type=file.media_type,
        content=file.content, size=len(file.content),
    )  # fmt: skip


async def _staged(connection: AnyConnection, dispute_id: UUID, files: Sequence[CheckedFile]) -> int:
    """Bytes of the files of a locked dispute that these do not replace; those on their way to Stripe count too."""
    size: int = await connection.fetchval(
        "SELECT coalesce(sum(size), 0)::bigint FROM evidence_files WHERE dispute_id = $1 AND NOT field = ANY($2)",
        dispute_id, [file.field.value for file in files],
    )  # fmt: skip
    return size


def _update(operation: Operation, dispute: Dispute, files: Mapping[str, str]) -> PlannedStep:
    kept = operation.arguments
    request = update_dispute(
        dispute.stripe_dispute_id, evidence={**kept["evidence"], **files}, submit=kept["submit"],
        metadata={"operation_id": str(operation.id), "dispute_id": str(dispute.id)},
        stripe_account=dispute.stripe_account,
    )  # fmt: skip
    return PlannedStep(_UPDATE, request)


class SubmitDisputeEvidence:
    """How answering a dispute goes on: the files, then the evidence that names them."""

    name = SUBMIT

    async def next_step(self, services: Services, operation: Operation, answers: Answers) -> PlannedStep | None:
        """The evidence, once all files are at Stripe."""
        if answers.get(_UPDATE) is not None:
            return None
        dispute = await Dispute.get(id=operation.subject_id)
        return _update(operation, dispute, _uploaded(operation, answers))

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle the dispute as it is now; what was not taken leaves no files."""
        dispute = await Dispute.get(id=operation.subject_id).select_related("payment")
        error = _error_of(answers, operation)
        uploaded = {} if error is not None else _uploaded(operation, answers)

        async def write(connection: AnyConnection, dispute: Dispute) -> None:
            await _keep_files(connection, operation, dispute, uploaded)

        await settle_dispute(
            services, dispute.payment, dispute.stripe_dispute_id, actor=operation.caller,
            ends=Ending(operation, answers, error, write),
        )  # fmt: skip

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The dispute, where it shows that it was answered. Nothing shows whether a file was uploaded, which does no
        harm a second time.
        """
        if step.step != _UPDATE:
            return None
        dispute = await Dispute.get(id=operation.subject_id)
        request = retrieve_dispute(dispute.stripe_dispute_id, stripe_account=dispute.stripe_account)
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        kept = operation.arguments
        handed_in = kept["submit"] and DisputeFacts.parse(body).submission_count > kept["submissions"]
        named = (body.get("metadata") or {}).get("operation_id")
        return body if handed_in or named == str(operation.id) else None


def _uploaded(operation: Operation, answers: Answers) -> dict[str, str]:
    """Stripe's ids of the files, by what they are."""
    uploaded: dict[str, str] = {}
    for id_, field in operation.arguments["files"]:
        answer = answers.get(f"{_UPLOAD}{id_}")
        if isinstance(answer, StripeResponse):
            uploaded[field] = answer.body["id"]
    return uploaded


async def _keep_files(
    connection: AnyConnection, operation: Operation, dispute: Dispute, uploaded: Mapping[str, str]
) -> None:
    """Note what stands in the evidence now, and forget what does not; contents are Stripe's to keep.

    What others are still uploading is theirs to note.
    """
    for id_, field in operation.arguments["files"]:
        if field in uploaded:
            await connection.execute(
                "UPDATE evidence_files SET stripe_file_id = $2, content = NULL WHERE id = $1", id_, uploaded[field]
            )
        else:
            await connection.execute("DELETE FROM evidence_files WHERE id = $1", id_)
    if uploaded:
        await connection.execute(
            "DELETE FROM evidence_files WHERE dispute_id = $1 AND NOT stripe_file_id = ANY($2)",
            dispute.id, list(dispute.evidence.values()),
        )  # fmt: skip


def _error_of(answers: Answers, operation: Operation) -> DomainError | None:
    """What Stripe's refusal of a step means for the caller."""
    for place, (id_, _) in enumerate(operation.arguments["files"]):
        if isinstance(answers.get(f"{_UPLOAD}{id_}"), Refusal):
            return InvalidInput(path=["input", "files", str(place)], message="Stripe does not take this file.")
    answer = answers.get(_UPDATE)
    if not isinstance(answer, Refusal):
        return answers.error
    error = answer.error
    param = error.param or "" if isinstance(error, StripeRefusedError) else ""
    if param.startswith("evidence["):
        name = param.removeprefix("evidence[").partition("]")[0]
        if name in TEXTS:
            return InvalidInput(path=["input", "evidence", _camel(name)], message="Stripe does not take this text.")
    return InvalidState("Stripe refused the evidence. The dispute is as it was.", state="REFUSED")
