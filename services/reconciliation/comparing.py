"""Comparing what Stripe lists of some seconds with what is here, and looking again before a difference is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from models.base import new_id
from models.reconciliations import Drift, DriftKind
from services.reconciliation.sides import Side, differences

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from models.money import Money
    from services.core import Services
    from services.reconciliation.objects.kind import ObjectKind
    from services.reconciliation.sides import Difference
    from services.reconciliation.windows import Window

# What is on its way here is no drift: an operation about it that has not ended, an event of it that waits.
_UNDER_WAY: Final = """
SELECT EXISTS (SELECT FROM operations WHERE status = 'RUNNING' AND subject_id = ANY($1)) OR EXISTS (
    SELECT FROM webhook_events WHERE status = 'RECEIVED' AND payload #>> '{data,object,id}' = $2
)
"""


_OURS: Final = frozenset({"payment_id", "refund_id", "transfer_id"})


@dataclass(slots=True)
class Compared:
    """What came of a window: how many objects were compared, how many agreed, and how the others differ."""

    checked: int = 0
    matched: int = 0
    found: list[tuple[str, Difference, Mapping[str, Any] | None, bool]] = field(default_factory=list)
    """Stripe's id, the difference, the object as Stripe has it, and whether what it belongs to is known here."""
    foreign: str = ""
    """An object of another program that was told of."""
    more_foreign: int = 0
    """How many more there were; they count as nothing else."""

    def drifts(self, run_id: UUID, kind: ObjectKind, account: str) -> list[Drift]:
        """Their rows."""
        return [
            _drift(run_id, kind, account, stripe_id, difference, body, known=known)
            for stripe_id, difference, body, known in self.found
        ]


@dataclass(frozen=True, slots=True)
class Look:
    """One object as both sides have it at this moment."""

    body: dict[str, Any] | None
    differences: list[Difference]
    subjects: frozenset[UUID]


async def look(services: Services, kind: ObjectKind, account: str, stripe_id: str) -> Look:
    """Look at one object on both sides.

    Raises: StripeError.
    """
    body = await kind.fetch(services, account, stripe_id)
    async with services.database.pool.acquire() as connection:
        here = (await kind.here(connection, account, [stripe_id])).get(stripe_id)
    there = None if body is None else kind.there(body)
    return Look(body, differences(here, there), here.subjects if here else frozenset())


async def is_under_way(services: Services, seen: Look, stripe_id: str) -> bool:
    """Whether something that would change it has not ended here."""
    return bool(await services.database.pool.fetchval(_UNDER_WAY, list(seen.subjects), stripe_id))


async def compare(
    services: Services, kind: ObjectKind, account: str, window: Window, *, foreign: str = ""
) -> Compared:
    """Compare what was made in a window, both ways.

    Of what another program made on the platform one object is enough to tell of; what names a row of ours is looked at
    each by each.

    Args:
        foreign: the object of another program that the run has told of already, if any.

    Raises: StripeError where one has to be looked at again and Stripe cannot be reached.
    """
    theirs = {body["id"]: side for body in window.objects if (side := kind.there(body)) is not None}
    bodies = {body["id"]: body for body in window.objects}
    first, until = (datetime.fromtimestamp(second, UTC) for second in (window.first, window.until))
    async with services.database.pool.acquire() as connection:
        ours = await kind.here(connection, account, list(theirs))
        made = await kind.made_between(connection, account, first, until)
        unknown = [bodies[id_] for id_ in theirs if id_ not in ours]
        owned = await kind.owned(connection, account, unknown) if unknown else set()
    compared = Compared(foreign=foreign)
    others = {body["id"]: _names_ours(body) for body in unknown if body["id"] not in owned}
    for id_, there in theirs.items():
        if id_ in others and account:
            continue  # what else a host sells is nobody's business here
        is_foreign = not others.get(id_, True)
        if is_foreign and compared.foreign:
            compared.more_foreign += 1
            continue
        compared.checked += 1
        if not differences(ours.get(id_), there):
            compared.matched += 1
            continue
        differs = await _look_again(services, kind, account, id_, compared, known=id_ not in others)
        if differs and is_foreign:
            compared.foreign = id_
    for id_ in sorted(made - bodies.keys()):
        if await kind.fetch(services, account, id_) is None:
            compared.checked += 1
            await _look_again(services, kind, account, id_, compared, known=True)
    return compared


async def _look_again(
    services: Services, kind: ObjectKind, account: str, id_: str, compared: Compared, *, known: bool
) -> bool:
    """Keep what still differs, unless it is on its way.

    Returns: whether there was any.
    """
    seen = await look(services, kind, account, id_)
    found = seen.differences
    if seen.body is None and not found:  # the ledger alone knows of it
        found = differences(Side(None, {}), None)
    if not found or await is_under_way(services, seen, id_):
        compared.matched += 1
        return False
    compared.found += [(id_, difference, seen.body, known) for difference in found]
    return True


def _names_ours(body: Mapping[str, Any]) -> bool:
    """Whether its metadata says that it was made here: its row is lost, then, and it is no other program's."""
    return not _OURS.isdisjoint(body.get("metadata") or ())


def of_another_program(number: int) -> str:
    """What a drift says of so many more of its kind, which have none of their own."""
    objects = "object is" if number == 1 else "objects are"
    return f" {number} more {objects} of another program as well."


def _drift(
    run_id: UUID, kind: ObjectKind, account: str, stripe_id: str, difference: Difference,
    body: Mapping[str, Any] | None, *, known: bool,
) -> Drift:  # fmt: skip
    remedy = kind.remedy(difference, body, known=known)
    return Drift(
        id=new_id(), run_id=run_id, kind=difference.kind, object_type=kind.name, stripe_id=stripe_id,
        stripe_account=account, **_money("here", difference.here), **_money("at_stripe", difference.at_stripe),
        detail=f"{difference.words} {remedy.words}", repair=remedy.repair,
    )  # fmt: skip


def no_access(run_id: UUID, account: str, code: str) -> Drift:
    """An account that Stripe does not let us look into."""
    return Drift(
        id=new_id(), run_id=run_id, kind=DriftKind.MISSING_AT_STRIPE, object_type="account", stripe_id=account,
        stripe_account=account, repair=None,
        detail=f"Stripe does not let Paydesk look into this account ({code}): what is on it cannot be compared."
        " Its host may have taken the platform's access away.",
    )  # fmt: skip


def _money(side: str, amount: Money | None) -> dict[str, Any]:
    return {
        f"{side}_minor": None if amount is None else amount.minor,
        f"{side}_currency": None if amount is None else amount.currency,
    }
