"""What is left of the hosts' parts of a payment, where it lies, and what of it can be reversed.

Of each allocation `amount` less what was taken back is left; it lies at Stripe with the host (`transferred` less
`reversed`), with the platform (`owed`), or in a transfer under way. So what is left needs no column of its own:
refunds, lost disputes, transfers, reversals and debts that were set off each move it from one place to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.money import Money, rounded_share
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.sets import update_rows
from models.transfers import Transfer, TransferReversal, TransferStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection

_COLUMNS = ("transferred_minor", "reversed_minor", "owed_minor", "release_at")
_ALLOCATIONS = "SELECT * FROM payment_allocations WHERE payment_id = $1 ORDER BY id"
_TRANSFERS = "SELECT * FROM transfers WHERE payment_id = $1 AND status <> 'REFUSED' ORDER BY id"
_REVERSALS = "SELECT * FROM transfer_reversals WHERE payment_id = $1 AND status <> 'REFUSED' ORDER BY id"
_BY_REFUNDS = """
SELECT coalesce(sum(transfer_reversed_minor), 0)::bigint AS reversed,
    coalesce(sum(application_fee_refunded_minor), 0)::bigint AS fee FROM refunds WHERE payment_id = $1
"""


@dataclass(slots=True)
class Reversible:
    """A transfer at Stripe, how much of the host's part it brought, and what was reversed or is being reversed of it.

    `brought`, `taken` and `kept` are minor units of the payment's currency; `amount` and `reversed` are in the
    transfer's own. `kept` is what the platform has of it: the fee, which is no host's to give back.
    """

    stripe_transfer_id: str
    transfer_id: UUID | None
    amount: Money
    brought: int
    taken: int
    reversed: int
    kept: int = 0

    @property
    def left(self) -> int:
        """How much of what it brought can still be taken."""
        return max(0, self.brought - self.taken - self.kept)

    def take(self, minor: int) -> Money:
        """Take so much of what is left; what that is in the transfer's currency.

        All that was taken is converted together, so that taking everything in parts reverses exactly everything.
        """
        self.taken += minor
        until_now = rounded_share(self.amount.minor, self.taken, self.brought)
        part = max(0, min(until_now, self.amount.minor) - self.reversed)
        self.reversed += part
        return Money(part, self.amount.currency)


@dataclass(slots=True)
class HostPart:
    """One host's allocation with what was sent of it and reversed, as far as Stripe did not refuse it."""

    allocation: PaymentAllocation
    transfers: list[Transfer] = field(default_factory=list)
    reversals: list[TransferReversal] = field(default_factory=list)

    @property
    def under_way(self) -> int:
        """What transfers without an answer bring."""
        return sum(row.covers_minor for row in self.transfers if row.status is TransferStatus.PLANNED)

    @property
    def coming_back(self) -> int:
        """What reversals without an answer take."""
        return sum(row.covers_minor for row in self.reversals if row.status is TransferStatus.PLANNED)

    @property
    def left(self) -> int:
        """What of the host's part was not taken back."""
        its = self.allocation
        return its.transferred_minor - its.reversed_minor + self.under_way + its.owed_minor

    @property
    def taken(self) -> int:
        """What was taken back of it."""
        return self.allocation.amount_minor - self.left

    def look_at(self, now: datetime) -> None:
        """Let what the platform holds be sent, if there is some and nobody looks at it already."""
        if self.allocation.owed_minor > 0 and self.allocation.release_at is None:
            self.allocation.release_at = now

    @property
    def debt(self) -> int:
        """What the host owes the platform, but for what may still come back by itself."""
        return 0 if self.under_way else max(0, -self.allocation.owed_minor - self.coming_back)


