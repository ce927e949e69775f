"""All kinds of objects that are compared, in the order in which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.reconciliation.objects.charges import Charges
from services.reconciliation.objects.refunds import Refunds

if TYPE_CHECKING:
    from services.reconciliation.objects.kind import ObjectKind

KINDS: Final[tuple[ObjectKind, ...]] = (Charges(), Refunds())
"""A new kind is a row here."""


def kind_named(name: str) -> ObjectKind:
    """The kind of this name.

    Raises: LookupError.
    """
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise LookupError(f"no kind of object is named {name}")
