"""What a refund of a direct charge moves: the host gives all of it, and gets the platform's fee back in proportion.

Both happen on the host's account ("Create direct charges"). A refund that fails comes back there; the fee that the
platform has given back for it does not, so that the host owes it ("Handle failed refunds").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.ledger import LedgerTransactionKind
from models.money import Money
from services.ledger import FEES, GUESTS, REFUNDS, LedgerBatch, host_balance, host_owed

if TYPE_CHECKING:
    from models.payments import PaymentAllocation
    from models.refunds import Refund
    from services.refunds.bearers import Bearers


def post_made(
    ledger: LedgerBatch, refund: Refund, parts: Bearers, allocation: PaymentAllocation, common: dict[str, Any]
) -> None:
    """Post a refund that Stripe has made."""
    host, fee, forgiven = host_balance(allocation.host_id), parts.application_fee_refunded, parts.fee_held
    ledger.move(
        LedgerTransactionKind.REFUND, f"refund:{refund.stripe_refund_id}",
        [(host, -refund.amount), (REFUNDS, refund.amount)], **common,
    )  # fmt: skip
    ledger.move(
        LedgerTransactionKind.APPLICATION_FEE_REFUND, f"application_fee_refund:{refund.stripe_refund_id}",
        [(FEES, -fee), (host, fee)], **common,
    )  # fmt: skip
    # The host has had this of the fee since an earlier refund failed.
    ledger.move(
        LedgerTransactionKind.REFUND, f"refund_of_held:{refund.stripe_refund_id}",
        [(FEES, -forgiven), (host_owed(allocation.host_id), forgiven)], **common,
    )  # fmt: skip
    allocation.reversed_minor += (refund.amount - fee).minor
    allocation.owed_minor += forgiven.minor


def post_failed(
    ledger: LedgerBatch, refund: Refund, allocation: PaymentAllocation, common: dict[str, Any], *, was_paid: bool
) -> None:
    """Post a refund that failed."""
    fee = Money(refund.fee_minor, refund.currency)
    ledger.move(
        LedgerTransactionKind.REFUND_FAILED, f"refund_failed:{refund.stripe_refund_id}",
        [(GUESTS if was_paid else REFUNDS, -refund.amount), (host_balance(allocation.host_id), refund.amount)],
        **common,
    )  # fmt: skip
    ledger.move(
        LedgerTransactionKind.REFUND_FAILED, f"refund_failed_owed:{refund.stripe_refund_id}",
        [(host_owed(allocation.host_id), -fee), (FEES, fee)], **common,
    )  # fmt: skip
    allocation.reversed_minor -= refund.amount_minor
    allocation.owed_minor -= fee.minor
