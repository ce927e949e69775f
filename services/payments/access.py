"""Who may see and do what with a payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.base import from_record
from models.payments import Payment
from services.errors import Forbidden, InvalidState, NotFound
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any
    from uuid import UUID

    from models.sets import AnyConnection
    from services.viewer import Viewer

_LOCK = """
SELECT p.*, payer.external_id AS payer_external_id, host.external_id AS host_external_id,
    pg_current_xact_id()::text::bigint AS xid
FROM payments p JOIN users payer ON payer.id = p.payer_id LEFT JOIN users host ON host.id = p.host_id
WHERE p.id = $1 FOR NO KEY UPDATE OF p
"""


async def lock_for_payer(connection: AnyConnection, viewer: Viewer, payment_id: UUID) -> tuple[Payment, int]:
    """The locked payment and the transaction's id, for what its guest may do, and host, service and admin too.

    Raises: NotFound where the viewer may not see it.
    """
    record = await _visible(connection, viewer, payment_id)
    return from_record(Payment, record), record["xid"]


async def lock_for_host(connection: AnyConnection, viewer: Viewer, payment_id: UUID) -> tuple[Payment, int]:
    """The locked payment and the transaction's id, for what only its host, service and admin may do.

    Raises: NotFound where the viewer may not see it; Forbidden for its guest.
    """
    record = await _visible(connection, viewer, payment_id)
    if viewer.role is Role.USER and record["host_external_id"] != viewer.external_id:
        whose = "host of the activity" if record["host_external_id"] is not None else "platform"
        raise Forbidden(f"Only the {whose} may do this.")
    return from_record(Payment, record), record["xid"]


async def require_takes_place(connection: AnyConnection, payment: Payment) -> None:
    """Refuse to take money for an activity that was canceled.

    One that is canceled at this very moment is nobody's loss: what is paid for it is given back.

    Raises: InvalidState.
    """
    canceled_at = await connection.fetchval("SELECT canceled_at FROM activities WHERE id = $1", payment.activity_id)
    if canceled_at is not None:
        raise InvalidState("This activity has been canceled.", state="CANCELED")


async def _visible(connection: AnyConnection, viewer: Viewer, payment_id: UUID) -> Mapping[str, Any]:
    record = await connection.fetchrow(_LOCK, payment_id)
    if record is None or not _may_see(viewer, record["payer_external_id"], record["host_external_id"]):
        raise NotFound("There is no such payment.", path=["input", "paymentId"])
    return dict(record)


def _may_see(viewer: Viewer, payer: str, host: str | None) -> bool:
    return viewer.role is not Role.USER or viewer.external_id in {payer, host}
