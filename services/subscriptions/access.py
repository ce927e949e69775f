"""Who may do what with a subscription: its guest, service and admin; to anyone else it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.subscriptions import BillingSubscription
from services.errors import NotFound, OperationInProgress
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.operations import Operation
    from models.sets import AnyConnection
    from services.viewer import Viewer

# The guest first: what one subscription may become depends on the guest's others.
_GUEST = """
SELECT u.external_id FROM users u JOIN subscriptions s ON s.user_id = u.id WHERE s.id = $1 FOR NO KEY UPDATE OF u
"""
_BUSY = "SELECT EXISTS (SELECT FROM operations WHERE subject_id = $1 AND id <> $2 AND status = 'RUNNING')"

RETRY_AFTER_S = 2


async def lock_for_guest(
    connection: AnyConnection, viewer: Viewer, subscription_id: UUID, operation: Operation
) -> BillingSubscription:
    """The locked subscription and its guest, for an operation on it: there is one at a time.

    Raises: NotFound where the viewer may not see it; OperationInProgress while another operation on it, that which
        makes it included, is under way.
    """
    guest = await connection.fetchval(_GUEST, subscription_id)
    if guest is None or not _may_see(viewer, guest):
        raise NotFound("There is no such subscription.", path=["input", "subscriptionId"])
    record = await connection.fetchrow(
        "SELECT * FROM subscriptions WHERE id = $1 FOR NO KEY UPDATE", subscription_id
    )
    if record is None:
        raise RuntimeError("a subscription is gone")
    subscription = from_record(BillingSubscription, record)
    unmade = subscription.stripe_subscription_id is None and not subscription.status.is_final
    if unmade or await connection.fetchval(_BUSY, subscription_id, operation.id):
        raise OperationInProgress(retry_after_seconds=RETRY_AFTER_S)
    return subscription


async def visible_subscription(
    connection: AnyConnection, viewer: Viewer, subscription_id: UUID, *, path: Sequence[str]
) -> BillingSubscription:
    """The subscription as it is, for those who may see it.

    Raises: NotFound.
    """
    record = await connection.fetchrow(
        """
        SELECT s.*, u.external_id AS guest FROM subscriptions s JOIN users u ON u.id = s.user_id WHERE s.id = $1
        """,
        subscription_id,
    )
    if record is None or not _may_see(viewer, record["guest"]):
        raise NotFound("There is no such subscription.", path=[*path])
    return from_record(BillingSubscription, {name: value for name, value in record.items() if name != "guest"})


def _may_see(viewer: Viewer, guest: str) -> bool:
    return viewer.role is not Role.USER or viewer.external_id == guest
