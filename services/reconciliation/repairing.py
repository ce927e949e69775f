"""Repairing drifts: looked at once more, put right through the code that settles, and looked at again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.base import from_record
from models.reconciliations import Drift
from services.changes import ChangeSet
from services.errors import InvalidState, NotFound, OperationInProgress, StripeUnavailable
from services.reconciliation.comparing import is_under_way, look
from services.reconciliation.objects.catalogue import kind_named
from services.stripe_gateway import StripeNotSent, StripeUnknownOutcome
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.viewer import Viewer

_VANISHED: Final = "It had vanished before it was repaired: both sides agree."
_REPAIRED: Final = "It was repaired: both sides agree."
_RETRY_AFTER_S: Final = 2
_END: Final = """
UPDATE drifts SET resolution = $2, repaired_at = $3, repaired_by = $4, updated_at = now()
WHERE id = $1 AND repaired_at IS NULL RETURNING *
"""


async def repair_drift(services: Services, *, viewer: Viewer, drift_id: UUID) -> Drift:
    """Put a drift right; one that was repaired already, or has vanished, is answered as it is. Admins only.

    Raises: Forbidden; NotFound; InvalidState where nothing can safely be done about it, or what was done did not help;
        OperationInProgress while something about it is under way; StripeUnavailable.
    """
    viewer.require(Role.ADMIN)
    return await repair(services, drift_id, actor=viewer.caller)


async def repair(services: Services, drift_id: UUID, *, actor: str) -> Drift:
    """As `repair_drift`, for operators."""
    drift = await Drift.get_or_none(id=drift_id)
    if drift is None:
        raise NotFound("There is no such drift.", path=["input", "driftId"])
    if drift.repaired_at is not None:
        return drift
    try:
        return await _repair(services, drift, actor)
    except (StripeNotSent, StripeUnknownOutcome) as error:
        raise StripeUnavailable(retry_after_seconds=_RETRY_AFTER_S) from error


async def _repair(services: Services, drift: Drift, actor: str) -> Drift:
    if drift.object_type == "account":
        raise _not_safe(drift)
    kind = kind_named(drift.object_type)
    seen = await look(services, kind, drift.stripe_account, drift.stripe_id)
    if await is_under_way(services, seen, drift.stripe_id):
        raise OperationInProgress(
            "Something about this is under way. Please try again in a moment.", retry_after_seconds=_RETRY_AFTER_S
        )
    if _of_its_kind(drift, seen.differences) is None:
        return await _ended(services, drift, _VANISHED, actor)
    if drift.repair is None or seen.body is None:
        raise _not_safe(drift)
    await kind.mend(services, drift, seen.body, actor=actor)
    left = await look(services, kind, drift.stripe_account, drift.stripe_id)
    still = _of_its_kind(drift, left.differences)
    if still is not None:
        text = f"The repair did not help: {still.words} A person has to look."
        raise InvalidState(text, state="STILL_DIFFERS")
    return await _ended(services, drift, _REPAIRED, actor)


def _of_its_kind(drift: Drift, differences: Sequence[Difference]) -> Difference | None:
    return next((each for each in differences if each.kind is drift.kind), None)


def _not_safe(drift: Drift) -> InvalidState:
    return InvalidState(f"Nothing can safely be done about this drift. {drift.detail}", state="NO_REPAIR")


async def _ended(services: Services, drift: Drift, resolution: str, actor: str) -> Drift:
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_END, drift.id, resolution, services.clock(), actor)
        if record is None:  # somebody else was faster
            return await Drift.get(id=drift.id)
        changes = ChangeSet(actor, await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
        changes.audit(
            "drift.vanished" if resolution == _VANISHED else "drift.repaired", "DRIFT", drift.id,
            before={
                "kind": drift.kind.value, "object_type": drift.object_type, "stripe_id": drift.stripe_id,
                "stripe_account": drift.stripe_account, "detail": drift.detail,
            },
            after={"resolution": resolution},
        )  # fmt: skip
        await changes.write(connection)
    return from_record(Drift, record)