class HostParts:
    """The parts of all hosts of one payment, which the caller has locked."""

    def __init__(
        self, payment: Payment, parts: Sequence[HostPart], *, reversed_by_refunds: int = 0, fee_given_back: int = 0
    ) -> None:
        """
        Args:
            reversed_by_refunds: what Stripe took of a destination charge's transfer together with its refunds, ...
            fee_given_back: ... and what it gave the host of the fee.
        """
        self.payment = payment
        self.parts = list(parts)
        self._reversed_by_refunds = reversed_by_refunds
        self._fee_given_back = fee_given_back

    @classmethod
    async def read(cls, connection: AnyConnection, payment: Payment) -> HostParts:
        """The parts as they are under the payment's lock."""
        records = await connection.fetch(_ALLOCATIONS, payment.id)
        parts = {record["id"]: HostPart(from_record(PaymentAllocation, record)) for record in records}
        for record in await connection.fetch(_TRANSFERS, payment.id):
            parts[record["allocation_id"]].transfers.append(from_record(Transfer, record))
        for record in await connection.fetch(_REVERSALS, payment.id):
            parts[record["allocation_id"]].reversals.append(from_record(TransferReversal, record))
        if payment.charge_model is not ChargeModel.DESTINATION:
            return cls(payment, list(parts.values()))
        by_refunds: Any = await connection.fetchrow(_BY_REFUNDS, payment.id)
        return cls(
            payment, list(parts.values()), reversed_by_refunds=by_refunds["reversed"], fee_given_back=by_refunds["fee"]
        )

    @property
    def left(self) -> Money:
        """What of all hosts' parts was not taken back."""
        return self.money(sum(max(0, part.left) for part in self.parts))

    def part(self, allocation_id: UUID) -> HostPart:
        """The part of this allocation."""
        return next(part for part in self.parts if part.allocation.id == allocation_id)

    def lower(self, amount: Money) -> dict[UUID, Money]:
        """Let the platform hold so much less for the hosts, each by what is left of theirs; what that is of each.

        No more than is left is taken, and of no host more than is left of theirs: the largest remainder never rounds
        above it. What was sent already makes `owed` negative until it has come back.
        """
        taken = self._split(min(amount, self.left), [max(0, part.left) for part in self.parts])
        for part in self.parts:
            part.allocation.owed_minor -= taken[part.allocation.id].minor
        return taken

    def raise_again(self, amount: Money, *, now: datetime) -> dict[UUID, Money]:
        """Let the platform hold so much for the hosts again, each by what was taken of theirs; what that is of each.

        What can be sent of it is looked at now.
        """
        if len(self.parts) == 1:
            given = {self.parts[0].allocation.id: amount}
        else:
            given = self._split(amount, [max(0, part.taken) for part in self.parts])
        for part in self.parts:
            part.allocation.owed_minor += given[part.allocation.id].minor
            part.look_at(now)
        return given

    def to_reverse(self, taken: Mapping[UUID, Money]) -> dict[UUID, int]:
        """What of these parts, which `lower` took, was sent and has to be reversed."""
        due = {
            part.allocation.id: min(
                taken[part.allocation.id].minor, max(0, -part.allocation.owed_minor - part.coming_back)
            )
            for part in self.parts
            if part.allocation.id in taken
        }
        return {allocation_id: minor for allocation_id, minor in due.items() if minor}

    def reversible(self, part: HostPart) -> list[Reversible]:
        """The transfers that brought a host's part, the latest first; a destination charge's own is the first of all.

        What was set off against a debt was never transferred, and cannot be reversed.
        """
        found = [_of_row(row, part) for row in part.transfers if row.status is TransferStatus.PAID]
        own = self._own_transfer(part)
        return [*reversed(found), *([own] if own else [])]

    def source(self, part: HostPart, stripe_transfer_id: str) -> Reversible | None:
        """The transfer of that name, where it brought this host's part."""
        return next((its for its in self.reversible(part) if its.stripe_transfer_id == stripe_transfer_id), None)

    def draw(self, part: HostPart, minor: int) -> list[tuple[Reversible, int, Money]]:
        """Where so much of a host's part can be reversed: each transfer, what of the part, and what of the transfer.

        Less than was asked for, where no transfer brought the rest.
        """
        drawn: list[tuple[Reversible, int, Money]] = []
        for source in self.reversible(part):
            covered = min(minor, source.left)
            if covered:
                minor -= covered
                drawn.append((source, covered, source.take(covered)))
        return drawn

    def _own_transfer(self, part: HostPart) -> Reversible | None:
        """The transfer of a destination charge, which brought the whole charge, fee and all."""
        payment, transfer_id = self.payment, part.allocation.stripe_transfer_id
        if payment.charge_model is not ChargeModel.DESTINATION or transfer_id is None:
            return None
        if payment.host_credit_minor is None or payment.host_credit_currency is None:
            amount = payment.captured
        else:
            amount = Money(payment.host_credit_minor, payment.host_credit_currency)
        ours = [row for row in part.reversals if row.transfer_id is None]
        by_refunds = rounded_share(amount.minor, self._reversed_by_refunds, payment.captured_minor)
        return Reversible(
            transfer_id, None, amount, payment.captured_minor,
            taken=self._reversed_by_refunds + sum(row.covers_minor for row in ours),
            reversed=by_refunds + sum(row.amount_minor for row in ours),
            kept=max(0, payment.platform_fee_minor - self._fee_given_back),
        )  # fmt: skip

    async def write(self, connection: AnyConnection) -> None:
        """Write what changed of the allocations."""
        await update_rows(connection, PaymentAllocation, [part.allocation for part in self.parts], _COLUMNS)

    def _split(self, amount: Money, weights: list[int]) -> dict[UUID, Money]:
        shares = amount.split(weights) if sum(weights) else [self.money(0)] * len(weights)
        return {part.allocation.id: share for part, share in zip(self.parts, shares, strict=True)}

    def money(self, minor: int) -> Money:
        """So much of the payment's currency."""
        return Money(minor, self.payment.currency)


def _of_row(row: Transfer, part: HostPart) -> Reversible:
    its = [reversal for reversal in part.reversals if reversal.transfer_id == row.id]
    return Reversible(
        row.stripe_transfer_id or "", row.id, row.amount, row.covers_minor,
        taken=sum(reversal.covers_minor for reversal in its), reversed=sum(reversal.amount_minor for reversal in its),
    )  # fmt: skip
