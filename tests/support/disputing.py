"""Disputes of payments: what banks do about them, and what must hold of the money meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.base import from_record
from models.disputes import Dispute
from models.payments import ChargeModel, Payment
from models.transfers import TransferReversal
from services.ledger_check import check_ledger

if TYPE_CHECKING:
    from tests.support.shop import Shop

_POTS = """
SELECT a.kind, sum(p.amount_minor)::bigint AS minor FROM ledger_transactions t
JOIN ledger_postings p ON p.transaction_id = t.id JOIN ledger_accounts a ON a.id = p.account_id
WHERE t.payment_id = $1 AND p.currency = $2 GROUP BY a.kind HAVING sum(p.amount_minor) <> 0
"""


@dataclass(frozen=True)
class Disputing:
    """A shop whose payments are disputed."""

    shop: Shop

    async def disputed(self, payment: Payment, **values: Any) -> Dispute:
        """The guest's bank disputes a payment, and we hear of it."""
        charge = (await self.shop.now(payment)).stripe_charge_id
        account = payment.stripe_account
        await self.shop.sandbox.act(f"charges/{charge}/dispute", **values)
        await self.hear(payment)
        theirs = await self.shop.sandbox.every("/v1/disputes", {"charge": charge}, account=account)
        return await self.known(theirs[0]["id"])

    async def decide(self, dispute: Dispute, outcome: str) -> Dispute:
        """The bank decides, and we hear of it."""
        await self.decide_unheard(dispute, outcome)
        await self.hear(await Payment.get(id=dispute.payment_id))
        return await self.now(dispute)

    async def decide_unheard(self, dispute: Dispute, outcome: str) -> None:
        """The bank decides."""
        await self.shop.sandbox.act(f"disputes/{dispute.stripe_dispute_id}/decide", outcome=outcome)

    async def hear(self, payment: Payment) -> None:
        """All of Stripe's events of a payment come in."""
        await self.shop.deliver_all(payment)

    async def known(self, stripe_id: str) -> Dispute:
        """A dispute by Stripe's id."""
        return await Dispute.get(stripe_dispute_id=stripe_id)

    async def now(self, dispute: Dispute) -> Dispute:
        """A dispute as it is now."""
        return await Dispute.get(id=dispute.id)

    async def pots(self, payment: Payment) -> dict[str, int]:
        """What a payment's pots hold, in its currency, without those that hold nothing."""
        records = await self.shop.services.database.pool.fetch(_POTS, payment.id, payment.currency)
        return {record["kind"]: record["minor"] for record in records}

    async def reversals(self, payment: Payment) -> list[TransferReversal]:
        """What was taken back of the hosts' transfers."""
        return await TransferReversal.filter(payment_id=payment.id).order_by("id")

    async def check(self, payment: Payment) -> None:
        """What must hold of a payment's money at rest, from its rows alone and at Stripe."""
        async with self.shop.services.database.pool.acquire() as connection:
            report = await check_ledger(connection)
        assert report.findings == []
        payment = await self.shop.now(payment)
        records = await self.shop.services.database.pool.fetch(
            "SELECT * FROM disputes WHERE payment_id = $1 ORDER BY id", payment.id
        )
        disputes = [from_record(Dispute, record) for record in records]
        pots = await self.pots(payment)
        lost = [one for one in disputes if one.status.is_lost]
        open_ = [one for one in disputes if not one.status.is_lost]
        given = sum(one.withdrawn_minor for one in lost)
        assert pots.get("GUEST_CLEARING", 0) == payment.refunded_minor + given - payment.captured_minor
        assert pots.get("DISPUTES", 0) == sum(one.withdrawn_minor for one in open_)
        fee = sum(one.fee_minor for one in disputes)
        host = sum(one.host_minor for one in disputes)
        earned = "SUBSCRIPTION_INCOME" if payment.charge_model is ChargeModel.PLATFORM else "APPLICATION_FEES"
        assert pots.get(earned, 0) == payment.platform_fee_minor - payment.fee_refunded_minor - fee
        withdrawn = sum(one.withdrawn_minor for one in disputes)
        if payment.charge_model is not ChargeModel.DIRECT:
            assert pots.get("PLATFORM_BALANCE", 0) == fee + host - withdrawn
        assert sum(pots.values()) == 0
        assert payment.disputed_minor == sum(one.holds.minor for one in disputes)
        for one in disputes:
            theirs = await self.shop.sandbox.get(
                f"/v1/disputes/{one.stripe_dispute_id}", account=payment.stripe_account or None
            )
            assert (one.status.value.lower(), one.amount.wire) == (theirs["status"], theirs["amount"])
            movements = theirs["balance_transactions"]
            if {movement["currency"] for movement in movements} <= {theirs["currency"]}:
                assert one.withdrawn_minor == -sum(movement["amount"] for movement in movements)
