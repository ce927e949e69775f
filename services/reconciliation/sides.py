"""What each side says of one object, and in which words they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.reconciliations import DriftKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from models.money import Money

_NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Side:
    """One side's account of an object: its status in Stripe's words, and its amounts by what they are called.

    An amount that only one side has is not compared; one that is None is missing where it should be.
    """

    status: str | None
    amounts: Mapping[str, Money | None]
    subjects: frozenset[UUID] = field(default_factory=frozenset)
    """Ours alone: the rows that it is about, for which operations may be under way."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which they differ; `labels` are the amounts that do."""

    kind: DriftKind
    words: str
    here: Money | None = None
    at_stripe: Money | None = None
    labels: frozenset[str] = frozenset()


def differences(here: Side | None, there: Side | None) -> list[Difference]:
    """How the sides differ, at most once in each kind; empty where they agree, or there is nothing on either."""
    if here is None and there is None:
        return []
    if here is None or there is None:
        return [_missing(here, there)]
    found: list[Difference] = []
    differing = {
        label: (here.amounts[label], amount)
        for label, amount in there.amounts.items()
        if label in here.amounts and here.amounts[label] != amount
    }
    if differing:
        words = " ".join(
            f"The {label} is {_shown(ours)} here and {_shown(theirs)} at Stripe."
            for label, (ours, theirs) in differing.items()
        )
        ours, theirs = next(iter(differing.values()))
        found.append(Difference(DriftKind.AMOUNT_DIFFERS, words, ours, theirs, frozenset(differing)))
    if here.status != there.status:
        words = f"It is {_said(here.status)} here and {_said(there.status)} at Stripe."
        found.append(Difference(DriftKind.STATUS_DIFFERS, words, _main(here), _main(there)))
    return found


def _missing(here: Side | None, there: Side | None) -> Difference:
    if here is None:
        words = f"Stripe has it, {_said(there.status if there else None)}; here it is missing."
        return Difference(DriftKind.MISSING_HERE, words, None, _main(there))
    words = f"It is here, {_said(here.status)}; Stripe knows nothing of it."
    return Difference(DriftKind.MISSING_AT_STRIPE, words, _main(here), None)


def _main(side: Side | None) -> Money | None:
    """The first amount: the object's own."""
    return next(iter(side.amounts.values()), None) if side is not None else None


def _shown(amount: Money | None) -> str:
    return _NOTHING if amount is None else str(amount)


def _said(status: str | None) -> str:
    return (status or "without a status").replace("_", " ")
