"""Who may see what, for things asked for by their ids: what one may not see is as if it were not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from models.activities import Activity
from models.activity_cancellations import ActivityCancellation
from models.audit import AuditEntry
from models.base import from_record
from models.connect_accounts import ConnectAccount
from models.disputes import Dispute
from models.invoices import Invoice
from models.payment_methods import SavedPaymentMethod
from models.payments import Payment
from models.payouts import Payout
from models.plans import Plan
from models.reconciliations import Drift, ReconciliationRun
from models.refunds import Refund
from models.rsvps import Rsvp
from models.subscriptions import BillingSubscription
from models.users import User
from models.webhook_events import WebhookEvent
from services.errors import Unauthenticated
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final
    from uuid import UUID

    from tortoise.models import Model

    from services.core import Services
    from services.viewer import Viewer

Row = TypeVar("Row", bound="Model")

_ME = "(SELECT id FROM users WHERE external_id = $2)"


def _shares(payment: str) -> str:
    """Whether the viewer has a part of a payment."""
    return f"EXISTS (SELECT FROM payment_allocations s WHERE s.payment_id = {payment} AND s.host_id = {_ME})"


# What a user sees of each; None: nothing. A host is known to whoever knows the activities, a guest to the host.
_SEEN_BY_USERS: Final[Mapping[type[Model], str | None]] = {
    Activity: "$2::text IS NOT NULL",
    User: f"""(t.external_id = $2 OR EXISTS (SELECT FROM activities a WHERE a.host_id = t.id)
        OR EXISTS (SELECT FROM payments p WHERE p.payer_id = t.id AND p.host_id = {_ME}))""",
    Payment: f"({_ME} IN (t.payer_id, t.host_id) OR {_shares('t.id')})",
    ActivityCancellation: f"EXISTS (SELECT FROM activities a WHERE a.id = t.activity_id AND a.host_id = {_ME})",
    Rsvp: f"({_ME} = t.user_id OR EXISTS (SELECT FROM activities a WHERE a.id = t.activity_id AND a.host_id = {_ME}))",
    Refund: f"""(EXISTS (SELECT FROM payments p WHERE p.id = t.payment_id AND {_ME} IN (p.payer_id, p.host_id))
        OR {_shares("t.payment_id")})""",
    Dispute: f"""(EXISTS (SELECT FROM payments p WHERE p.id = t.payment_id AND p.host_id = {_ME})
        OR {_shares("t.payment_id")})""",
    ConnectAccount: f"{_ME} = t.user_id",
    Payout: f"EXISTS (SELECT FROM connect_accounts c WHERE c.id = t.connect_account_id AND c.user_id = {_ME})",
    SavedPaymentMethod: f"{_ME} = t.user_id",
    Plan: "$2::text IS NOT NULL",
    BillingSubscription: f"{_ME} = t.user_id",
    Invoice: f"{_ME} = t.user_id",
    AuditEntry: None,
    WebhookEvent: None,
    ReconciliationRun: None,
    Drift: None,
}
_SEEN_BY_ADMINS_ALONE: Final = frozenset({AuditEntry, WebhookEvent, ReconciliationRun, Drift})


def visible_email(viewer: Viewer | None, user: User) -> str:
    """The address for the person itself, service and admin; for others as `masked_email` has it."""
    if viewer is not None and (viewer.sees_everything or viewer.external_id == user.external_id):
        return user.email
    return masked_email(user.email)


def masked_email(email: str) -> str:
    """What others see of an address: `g…@example.com`."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}…@{domain}"


async def visible_rows(
    services: Services, *, viewer: Viewer | None, model: type[Row], ids: Sequence[UUID]
) -> dict[UUID, Row]:
    """Those of the rows that the viewer may see, by id, in one statement.

    Raises: Unauthenticated.
    """
    if viewer is None:
        raise Unauthenticated
    if model in _SEEN_BY_ADMINS_ALONE and viewer.role is not Role.ADMIN:
        return {}
    sql = f'SELECT t.* FROM "{model._meta.db_table}" t WHERE t.id = ANY($1)'
    parameters: list[object] = [list(ids)]
    if not viewer.sees_everything:
        sql += f" AND {_SEEN_BY_USERS[model]}"
        parameters.append(viewer.external_id)
    records = await services.database.pool.fetch(sql, *parameters)
    return {record["id"]: from_record(model, record) for record in records}
