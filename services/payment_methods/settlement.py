"""Settling saved methods: what Stripe has of a customer becomes the guest's rows, in whatever order news of it comes.

Each asking takes a number (`User.methods_asked`) before Stripe is asked, and is written down only where no later one
has been: whoever is late was overtaken by somebody who saw at least as much. So nobody asks twice, however many ask at
once, and each caller finds what it did itself in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.base import from_record, new_id, new_row
from models.payment_methods import SavedPaymentMethod
from models.sets import insert_rows, update_rows
from services.changes import ChangeSet
from services.customers import forget_customer
from services.dunning.tracking import new_default
from services.payment_methods.facts import CustomerFacts, fetch_customer
from services.payment_methods.history import record_change, snapshot
from services.payment_methods.reading import attached_methods
from services.rate_limiter import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from services.core import Services

_ASK: Final = """
UPDATE users SET methods_asked = methods_asked + 1 WHERE id = $1 AND stripe_customer_id = $2 RETURNING methods_asked
"""
_LOCK: Final = """
UPDATE users SET methods_settled = $3 WHERE id = $1 AND stripe_customer_id = $2 AND methods_settled < $3
RETURNING pg_current_xact_id()::text::bigint AS xid
"""
_ROWS: Final = """
SELECT * FROM payment_methods WHERE user_id = $1 OR stripe_payment_method_id = ANY($2) ORDER BY id FOR NO KEY UPDATE
"""
_CLEAR_DEFAULT: Final = """
UPDATE payment_methods SET is_default = false
WHERE user_id = $1 AND is_default AND stripe_payment_method_id IS DISTINCT FROM $2
"""
_COLUMNS: Final = (
    "user_id", "stripe_customer_id", "type", "brand", "last4", "exp_month", "exp_year", "country", "fingerprint",
    "is_default", "attached_at", "detached_at", "expiry_noticed_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MethodsNow:
    """A guest's attached methods, the default first, then the newest."""

    methods: Sequence[SavedPaymentMethod]

    @property
    def heir(self) -> SavedPaymentMethod | None:
        """The method that should become the default: the newest where there are some and none is."""
        return self.methods[0] if self.methods and not self.methods[0].is_default else None


async def settle_methods(
    services: Services, user_id: UUID, customer: str, *, actor: str, priority: Priority = Priority.INTERACTIVE
) -> MethodsNow:
    """Make the guest's saved methods what Stripe has of the customer; a customer that is gone there is forgotten.

    Raises: StripeError where Stripe cannot be reached; nothing has changed then.
    """
    asked: int | None = await services.database.pool.fetchval(_ASK, user_id, customer)
    if asked is None:  # it was forgotten meanwhile
        return await _now(services, user_id)
    facts = await fetch_customer(services, customer, priority=priority)
    if facts.is_gone:
        await forget_customer(services, user_id, customer, actor=actor)
        return await _now(services, user_id)
    hopeful = False
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_LOCK, user_id, customer, asked)
        if record is not None:
            changes = ChangeSet(actor, record["xid"])
            hopeful = await _write(connection, user_id, facts, changes, services.clock())
    if hopeful:
        await new_default(services, user_id)
    return await _now(services, user_id)


async def _now(services: Services, user_id: UUID) -> MethodsNow:
    return MethodsNow((await attached_methods(services, [user_id]))[user_id])


async def _write(
    connection: AnyConnection, user_id: UUID, facts: CustomerFacts, changes: ChangeSet, now: datetime
) -> bool:
    """Write what the customer has to the locked guest's rows; whether invoices may be paid now that could not before.

    They may where another method has become the default, or that one's card was renewed.
    """
    ids = [method.id for method in facts.methods]
    records = await connection.fetch(_ROWS, user_id, ids)
    rows = {record["stripe_payment_method_id"]: from_record(SavedPaymentMethod, record) for record in records}
    before = {id_: snapshot(row) for id_, row in rows.items()}
    columns = {id_: _columns(row) for id_, row in rows.items()}
    promises = {id_: _promise(row) for id_, row in rows.items()}
    for row in rows.values():
        if row.is_attached and row.stripe_customer_id == facts.id and row.stripe_payment_method_id not in ids:
            row.detached_at, row.is_default = now, False
    made = []
    for method in reversed(facts.methods):  # the oldest first, so that ids are in order
        known = rows.get(method.id)
        if known is None:
            known = new_row(
                SavedPaymentMethod, id=new_id(), stripe_payment_method_id=method.id, attached_at=now, type=method.type
            )
            made.append(known)
        elif not known.is_attached:
            known.attached_at, known.detached_at = now, None
        known.user_id, known.stripe_customer_id = user_id, facts.id
        method.apply(known)
        known.is_default = method.id == facts.default
    changed = [row for id_, row in rows.items() if _columns(row) != columns[id_]]
    for row in [*changed, *made]:
        record_change(changes, row, before.get(row.stripe_payment_method_id))
    # First of all: no two may be the default, not even within one statement.
    await connection.execute(_CLEAR_DEFAULT, user_id, facts.default)
    await update_rows(connection, SavedPaymentMethod, changed, _COLUMNS)
    await insert_rows(connection, SavedPaymentMethod, made)
    await changes.write(connection)
    return any(
        row.is_default and _promise(row) != promises.get(row.stripe_payment_method_id) for row in [*changed, *made]
    )


def _columns(row: SavedPaymentMethod) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in _COLUMNS)


def _promise(row: SavedPaymentMethod) -> tuple[Any, ...]:
    """What decides whether the bank may say otherwise of the default than it did before."""
    return row.is_default, row.last4, row.fingerprint, row.exp_month, row.exp_year
