"""All kinds of objects that are compared, in the order in which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.reconciliation.objects.balance_transactions import BalanceTransactions
from services.reconciliation.objects.charges import Charges
from services.reconciliation.objects.disputes import Disputes
from services.reconciliation.objects.payouts import Payouts
from services.reconciliation.objects.refunds import Refunds
from services.reconciliation.objects.transfers import Transfers

if TYPE_CHECKING:
    from services.reconciliation.objects.kind import ObjectKind

KINDS: Final[tuple[ObjectKind, ...]] = (
    Charges(), Refunds(), Transfers(), Payouts(), Disputes(), BalanceTransactions(),
)  # fmt: skip
"""A new kind is a row here."""


def kind_named(name: str) -> ObjectKind:
    """The kind of this name.

    Raises: LookupError.
    """
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise LookupError(f"no kind of object is named {name}")
