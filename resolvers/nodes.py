"""Anything by its id ("Global Object Identification")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from models.activities import Activity as ActivityRow
from models.activity_cancellations import ActivityCancellation as ActivityCancellationRow
from models.audit import AuditEntry as AuditEntryRow
from models.connect_accounts import ConnectAccount as ConnectAccountRow
from models.disputes import Dispute as DisputeRow
from models.invoices import Invoice as InvoiceRow
from models.payment_methods import SavedPaymentMethod as SavedPaymentMethodRow
from models.payments import Payment as PaymentRow
from models.payouts import Payout as PayoutRow
from models.plans import Plan as PlanRow
from models.reconciliations import Drift as DriftRow
from models.reconciliations import ReconciliationRun as ReconciliationRunRow
from models.refunds import Refund as RefundRow
from models.rsvps import Rsvp as RsvpRow
from models.subscriptions import BillingSubscription as BillingSubscriptionRow
from models.users import User as UserRow
from models.webhook_events import WebhookEvent as WebhookEventRow
from resolvers.arguments import Id
from schema.activities import Activity
from schema.activity_cancellations import ActivityCancellation
from schema.audit import AuditEntry
from schema.connect_accounts import account_or_none
from schema.context import Info
from schema.described import field, object_type
from schema.disputes import Dispute
from schema.ids import parse_id
from schema.invoices import Invoice
from schema.nodes import Node
from schema.payment_methods import PaymentMethod
from schema.payments import Payment
from schema.payouts import Payout
from schema.plans import Plan
from schema.reconciliation import Drift, ReconciliationRun
from schema.refunds import Refund
from schema.rsvps import Rsvp
from schema.subscriptions import BillingSubscription
from schema.users import User
from schema.webhook_events import WebhookEvent
from services.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tortoise.models import Model

    from schema.context import Context

NODES_MAX = 100


def node_types() -> Mapping[str, tuple[type[Model], Callable[[Any], Node | None]]]:
    """Each type of node: the row that its ids are of, and how it is made of one."""
    return {
        "Activity": (ActivityRow, Activity.of),
        "ActivityCancellation": (ActivityCancellationRow, ActivityCancellation.of),
        "AuditEntry": (AuditEntryRow, AuditEntry.of),
        "BillingSubscription": (BillingSubscriptionRow, BillingSubscription.of),
        "ConnectAccount": (ConnectAccountRow, account_or_none),
        "Dispute": (DisputeRow, Dispute.of),
        "Drift": (DriftRow, Drift.of),
        "Invoice": (InvoiceRow, Invoice.of),
        "Payment": (PaymentRow, Payment.of),
        "PaymentMethod": (SavedPaymentMethodRow, PaymentMethod.of),
        "Payout": (PayoutRow, Payout.of),
        "Plan": (PlanRow, Plan.of),
        "ReconciliationRun": (ReconciliationRunRow, ReconciliationRun.of),
        "Refund": (RefundRow, Refund.of),
        "Rsvp": (RsvpRow, Rsvp.of),
        "User": (UserRow, User.of),
        "WebhookEvent": (WebhookEventRow, WebhookEvent.of),
    }


async def find_node(context: Context, id_: str) -> Node | None:
    """The node of that id; None for what is not there, not for the viewer, or no id.

    Raises: Unauthenticated.
    """
    context.require_viewer()
    parsed = parse_id(id_)
    kind = node_types().get(parsed.type_name) if parsed is not None else None
    if parsed is None or kind is None:
        return None
    model, make = kind
    row = await context.loaders.visible(model).load(parsed.id)
    if row is None and model is SavedPaymentMethodRow:  # it may be the method of a payment, which nobody saved
        row, make = await context.loaders.visible(PaymentRow).load(parsed.id), PaymentMethod.of_payment
    return None if row is None else make(row)


@object_type
class NodeQueries:
    """Queries by id."""

    @field
    async def node(self, info: Info, id: Id) -> Node | None:
        """Anything by its id; null for what is not there or not for the viewer, and for what is no id."""
        return await find_node(info.context, id)

    @field
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="At most 100.")],
    ) -> list[Node | None]:
        """Things by their ids, in that order; null for each that is not there or not for the viewer."""
        if len(ids) > NODES_MAX:
            raise InvalidInput(path=["ids"], message=f"At most {NODES_MAX} ids can be asked for at once.")
        return list(await asyncio.gather(*(find_node(info.context, id_) for id_ in ids)))
