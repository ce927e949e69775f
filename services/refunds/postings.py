"""What a refund moves in the ledger and between the hosts' parts, when it is made and when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payments import ChargeModel
from models.refunds import Refund, RefundStatus
from services.ledger import FEES, GUESTS, INCOME, PLATFORM, REFUNDS, LedgerBatch, host_balance, host_owed
from services.refunds import direct
from services.refunds.bearers import bearers_apart, bearers_of
from services.refunds.taking_back import is_apart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.payments import Payment
    from services.refunds.disputed import Lost
    from services.refunds.facts import RefundFacts
    from services.transfers.parts import HostParts


def post_made(
    ledger: LedgerBatch, parts: HostParts, refund: Refund, others: Sequence[Refund], lost: Lost, facts: RefundFacts
) -> dict[UUID, Money]:
    """The platform gives the amount; the host gives it to the platform, and the platform its fee to the host.

    As far as Stripe did so. What it did not is taken of what the platform holds for the hosts, which is less than
    nothing then where their part was sent; but one that Stripe's dashboard made of a destination charge without its
    host the platform bears. What an invoice brought in is all the platform's own.

    Args:
        parts: of the locked payment; changed.
        others: the payment's other refunds.
        lost: what lost disputes took.

    Returns: what is still to be taken back of each allocation.
    """
    payment, amount, common = parts.payment, refund.amount, _common(parts.payment, refund, facts)
    apart = is_apart(parts, refund, facts)
    if apart:
        bearers = bearers_apart(payment, refund, others, parts.left, lost)
    else:
        owed = sum((part.allocation.owed for part in parts.parts), Money.zero(payment.currency))
        bearers = bearers_of(payment, refund, others, owed, facts, lost)
    refund.fee_minor, refund.host_minor, refund.platform_minor = (
        bearers.fee.minor, bearers.host.minor, bearers.platform.minor,
    )  # fmt: skip
    refund.application_fee_refunded_minor = bearers.application_fee_refunded.minor
    if parts.parts and payment.charge_model is ChargeModel.DIRECT:
        direct.post_made(ledger, refund, bearers, parts.parts[0].allocation, common)
        return {}
    refund.transfer_reversed_minor = bearers.transfer_reversed.minor
    ledger.move(
        LedgerTransactionKind.REFUND, f"refund:{facts.id}", [(PLATFORM, -amount), (REFUNDS, amount)], **common
    )
    if payment.charge_model is ChargeModel.PLATFORM:
        ledger.move(
            LedgerTransactionKind.INVOICE_INCOME, f"invoice_income_refund:{facts.id}",
            [(INCOME, -amount), (PLATFORM, amount)], **common,
        )  # fmt: skip
    if not parts.parts:
        return {}
    if not apart:
        host, fee = host_balance(parts.parts[0].allocation.host_id), bearers.application_fee_refunded
        ledger.move(
            LedgerTransactionKind.TRANSFER_REVERSAL, f"transfer_reversal:{facts.id}",
            [(host, -bearers.transfer_reversed), (PLATFORM, bearers.transfer_reversed)], **common,
        )  # fmt: skip
        ledger.move(
            LedgerTransactionKind.APPLICATION_FEE_REFUND, f"application_fee_refund:{facts.id}",
            [(FEES, -fee), (host, fee)], **common,
        )  # fmt: skip
        parts.parts[0].allocation.reversed_minor += (bearers.transfer_reversed - fee).minor
    taken = parts.lower(bearers.host_held)
    ledger.move(
        LedgerTransactionKind.REFUND, f"refund_of_held:{facts.id}",
        [(FEES, -bearers.fee_held), *_owed(parts, taken, -1), (PLATFORM, bearers.fee_held + bearers.host_held)],
        **common,
    )  # fmt: skip
    return taken if apart else {}


def post_moved(
    ledger: LedgerBatch, parts: HostParts, refund: Refund, was: RefundStatus, facts: RefundFacts
) -> None:
    """A refund has arrived, or comes back: to the platform, which owes the hosts their part and keeps its fee again.

    Stripe does not undo the reversal of the transfer ("Handle failed refunds").
    """
    payment, amount, common = parts.payment, refund.amount, _common(parts.payment, refund, facts)
    if refund.status is RefundStatus.SUCCEEDED:
        ledger.move(
            LedgerTransactionKind.REFUND_PAID, f"refund_paid:{facts.id}", [(REFUNDS, -amount), (GUESTS, amount)],
            **common,
        )  # fmt: skip
        return
    if refund.status.holds_money:
        return
    was_paid = was is RefundStatus.SUCCEEDED
    if parts.parts and payment.charge_model is ChargeModel.DIRECT:
        direct.post_failed(ledger, refund, parts.parts[0].allocation, common, was_paid=was_paid)
        return
    ledger.move(
        LedgerTransactionKind.REFUND_FAILED, f"refund_failed:{facts.id}",
        [(GUESTS if was_paid else REFUNDS, -amount), (PLATFORM, amount)], **common,
    )  # fmt: skip
    if payment.charge_model is ChargeModel.PLATFORM:
        ledger.move(
            LedgerTransactionKind.INVOICE_INCOME, f"invoice_income_kept:{facts.id}",
            [(PLATFORM, -amount), (INCOME, amount)], **common,
        )  # fmt: skip
    if not parts.parts:
        return
    fee, host_part = Money(refund.fee_minor, refund.currency), Money(refund.host_minor, refund.currency)
    given = parts.raise_again(host_part, now=facts.created_at)
    ledger.move(
        LedgerTransactionKind.REFUND_FAILED, f"refund_failed_owed:{facts.id}",
        [(PLATFORM, -(fee + host_part)), (FEES, fee), *_owed(parts, given, 1)], **common,
    )  # fmt: skip


def _owed(parts: HostParts, shares: dict[UUID, Money], sign: int) -> list[tuple[Any, Money]]:
    return [(host_owed(part.allocation.host_id), shares[part.allocation.id] * sign) for part in parts.parts]


def _common(payment: Payment, refund: Refund, facts: RefundFacts) -> dict[str, Any]:
    return {
        "occurred_at": facts.created_at,
        "payment_id": payment.id,
        "refund_id": refund.id,
        "stripe_object_id": facts.id,
        "stripe_account": payment.stripe_account,
    }
