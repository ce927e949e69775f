"""What it means that money was taken: who gets what of it, and its gross postings, by the way it was charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.ledger import LedgerTransactionKind
from models.payments import ChargeModel, shares_of
from services.fees import fee_for_capture
from services.ledger import FEES, GUESTS, INCOME, PLATFORM, LedgerBatch, Pot, host_balance, host_owed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.money import Money
    from models.payments import Payment, PaymentAllocation
    from services.payments.facts import IntentFacts


def take_in(
    payment: Payment, allocations: Sequence[PaymentAllocation], facts: IntentFacts, ledger: LedgerBatch,
    *, now: datetime, release_at: datetime,
) -> None:  # fmt: skip
    """Share a captured amount out, and post it.

    Args:
        allocations: of all hosts, which are changed.
        release_at: when hosts' parts that the platform holds may be sent.
    """
    received = facts.received
    fee = _fee(payment, facts)
    payment.captured_minor = received.minor
    payment.platform_fee_minor = fee.minor
    payment.host_amount_minor = (received - fee).minor
    charge = facts.charge
    charge_id = facts.charge_id or facts.id
    common: dict[str, Any] = {"occurred_at": charge.created_at if charge else now, "payment_id": payment.id}
    if not allocations and payment.charge_model is not ChargeModel.PLATFORM:
        return
    if payment.charge_model is ChargeModel.DIRECT:
        allocation = allocations[0]
        allocation.amount_minor = allocation.transferred_minor = payment.host_amount_minor
        host = host_balance(allocation.host_id)
        ledger.move(
            LedgerTransactionKind.CHARGE, f"charge:{charge_id}", [(GUESTS, -received), (host, received)],
            stripe_object_id=charge_id, stripe_account=payment.stripe_account, **common,
        )  # fmt: skip
        _post_fee(ledger, host, fee, facts, common)
        return
    ledger.move(
        LedgerTransactionKind.CHARGE, f"charge:{charge_id}", [(GUESTS, -received), (PLATFORM, received)],
        stripe_object_id=charge_id, **common,
    )  # fmt: skip
    if payment.charge_model is ChargeModel.PLATFORM:
        ledger.move(
            LedgerTransactionKind.INVOICE_INCOME, f"invoice_income:{charge_id}",
            [(PLATFORM, -received), (INCOME, received)], stripe_object_id=charge_id, **common,
        )  # fmt: skip
    elif payment.charge_model is ChargeModel.SEPARATE:
        _set_aside(payment, allocations, release_at)
        owed = [(host_owed(its.host_id), its.amount) for its in allocations]
        ledger.move(
            LedgerTransactionKind.ALLOCATION, f"allocation:{charge_id}", [(PLATFORM, -received), (FEES, fee), *owed],
            stripe_object_id=charge_id, **common,
        )  # fmt: skip
    else:
        allocation = allocations[0]
        allocation.amount_minor = allocation.transferred_minor = payment.host_amount_minor
        host = host_balance(allocation.host_id)
        ledger.move(
            LedgerTransactionKind.TRANSFER, f"transfer:{charge_id}", [(PLATFORM, -received), (host, received)],
            stripe_object_id=charge.transfer_id if charge else None, **common,
        )  # fmt: skip
        _post_fee(ledger, host, fee, facts, common)


def _post_fee(ledger: LedgerBatch, host: Pot, fee: Money, facts: IntentFacts, common: dict[str, Any]) -> None:
    charge = facts.charge
    ledger.move(
        LedgerTransactionKind.APPLICATION_FEE, f"application_fee:{facts.charge_id or facts.id}",
        [(host, -fee), (FEES, fee)], stripe_object_id=charge.application_fee_id if charge else None, **common,
    )  # fmt: skip


def _fee(payment: Payment, facts: IntentFacts) -> Money:
    """The platform's part; of what was captured in Stripe's dashboard it may be any, where Stripe takes it."""
    if payment.charge_model is ChargeModel.PLATFORM:
        return facts.received
    if facts.charge is None or payment.charge_model is ChargeModel.SEPARATE:
        return fee_for_capture(payment, facts.received)
    return facts.charge.fee


def _set_aside(payment: Payment, allocations: Sequence[PaymentAllocation], release_at: datetime) -> None:
    ordered = sorted(allocations, key=lambda allocation: allocation.id)
    parts = shares_of(payment.host_amount, [allocation.share for allocation in ordered])
    for allocation, part in zip(ordered, parts, strict=True):
        allocation.amount_minor = allocation.owed_minor = part.minor
        allocation.release_at = release_at if part else None
