"""What a dispute moves: the disputed amount and Stripe's fee out of the charge's account, and back where it is won."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import money, pricing
from sandbox.resources import balance_transactions
from sandbox.resources.balance_transactions import Fee
from sandbox.work import visible

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def left(charge: Json) -> int:
    """How much of a charge is still with whom it was paid to."""
    return int(charge["amount"] - charge["amount_refunded"] - charge.get("_disputed", 0))


def withdraw(work: Work, dispute: Json, charge: Json, *, with_fee: bool = True) -> None:
    """Take the disputed amount out of the account that was paid, whatever it has.

    A charge that was transferred to hosts is the platform's all the same ("Disputes on Connect platforms").
    """
    settled = work.get("balance_transaction", charge["balance_transaction"])
    gone = charge["amount_captured"] - left(charge)
    amount = money.share(settled["amount"], gone, dispute["amount"], charge["amount_captured"])
    fees = (Fee("stripe_fee", pricing.dispute_fee(settled["currency"]), "Dispute fee"),) if with_fee else ()
    movement = balance_transactions.post(
        work, work.account, "adjustment", -amount, settled["currency"], dispute["id"], fees=fees, category="dispute",
        description=f"Chargeback withdrawal for {charge['id']}",
        exchange_rate=balance_transactions.rate(charge["currency"], settled["currency"]),
    )  # fmt: skip
    charge["_disputed"] = charge.get("_disputed", 0) + dispute["amount"]
    dispute["_withdrawn"] = movement["id"]
    _show(dispute, movement)


def reinstate(work: Work, dispute: Json, charge: Json) -> None:
    """Give back what was withdrawn last. The fee stays with Stripe, whatever comes of the dispute."""
    withdrawn = work.get("balance_transaction", dispute["_withdrawn"])
    movement = balance_transactions.post(
        work, work.account, "adjustment", -withdrawn["amount"], withdrawn["currency"], dispute["id"],
        category="dispute_reversal", description=f"Chargeback reversal for {charge['id']}",
        exchange_rate=balance_transactions.rate(charge["currency"], withdrawn["currency"]),
    )  # fmt: skip
    charge["_disputed"] -= dispute["amount"]
    dispute["_withdrawn"] = None
    _show(dispute, movement)


def return_fee(work: Work, dispute: Json, charge: Json) -> None:
    """Give back the fee of a dispute that was settled before it became one ("Dispute prevention")."""
    withdrawn = work.get("balance_transaction", dispute["_withdrawn"])
    movement = balance_transactions.post(
        work, work.account, "adjustment", 0, withdrawn["currency"], dispute["id"], category="dispute_reversal",
        fees=(Fee("stripe_fee", -withdrawn["fee"], "Dispute fee"),),
        description=f"Chargeback fee reversal for {charge['id']}",
    )  # fmt: skip
    _show(dispute, movement)


def charge_compliance_fee(work: Work, dispute: Json, charge: Json, *, back: bool = False) -> None:
    """Take what the network asks for deciding on a compliance dispute, or give it back ("Visa compliance")."""
    currency = work.get("balance_transaction", charge["balance_transaction"])["currency"]
    fee = pricing.compliance_fee(currency)
    balance_transactions.post(
        work, work.account, "stripe_fee", fee if back else -fee, currency, dispute["id"],
        description=f"Dispute network fee{' reversal' if back else ''} for {charge['id']}",
    )  # fmt: skip


def _show(dispute: Json, movement: Json) -> None:
    dispute["balance_transactions"].append({**visible(movement), "status": "available"})
