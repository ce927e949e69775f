"""Which of Stripe's events Paydesk handles, and how: a new type is one row of `HANDLERS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from services.connect.events import account_changed, account_deauthorized
from services.disputes.events import dispute_changed
from services.disputes.fraud_warnings import fraud_warning_changed
from services.invoices.events import (
    credit_note_changed,
    invoice_changed,
    invoice_payment_changed,
    invoice_upcoming,
)
from services.payment_methods.events import (
    customer_changed,
    customer_deleted,
    payment_method_changed,
    setup_intent_failed,
    setup_intent_succeeded,
)
from services.payments.events import charge_changed, payment_intent_changed
from services.payouts.events import payout_changed
from services.refunds.events import charge_refunded, refund_changed
from services.subscriptions.events import schedule_changed, subscription_changed, trial_will_end
from services.transfers.events import transfer_reversed

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

Handle = Callable[["Services", "WebhookEvent"], Awaitable[None]]


class EventSource(StrEnum):
    """Whose events an endpoint gets: the platform's own, or those of connected accounts ("Connect webhooks")."""

    PLATFORM = "platform"
    CONNECT = "connect"

    @classmethod
    def of(cls, account: str) -> EventSource:
        """The source of an event of this account, '' for the platform."""
        return cls.CONNECT if account else cls.PLATFORM


@dataclass(frozen=True, slots=True)
class Handler:
    """What is done with one type of event, and from whom it is believed.

    A handler is called again where it failed, with events in any order and at the same time as others: it asks Stripe
    for the object as it is now and settles that.
    """

    handle: Handle
    sources: frozenset[EventSource]


_PLATFORM: Final = frozenset({EventSource.PLATFORM})
_CONNECT: Final = frozenset({EventSource.CONNECT})
# Payments can be made on a host's account, too; what else the host sells there is passed over by their handlers.
_BOTH: Final = _PLATFORM | _CONNECT

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "payment_intent.amount_capturable_updated": Handler(payment_intent_changed, _BOTH),
        "payment_intent.canceled": Handler(payment_intent_changed, _BOTH),
        "payment_intent.payment_failed": Handler(payment_intent_changed, _BOTH),
        "payment_intent.processing": Handler(payment_intent_changed, _BOTH),
        "payment_intent.requires_action": Handler(payment_intent_changed, _BOTH),
        "payment_intent.succeeded": Handler(payment_intent_changed, _BOTH),
        "charge.succeeded": Handler(charge_changed, _BOTH),
        "charge.failed": Handler(charge_changed, _BOTH),
        "charge.captured": Handler(charge_changed, _BOTH),
        "charge.updated": Handler(charge_changed, _BOTH),
        "charge.refunded": Handler(charge_refunded, _BOTH),
        "charge.dispute.created": Handler(dispute_changed, _BOTH),
        "charge.dispute.updated": Handler(dispute_changed, _BOTH),
        "charge.dispute.closed": Handler(dispute_changed, _BOTH),
        "charge.dispute.funds_withdrawn": Handler(dispute_changed, _BOTH),
        "charge.dispute.funds_reinstated": Handler(dispute_changed, _BOTH),
        "radar.early_fraud_warning.created": Handler(fraud_warning_changed, _BOTH),
        "radar.early_fraud_warning.updated": Handler(fraud_warning_changed, _BOTH),
        "refund.created": Handler(refund_changed, _BOTH),
        "refund.updated": Handler(refund_changed, _BOTH),
        "refund.failed": Handler(refund_changed, _BOTH),
        "transfer.reversed": Handler(transfer_reversed, _PLATFORM),
        "customer.subscription.created": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.updated": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.deleted": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.paused": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.resumed": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.pending_update_applied": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.pending_update_expired": Handler(subscription_changed, _PLATFORM),
        "customer.subscription.trial_will_end": Handler(trial_will_end, _PLATFORM),
        "subscription_schedule.updated": Handler(schedule_changed, _PLATFORM),
        "subscription_schedule.released": Handler(schedule_changed, _PLATFORM),
        "subscription_schedule.canceled": Handler(schedule_changed, _PLATFORM),
        "subscription_schedule.completed": Handler(schedule_changed, _PLATFORM),
        "subscription_schedule.aborted": Handler(schedule_changed, _PLATFORM),
        "invoice.created": Handler(invoice_changed, _PLATFORM),
        "invoice.updated": Handler(invoice_changed, _PLATFORM),
        "invoice.finalized": Handler(invoice_changed, _PLATFORM),
        "invoice.finalization_failed": Handler(invoice_changed, _PLATFORM),
        "invoice.paid": Handler(invoice_changed, _PLATFORM),
        "invoice.payment_failed": Handler(invoice_changed, _PLATFORM),
        "invoice.payment_action_required": Handler(invoice_changed, _PLATFORM),
        "invoice.overdue": Handler(invoice_changed, _PLATFORM),
        "invoice.marked_uncollectible": Handler(invoice_changed, _PLATFORM),
        "invoice.voided": Handler(invoice_changed, _PLATFORM),
        "invoice.deleted": Handler(invoice_changed, _PLATFORM),
        "invoice.upcoming": Handler(invoice_upcoming, _PLATFORM),
        "invoice_payment.paid": Handler(invoice_payment_changed, _PLATFORM),
        "credit_note.created": Handler(credit_note_changed, _PLATFORM),
        "credit_note.updated": Handler(credit_note_changed, _PLATFORM),
        "credit_note.voided": Handler(credit_note_changed, _PLATFORM),
        "payment_method.attached": Handler(payment_method_changed, _PLATFORM),
        "payment_method.automatically_updated": Handler(payment_method_changed, _PLATFORM),
        "payment_method.detached": Handler(payment_method_changed, _PLATFORM),
        "payment_method.updated": Handler(payment_method_changed, _PLATFORM),
        "customer.updated": Handler(customer_changed, _PLATFORM),
        "customer.deleted": Handler(customer_deleted, _PLATFORM),
        "setup_intent.succeeded": Handler(setup_intent_succeeded, _PLATFORM),
        "setup_intent.setup_failed": Handler(setup_intent_failed, _PLATFORM),
        "account.updated": Handler(account_changed, _CONNECT),
        "account.application.deauthorized": Handler(account_deauthorized, _CONNECT),
        "capability.updated": Handler(account_changed, _CONNECT),
        "balance_settings.updated": Handler(account_changed, _CONNECT),
        "payout.created": Handler(payout_changed, _BOTH),
        "payout.updated": Handler(payout_changed, _BOTH),
        "payout.paid": Handler(payout_changed, _BOTH),
        "payout.failed": Handler(payout_changed, _BOTH),
        "payout.canceled": Handler(payout_changed, _BOTH),
        "payout.reconciliation_completed": Handler(payout_changed, _BOTH),
    }
)


def handler_of(type_: str, account: str) -> Handler | None:
    """Who handles an event; None where nobody does, or not from this source."""
    handler = HANDLERS.get(type_)
    return handler if handler is not None and EventSource.of(account) in handler.sources else None


def enabled_events(source: EventSource) -> list[str]:
    """The types that the endpoint of this source has to be registered for, sorted."""
    return sorted(type_ for type_, handler in HANDLERS.items() if source in handler.sources)
