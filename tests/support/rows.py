"""Rows of each kind, whole and legal, but for what a test says otherwise: written as they are, past the services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from models.activities import Activity
from models.base import new_id
from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.disputes import Dispute, DisputeStatus
from models.dunning import Dunning
from models.invoices import Invoice, InvoiceStatus
from models.operations import Operation
from models.payment_methods import SavedPaymentMethod
from models.payments import ChargeModel, Payment, PaymentAllocation, PaymentStatus
from models.payouts import Payout
from models.plans import Plan, PlanInterval, PlanPrice
from models.refunds import Refund
from models.rsvps import Rsvp
from models.sets import insert_rows
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from models.users import User

if TYPE_CHECKING:
    from models.sets import AnyConnection


def _unique(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:16]}"


async def add_user(connection: AnyConnection, **values: Any) -> User:
    """A guest who is a customer of Stripe already."""
    name = values.pop("external_id", None) or _unique("user")
    given: dict[str, Any] = {
        "id": new_id(), "external_id": name, "email": f"{name}@example.com", "name": name.title(),
        "stripe_customer_id": _unique("cus"),
    }  # fmt: skip
    user = User(**{**given, **values})
    await insert_rows(connection, User, [user])
    return user


async def add_account(connection: AnyConnection, user: User, **values: Any) -> ConnectAccount:
    """An account of this host that can be paid."""
    given: dict[str, Any] = {
        "id": new_id(), "user_id": user.id, "stripe_account_id": _unique("acct"), "type": ConnectAccountType.EXPRESS,
        "country": "US", "default_currency": "USD", "details_submitted": True, "stripe_charges_enabled": True,
        "payouts_enabled": True, "capabilities": {"transfers": "active", "card_payments": "active"},
    }  # fmt: skip
    account = ConnectAccount(**{**given, **values})
    await insert_rows(connection, ConnectAccount, [account])
    return account


async def add_activity(connection: AnyConnection, host: User, **values: Any) -> Activity:
    """An activity of this host, 20 USD, without limit, in a week."""
    given: dict[str, Any] = {
        "id": new_id(), "external_id": _unique("activity"), "title": "Wine tasting", "host_id": host.id,
        "price_minor": 2000, "currency": "USD", "starts_at": datetime.now(UTC) + timedelta(days=7),
    }  # fmt: skip
    activity = Activity(**{**given, **values})
    await insert_rows(connection, Activity, [activity])
    return activity


async def add_rsvp(connection: AnyConnection, activity: Activity, user: User, **values: Any) -> Rsvp:
    """A seat that is held; the activity does not count it."""
    given: dict[str, Any] = {"id": new_id(), "activity_id": activity.id, "user_id": user.id, "quantity": 1}
    rsvp = Rsvp(**{**given, **values})
    await insert_rows(connection, Rsvp, [rsvp])
    return rsvp


async def add_payment(connection: AnyConnection, payer: User, **values: Any) -> Payment:
    """A payment of 20 USD, not made yet, of no activity: `captured=True` for one that was made."""
    captured = values.pop("captured", False)
    given: dict[str, Any] = {
        "id": new_id(), "payer_id": payer.id, "charge_model": ChargeModel.DESTINATION, "currency": "USD",
        "amount_minor": 2000, "platform_fee_minor": 200, "host_amount_minor": 1800,
        "stripe_payment_intent_id": _unique("pi"), "stripe_charge_id": _unique("ch"),
        **({"status": PaymentStatus.SUCCEEDED, "captured_minor": 2000} if captured else {}),
    }  # fmt: skip
    payment = Payment(**{**given, **values})
    await insert_rows(connection, Payment, [payment])
    return payment


async def add_allocation(connection: AnyConnection, payment: Payment, host: User, **values: Any) -> PaymentAllocation:
    """The host's part of a payment, transferred."""
    given: dict[str, Any] = {
        "id": new_id(), "payment_id": payment.id, "host_id": host.id, "stripe_account_id": _unique("acct"),
        "amount_minor": payment.host_amount_minor, "transferred_minor": payment.host_amount_minor,
        "currency": payment.currency,
    }  # fmt: skip
    allocation = PaymentAllocation(**{**given, **values})
    await insert_rows(connection, PaymentAllocation, [allocation])
    return allocation


async def add_plan(connection: AnyConnection, **values: Any) -> PlanPrice:
    """A plan of 10 USD a month, at Stripe already; what is returned is its current price."""
    plan = Plan(
        id=new_id(), external_id=_unique("plan"), name="Premium", features=["priority"],
        stripe_product_id=_unique("prod"),
    )  # fmt: skip
    given: dict[str, Any] = {
        "id": new_id(), "plan_id": plan.id, "currency": "USD", "amount_minor": 1000, "interval": PlanInterval.MONTH,
        "current": True, "stripe_price_id": _unique("price"),
    }  # fmt: skip
    price = PlanPrice(**{**given, **values})
    await insert_rows(connection, Plan, [plan])
    await insert_rows(connection, PlanPrice, [price])
    return price


