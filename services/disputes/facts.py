"""What Stripe says of disputes, read once into our own terms (the Dispute object)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from models.disputes import DisputeStatus
from models.money import Money
from services.payments.facts import id_of, instant

if TYPE_CHECKING:
    from datetime import datetime

# A rate says up to six digits: what it turns back into the payment's currency is as good as that.
_RATE_PRECISION: Final = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class FundsFacts:
    """One movement of a dispute on the balance of the charge's account: negative where the bank took money."""

    id: str
    amount: Money
    """In the currency that the account settles in, before Stripe's fee."""
    exchange_rate: Decimal | None
    created_at: datetime

    @classmethod
    def parse(cls, body: dict[str, Any]) -> FundsFacts:
        """From a balance transaction."""
        rate = body.get("exchange_rate")
        return cls(
            id=body["id"],
            amount=Money.from_wire(body["amount"], body["currency"]),
            exchange_rate=None if rate is None else Decimal(str(rate)),
            created_at=instant(body["created"]),
        )

    def taken(self, disputed: Money, withdrawn: Money) -> Money:
        """What it takes from us (negative: gives us back) in the currency that is disputed.

        Args:
            disputed: what the dispute is about.
            withdrawn: what the movements before this one took.
        """
        if self.amount.currency == disputed.currency:
            return -self.amount
        if not self.amount:
            return Money.zero(disputed.currency)
        takes = self.amount.minor < 0
        whole = disputed - withdrawn if takes else withdrawn
        part = self._exchanged(whole)
        return part if takes else -part

    def _exchanged(self, whole: Money) -> Money:
        """The movement's size in the currency of the charge: the whole, unless it is clearly a part of that."""
        if not self.exchange_rate:
            return whole
        unit = abs(Money(1, whole.currency).amount)
        size = int((abs(self.amount.amount) / self.exchange_rate / unit).to_integral_value())
        settled_unit = int(abs(Money(1, self.amount.currency).amount) / self.exchange_rate / unit) + 1
        slack = settled_unit + int(whole.minor * _RATE_PRECISION)
        return whole if size + slack >= whole.minor else Money(size, whole.currency)


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """One state of a dispute."""

    id: str
    charge_id: str
    status: DisputeStatus
    reason: str
    network_reason_code: str | None
    amount: Money
    evidence: dict[str, str]
    """By Stripe's names: texts, and the ids of files."""
    due_by: datetime | None
    submission_count: int
    is_charge_refundable: bool
    created_at: datetime
    funds: tuple[FundsFacts, ...]
    """The earliest first."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> DisputeFacts:
        """From a Dispute, as it is retrieved."""
        details = body.get("evidence_details") or {}
        evidence = body.get("evidence") or {}
        movements = [FundsFacts.parse(movement) for movement in body.get("balance_transactions") or ()]
        return cls(
            id=body["id"],
            charge_id=id_of(body["charge"]) or "",
            status=DisputeStatus(body["status"].upper()),
            reason=body["reason"],
            network_reason_code=body.get("network_reason_code"),
            amount=Money.from_wire(body["amount"], body["currency"]),
            evidence={name: id_of(value) or "" for name, value in sorted(evidence.items()) if _is_said(value)},
            due_by=instant(details["due_by"]) if details.get("due_by") else None,
            submission_count=details.get("submission_count") or 0,
            is_charge_refundable=bool(body.get("is_charge_refundable")),
            created_at=instant(body["created"]),
            funds=tuple(sorted(movements, key=lambda movement: movement.created_at)),
        )


def _is_said(value: Any) -> bool:
    """Whether a field of the evidence holds a text or a file; the networks' own programmes are no concern of ours."""
    return bool(value) if isinstance(value, str) else isinstance(value, dict) and value.get("object") == "file"
