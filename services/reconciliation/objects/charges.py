"""Charges: what guests paid ("The Charge object"), beside our attempts, the payment and what the ledger took in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.base import from_record
from models.money import Money
from models.payments import ChargeModel, Payment, PaymentStatus
from models.reconciliations import DriftKind, DriftRepair
from services.errors import InvalidState
from services.payments.intents import fetch_facts, settle
from services.reconciliation.objects.kind import (
    A_PERSON_HAS_TO_LOOK,
    CORRECTION,
    POSTED,
    ComparedAccount,
    ObjectKind,
    Remedy,
    of_known_intents,
)
from services.reconciliation.restoring import restore_payment
from services.reconciliation.sides import Side
from services.reconciliation_requests import list_charges, retrieve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference
    from services.stripe_requests import StripeRequest

_HERE: Final = """
SELECT a.stripe_charge_id, a.status AS attempt_status, a.amount_minor AS attempt_minor, p.*, (
    SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r
    WHERE r.payment_id = p.id AND r.stripe_refund_id IS NOT NULL AND r.status IN ('PENDING', 'REQUIRES_ACTION')
)::bigint AS pending_minor, (
    SELECT -sum(l.amount_minor) FROM ledger_transactions t
    JOIN ledger_postings l ON l.transaction_id = t.id JOIN ledger_accounts la ON la.id = l.account_id
    WHERE t.stripe_object_id = a.stripe_charge_id AND t.kind IN ('CHARGE', 'ADJUSTMENT') AND la.kind = 'GUEST_CLEARING'
)::bigint AS posted_minor
FROM payment_attempts a JOIN payments p ON p.id = a.payment_id
WHERE a.stripe_charge_id = ANY($1) AND p.stripe_account = $2
"""
_MADE: Final = """
SELECT DISTINCT stripe_object_id FROM ledger_transactions
WHERE occurred_at >= $2 AND occurred_at < $3 AND kind = 'CHARGE' AND stripe_account = $1
    AND stripe_object_id IS NOT NULL
"""
_BY_INTENT: Final = "SELECT * FROM payments WHERE stripe_payment_intent_id = $1 AND stripe_account = $2"


class Charges(ObjectKind):
    """Charges on the platform, and direct ones on hosts' own accounts.

    What a transfer brought to a host is a charge to Stripe as well: it is compared as the transfer.
    """

    name: ClassVar[str] = "charge"

    def is_on(self, account: ComparedAccount) -> bool:
        """Where charges of ours are made."""
        return account.takes_charges

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """ "List all charges"."""
        return list_charges(account, first, until)

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """ "Retrieve a charge"."""
        return retrieve(f"/v1/charges/{id_}", account)

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """Its status, and its amounts in the currency that the guest paid in."""
        if body.get("source_transfer"):
            return None

        def money(minor: int) -> Money:
            return Money.from_wire(minor, body["currency"])

        amounts: dict[str, Money | None] = {"amount": money(body["amount"])}
        status = str(body["status"])
        if status == "succeeded":
            status = "captured" if body["captured"] else "released" if body["amount_refunded"] else "authorized"
        if status == "captured":
            captured = money(body["amount_captured"])
            released = body["amount"] - body["amount_captured"]
            amounts |= {
                "amount captured": captured,
                "amount refunded": money(body["amount_refunded"] - released),
                "platform's fee": money(body.get("application_fee_amount") or 0),
                POSTED: captured,
            }
        return Side(status, amounts)

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """From the attempt, its payment and the ledger."""
        records = await connection.fetch(_HERE, list(ids), account)
        return {record["stripe_charge_id"]: _side(record) for record in records}

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """By the ledger: those that money was taken with."""
        return {record[0] for record in await connection.fetch(_MADE, account, first, until)}

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Those whose payment intent is known."""
        return await of_known_intents(connection, account, bodies)

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """Settling the payment anew, or posting what the ledger lacks."""
        if difference.kind is DriftKind.MISSING_AT_STRIPE:
            return A_PERSON_HAS_TO_LOOK
        if not known:
            return Remedy(None, "It belongs to no payment that is known here: a person has to tell whose it is.")
        if difference.labels == {POSTED}:
            return CORRECTION
        return Remedy(
            DriftRepair.SETTLE,
            "The repair asks Stripe for the payment, takes its status and amounts over, and posts what is missing.",
        )

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Settle the payment as a webhook would, then restore what settling leaves alone."""
        record = await services.database.pool.fetchrow(_BY_INTENT, body.get("payment_intent"), drift.stripe_account)
        if record is None:
            raise InvalidState("The payment of this charge is not known here.", state="UNKNOWN_PAYMENT")
        payment = from_record(Payment, record)
        facts = await fetch_facts(services, str(body["payment_intent"]), stripe_account=payment.stripe_account)
        await settle(services, payment, facts, actor=actor)
        await restore_payment(services, payment.id, facts, dict(body), actor=actor)


def _side(record: Mapping[str, Any]) -> Side:
    payment = from_record(Payment, {name: record[name] for name in Payment._meta.fields_db_projection})

    def money(minor: int | None) -> Money | None:
        return None if minor is None else Money(minor, payment.currency)

    amounts = {"amount": money(record["attempt_minor"])}
    status = str(record["attempt_status"])
    if status == "succeeded":
        status = _status(payment)
    if payment.status.is_captured and record["attempt_status"] == "succeeded":
        amounts |= {
            "amount captured": payment.captured,
            "amount refunded": money(payment.refunded_minor + record["pending_minor"]),
            POSTED: money(record["posted_minor"]),
        }
        if payment.charge_model in {ChargeModel.DESTINATION, ChargeModel.DIRECT}:
            amounts["platform's fee"] = payment.platform_fee
    return Side(status, amounts, frozenset({payment.id}))


def _status(payment: Payment) -> str:
    """What a charge that went through is, by the payment's status; as it says where that is not what it adds up to."""
    if payment.status is PaymentStatus.CANCELED:
        return "released"
    if not payment.status.is_captured:
        return "authorized" if payment.status is PaymentStatus.AUTHORIZED else payment.status.value.lower()
    if not payment.refunded_minor:
        meant = PaymentStatus.SUCCEEDED
    elif payment.refunded_minor == payment.captured_minor:
        meant = PaymentStatus.REFUNDED
    else:
        meant = PaymentStatus.PARTIALLY_REFUNDED
    return "captured" if payment.status is meant else payment.status.value.lower()