async def add_subscription(
    connection: AnyConnection, user: User, price: PlanPrice, **values: Any
) -> BillingSubscription:
    """An active subscription that was paid for, in the middle of its month."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "id": new_id(), "user_id": user.id, "plan_id": price.plan_id, "price_id": price.id, "currency": price.currency,
        "status": BillingSubscriptionStatus.ACTIVE, "stripe_status": "active",
        "stripe_subscription_id": _unique("sub"), "current_period_start": now - timedelta(days=15),
        "current_period_end": now + timedelta(days=15), "entitled_until": now + timedelta(days=18),
    }  # fmt: skip
    subscription = BillingSubscription(**{**given, **values})
    await insert_rows(connection, BillingSubscription, [subscription])
    return subscription


async def add_invoice(connection: AnyConnection, subscription: BillingSubscription, **values: Any) -> Invoice:
    """An open invoice of 10 USD of this subscription, without lines."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "id": new_id(), "user_id": subscription.user_id, "subscription_id": subscription.id,
        "stripe_invoice_id": _unique("in"), "status": InvoiceStatus.OPEN, "billing_reason": "subscription_cycle",
        "currency": subscription.currency, "subtotal_minor": 1000, "total_minor": 1000, "amount_due_minor": 1000,
        "amount_paid_minor": 0, "amount_remaining_minor": 1000, "period_start": now - timedelta(days=15),
        "period_end": now + timedelta(days=15), "stripe_created_at": now,
    }  # fmt: skip
    invoice = Invoice(**{**given, **values})
    await insert_rows(connection, Invoice, [invoice])
    return invoice


async def add_dunning(connection: AnyConnection, invoice: Invoice, **values: Any) -> Dunning:
    """Tries at this invoice, which failed for the first time just now; by the default schedule."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "id": new_id(), "invoice_id": invoice.id, "subscription_id": invoice.subscription_id, "first_failed_at": now,
        "last_failed_at": now, "next_attempt_at": now + timedelta(days=2), "ends_at": now + timedelta(days=21),
        "payment_method": _unique("pm"), "failure_code": "card_declined", "decline_code": "insufficient_funds",
        "message": "There is not enough money on the card.",
    }  # fmt: skip
    dunning = Dunning(**{**given, **values})
    await insert_rows(connection, Dunning, [dunning])
    return dunning


async def add_method(connection: AnyConnection, user: User, **values: Any) -> SavedPaymentMethod:
    """A saved Visa of this guest, the default."""
    given: dict[str, Any] = {
        "id": new_id(), "user_id": user.id, "stripe_payment_method_id": _unique("pm"),
        "stripe_customer_id": user.stripe_customer_id or _unique("cus"), "type": "card", "brand": "visa",
        "last4": "4242", "exp_month": 8, "exp_year": 2034, "is_default": True, "attached_at": datetime.now(UTC),
    }  # fmt: skip
    method = SavedPaymentMethod(**{**given, **values})
    await insert_rows(connection, SavedPaymentMethod, [method])
    return method


async def add_refund(connection: AnyConnection, payment: Payment, **values: Any) -> Refund:
    """A refund of half of it, pending; the payment does not count it."""
    given: dict[str, Any] = {
        "id": new_id(), "payment_id": payment.id, "amount_minor": 1000, "currency": payment.currency, "fee_minor": 100,
        "host_minor": 900, "requested_by": "user:host",
    }  # fmt: skip
    refund = Refund(**{**given, **values})
    await insert_rows(connection, Refund, [refund])
    return refund


async def add_payout(connection: AnyConnection, account: ConnectAccount | None, **values: Any) -> Payout:
    """A payout of 40 USD of this account, or of the platform, that Stripe has made and not sent yet."""
    given: dict[str, Any] = {
        "id": new_id(), "connect_account_id": None if account is None else account.id,
        "stripe_account": "" if account is None else account.stripe_account_id, "stripe_payout_id": _unique("po"),
        "amount_minor": 4000, "currency": "USD", "requested_by": "user:host",
    }  # fmt: skip
    payout = Payout(**{**given, **values})
    await insert_rows(connection, Payout, [payout])
    return payout


async def add_dispute(connection: AnyConnection, payment: Payment, **values: Any) -> Dispute:
    """A dispute of all of a payment that waits for an answer for a week."""
    now = datetime.now(UTC).replace(microsecond=0)
    given: dict[str, Any] = {
        "id": new_id(), "payment_id": payment.id, "stripe_dispute_id": _unique("du"),
        "stripe_charge_id": payment.stripe_charge_id, "status": DisputeStatus.NEEDS_RESPONSE, "reason": "fraudulent",
        "amount_minor": payment.amount_minor, "currency": payment.currency, "withdrawn_minor": payment.amount_minor,
        "evidence_due_by": now + timedelta(days=7), "stripe_created_at": now,
    }  # fmt: skip
    dispute = Dispute(**{**given, **values})
    await insert_rows(connection, Dispute, [dispute])
    return dispute


async def add_operation(connection: AnyConnection, *, subject_id: UUID | None = None, **values: Any) -> Operation:
    """An operation under way, whose lease runs out in a minute."""
    given: dict[str, Any] = {
        "id": new_id(), "caller": "user:guest", "idempotency_key": _unique("key"), "kind": "pay_for_activity",
        "arguments_hash": b"\x00" * 32, "arguments": {}, "subject_id": subject_id or new_id(),
        "leased_until": datetime.now(UTC) + timedelta(minutes=1),
    }  # fmt: skip
    operation = Operation(**{**given, **values})
    await insert_rows(connection, Operation, [operation])
    return operation
