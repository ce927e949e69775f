"""What a dispute moves in the ledger, derived from its state and from what has been posted of it before.

The bank takes the disputed amount out of the balance that was paid, and gives it back where the dispute is won: each
of the dispute's balance transactions is one movement, posted once, whatever order they become known in. Once it is lost
what the bank holds is the guest's; should the bank think again, it is not. Who bears it then is said by `bearers_of`:
the platform gives up its fee in proportion, the hosts the rest, as with a refund.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payments import ChargeModel
from services.fees import refund_parts_after
from services.ledger import DISPUTES, FEES, GUESTS, INCOME, PLATFORM, LedgerBatch, Pot, host_balance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.disputes import Dispute
    from models.payments import Payment
    from models.refunds import Refund
    from models.sets import AnyConnection
    from services.disputes.facts import DisputeFacts

_FUNDS: Final = "dispute_funds"
_CLOSED: Final = "dispute_closed"
_FEE: Final = "dispute_fee"
_POSTED: Final = """
SELECT t.reference, a.kind, p.amount_minor FROM ledger_transactions t
JOIN ledger_postings p ON p.transaction_id = t.id JOIN ledger_accounts a ON a.id = p.account_id
WHERE t.stripe_object_id = $1 AND t.reference LIKE 'dispute\\_%'
"""


@dataclass(slots=True)
class Posted:
    """What the ledger has of a dispute, in minor units of the payment's currency."""

    withdrawn: dict[str, int] = field(default_factory=dict)
    """By balance transaction: what it took, negative where it gave back."""
    given: int = 0
    """What counts as the guest's."""
    fee: int = 0
    """What the platform gave up of its fee, or of what an invoice brought in."""
    closings: int = 0
    fees: int = 0

    @classmethod
    async def read(cls, connection: AnyConnection, stripe_dispute_id: str) -> Posted:
        """From the ledger, under the payment's lock."""
        posted = cls()
        for record in await connection.fetch(_POSTED, stripe_dispute_id):
            what, _, rest = record["reference"].partition(":")
            minor: int = record["amount_minor"]
            if what == _FUNDS and record["kind"] == DISPUTES.kind:
                posted.withdrawn[rest] = minor
            elif what == _CLOSED and record["kind"] == GUESTS.kind:
                posted.given += minor
                posted.closings += 1
            elif what == _FEE and record["kind"] == PLATFORM.kind:
                posted.fee += minor
                posted.fees += 1
        return posted


@dataclass(frozen=True, slots=True)
class Borne:
    """What of a dispute counted as the guest's, and who bore it: the platform of its fee, and the hosts."""

    given: Money
    fee: Money
    hosts: Money


class Funds:
    """The movements of one dispute of a locked payment, collected in a batch of the ledger."""

    def __init__(
        self, payment: Payment, facts: DisputeFacts, posted: Posted, ledger: LedgerBatch, now: datetime
    ) -> None:
        self._payment = payment
        self._facts = facts
        self._posted = posted
        self._ledger = ledger
        self._now = now

    def withdraw(self) -> Money:
        """Post what the bank has moved that is not posted yet.

        Returns: what it holds now, all in all.
        """
        held = Money.zero(self._facts.amount.currency)
        for movement in self._facts.funds:
            known = self._posted.withdrawn.pop(movement.id, None)
            if known is not None:
                held += Money(known, held.currency)
                continue
            taken = movement.taken(self._facts.amount, held)
            kind = LedgerTransactionKind.DISPUTE if taken.minor > 0 else LedgerTransactionKind.DISPUTE_WON
            legs = [(self._paid_to, -taken), (DISPUTES, taken)]
            self._move(kind, f"{_FUNDS}:{movement.id}", legs, movement.created_at)
            held += taken
        # What Stripe does not show any more was moved all the same.
        return held + Money(sum(self._posted.withdrawn.values()), held.currency)

    def give(self, held: Money) -> None:
        """Let what the bank holds be the guest's where the dispute is lost; where it is not, or not any more, not."""
        due = held if self._facts.status.is_lost else Money.zero(held.currency)
        more = due - Money(self._posted.given, due.currency)
        kind = LedgerTransactionKind.DISPUTE_LOST if more.minor > 0 else LedgerTransactionKind.DISPUTE
        reference = f"{_CLOSED}:{self._facts.id}:{self._posted.closings + 1}"
        self._move(kind, reference, [(DISPUTES, -more), (GUESTS, more)], self._now)

    def give_up_fee(self, fee: Money) -> None:
        """Let the platform bear this much of its fee, or of what an invoice brought in."""
        more = fee - Money(self._posted.fee, fee.currency)
        earned = INCOME if self._payment.charge_model is ChargeModel.PLATFORM else FEES
        kind = LedgerTransactionKind.DISPUTE_LOST if more.minor > 0 else LedgerTransactionKind.DISPUTE_WON
        reference = f"{_FEE}:{self._facts.id}:{self._posted.fees + 1}"
        self._move(kind, reference, [(earned, -more), (PLATFORM, more)], self._now)

    @property
    def _paid_to(self) -> Pot:
        """The pot at the account that was paid: the platform's, but for a direct charge, which is its host's."""
        if self._payment.charge_model is ChargeModel.DIRECT and self._payment.host_id is not None:
            return host_balance(self._payment.host_id)
        return PLATFORM

    def _move(
        self, kind: LedgerTransactionKind, reference: str, legs: list[tuple[Pot, Money]], occurred_at: datetime
    ) -> None:
        self._ledger.move(
            kind, reference, legs, occurred_at=occurred_at, payment_id=self._payment.id,
            stripe_object_id=self._facts.id, stripe_account=self._payment.stripe_account,
        )  # fmt: skip


def bearers_of(
    payment: Payment,
    dispute: Dispute,
    refunds: Sequence[Refund],
    others: Sequence[Dispute],
    *,
    held: Money,
    before: Borne,
) -> tuple[Money, Money]:
    """What of a lost dispute the platform gives up of its fee, and what the hosts are to give.

    A direct charge was its host's, and so is its loss; the platform keeps its fee, as Stripe does not give it back
    ("Disputes", direct charges). Once said it stays for as long as so much is lost: refunds that come later have their
    own share of the fee.

    Args:
        dispute: with its status of now.
        refunds, others: the payment's, and its other disputes.
        held: what the bank holds.
        before: what was borne until now.
    """
    if not dispute.status.is_lost:
        # Reopened it is borne as before, until the bank has given the money back.
        return (held, held) if not held else (before.fee, before.hosts)
    if payment.charge_model is ChargeModel.PLATFORM:
        return held, Money.zero(held.currency)
    if payment.charge_model is ChargeModel.DIRECT:
        return Money.zero(held.currency), held
    fee = before.fee if before.given == held else _fee_given_up(payment, refunds, others, held)
    return fee, held - fee


def _fee_given_up(payment: Payment, refunds: Sequence[Refund], others: Sequence[Dispute], held: Money) -> Money:
    """The fee in proportion, cumulative over what was given back and lost before: together never more than the fee."""
    holding = [refund for refund in refunds if refund.status.holds_money]
    before = sum(refund.amount_minor for refund in holding) + sum(one.fee_minor + one.host_minor for one in others)
    fee_before = sum(refund.fee_minor for refund in holding) + sum(one.fee_minor for one in others)
    fee, _ = refund_parts_after(payment, Money(before, held.currency), Money(fee_before, held.currency), held)
    return min(fee, Money(max(0, payment.platform_fee_minor - fee_before), held.currency))
