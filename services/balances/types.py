"""Every type of Stripe's balance transactions: what may have meant it here, and as what it is posted where nobody did.

("Balance transaction types".) A type that is not here is kept, posted as an adjustment and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.ledger import LedgerTransactionKind as Kind
from services.ledger import ADJUSTMENTS, STRIPE_FEES, Pot, bank

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class TypeRule:
    """How a type is posted where no movement of ours explains it."""

    kind: Kind
    counter: Callable[[UUID | None], Pot]
    """Where the money came from or went, by whose balance it is: a host's, or (None) the platform's."""
    waits: bool = False
    """Whether a movement of ours may still come that explains it."""


def _adjustments(_owner: UUID | None) -> Pot:
    return ADJUSTMENTS


def _stripe_fees(_owner: UUID | None) -> Pot:
    return STRIPE_FEES


_OURS: Final = TypeRule(Kind.ADJUSTMENT, _adjustments, waits=True)
_OTHER: Final = TypeRule(Kind.ADJUSTMENT, _adjustments)
_FEE: Final = TypeRule(Kind.STRIPE_FEE, _stripe_fees)
_TOP_UP: Final = TypeRule(Kind.TOP_UP, bank)
_PAYOUT: Final = TypeRule(Kind.PAYOUT_PAID, bank, waits=True)

RULES: Final[dict[str, TypeRule]] = {
    # What this program means, or somebody else with the same account at Stripe.
    "charge": _OURS,
    "payment": _OURS,
    "refund": _OURS,
    "payment_refund": _OURS,
    "refund_failure": _OURS,
    "payment_failure_refund": _OURS,
    "payment_reversal": _OURS,
    "transfer": _OURS,
    "transfer_refund": _OURS,
    "application_fee": _OURS,
    "application_fee_refund": _OURS,
    "adjustment": _OURS,
    "payout": _PAYOUT,
    "payout_cancel": _PAYOUT,
    "payout_failure": _PAYOUT,
    # Stripe's price.
    "stripe_fee": _FEE,
    "stripe_fx_fee": _FEE,
    "tax_fee": _FEE,
    "fee_credit_funding": _FEE,
    # To and from banks, beside payouts.
    "topup": _TOP_UP,
    "topup_reversal": _TOP_UP,
    "inbound_transfer": _TOP_UP,
    "inbound_transfer_reversal": _TOP_UP,
    # What Stripe holds for a while, and gives back.
    "payment_network_reserve_hold": _OTHER,
    "payment_network_reserve_release": _OTHER,
    "payout_minimum_balance_hold": _OTHER,
    "payout_minimum_balance_release": _OTHER,
    "reserve_hold": _OTHER,
    "reserve_release": _OTHER,
    "reserve_transaction": _OTHER,
    "reserved_funds": _OTHER,
    # Stripe's other products, and what has no cause here.
    "advance": _OTHER,
    "advance_funding": _OTHER,
    "anticipation_repayment": _OTHER,
    "climate_order_purchase": _OTHER,
    "climate_order_refund": _OTHER,
    "connect_collection_transfer": _OTHER,
    "contribution": _OTHER,
    "issuing_authorization_hold": _OTHER,
    "issuing_authorization_release": _OTHER,
    "issuing_dispute": _OTHER,
    "issuing_dispute_provisional_credit": _OTHER,
    "issuing_dispute_provisional_credit_reversal": _OTHER,
    "issuing_transaction": _OTHER,
    "obligation_outbound": _OTHER,
    "obligation_reversal_inbound": _OTHER,
    "payment_unreconciled": _OTHER,
    "stripe_balance_payment_debit": _OTHER,
    "stripe_balance_payment_debit_reversal": _OTHER,
    "tax_fund": _OTHER,
    "transfer_cancel": _OTHER,
    "transfer_failure": _OTHER,
}

WAITING: Final = (*(type_ for type_, rule in RULES.items() if rule.waits),)


def rule_of(type_: str) -> TypeRule:
    """The rule of a type, known or not."""
    return RULES.get(type_, _OTHER)
