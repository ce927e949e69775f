"""Accepting disputes: giving one up, which loses it at once and for good ("Close a dispute")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.disputes import Dispute, DisputeStatus
from services.dispute_requests import close_dispute, retrieve_dispute
from services.disputes.facts import DisputeFacts
from services.disputes.reading import lock_dispute
from services.disputes.settlement import Ending, settle_dispute
from services.disputes.submission import AnsweredDispute
from services.errors import InvalidState
from services.operations import Intent, PlannedAtReserve, PlannedStep, Refusal, recorded_error, reserve
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from uuid import UUID

    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.operations import Answers
    from services.viewer import Viewer

ACCEPT: Final = "accept_dispute"
_CLOSE: Final = "close_dispute"


async def accept_dispute(
    services: Services, *, viewer: Viewer, dispute_id: UUID, idempotency_key: str
) -> AnsweredDispute:
    """Give a dispute up, so that it is lost: for the activity's host, service and admin.

    The guest keeps the money, the hosts give their part back and the platform its fee, in proportion.

    Raises: Forbidden, NotFound, InvalidState, IdempotencyKeyReused, OperationInProgress, StripeUnavailable.
    """
    intent = Intent(viewer.caller, idempotency_key, ACCEPT, {"dispute_id": str(dispute_id)})

    async def plan(connection: AnyConnection, _: Operation) -> list[PlannedStep]:
        dispute = (await lock_dispute(connection, viewer, dispute_id)).dispute
        _require_acceptable(dispute)
        return [PlannedStep(_CLOSE, close_dispute(dispute.stripe_dispute_id, stripe_account=dispute.stripe_account))]

    reserved = await reserve(services, intent, plan, subject_id=dispute_id)
    operation = (await services.operations.end(services, reserved)).operation
    return AnsweredDispute(await Dispute.get(id=dispute_id), recorded_error(operation))


def _require_acceptable(dispute: Dispute) -> None:
    status = dispute.status
    if status is DisputeStatus.NEEDS_RESPONSE:
        return
    if status.is_inquiry and status.is_open:
        message = "The bank only asks about this payment. Refund it to accept that."
    elif status.is_open:
        message = "The evidence of this dispute was handed in: the bank decides now."
    else:
        message = "This dispute has been decided already."
    raise InvalidState(message, state=status.value)


class AcceptDispute(PlannedAtReserve):
    """How accepting goes on: one call, planned at reserve."""

    name = ACCEPT

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Settle the dispute as it is now."""
        dispute = await Dispute.get(id=operation.subject_id).select_related("payment")
        error = None
        if isinstance(answers.get(_CLOSE), Refusal):
            error = InvalidState("Stripe did not close the dispute: it has moved on.", state="REFUSED")
        await settle_dispute(
            services, dispute.payment, dispute.stripe_dispute_id, actor=operation.caller,
            ends=Ending(operation, answers, error),
        )  # fmt: skip

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The dispute, where it is closed: by this call or not, it cannot be closed again."""
        dispute = await Dispute.get(id=operation.subject_id)
        request = retrieve_dispute(dispute.stripe_dispute_id, stripe_account=dispute.stripe_account)
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        return None if DisputeFacts.parse(body).status.is_open else body
