"""What Stripe's events say of transfers ("Types of events": transfer.reversed): what a person took back there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money, rounded_share
from models.payments import Payment
from models.sets import insert_rows
from models.transfers import TransferReversal, TransferStatus
from services.changes import ChangeSet
from services.errors import OperationInProgress
from services.ledger import LedgerBatch
from services.payments.facts import id_of, instant
from services.refunds.events import captured_payment_of
from services.stripe_gateway import Priority
from services.stripe_requests import retrieve_charge
from services.transfer_requests import list_transfer_reversals
from services.transfers.parts import HostParts
from services.transfers.take_back import legs_of_reversal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("transfers.events")

_RETRY_AFTER_S: Final = 2
_PAYMENT: Final = """
SELECT payment_id FROM transfers WHERE stripe_transfer_id = $1
UNION ALL SELECT payment_id FROM payment_allocations WHERE stripe_transfer_id = $1 LIMIT 1
"""
_UNDER_WAY: Final = """
SELECT EXISTS (SELECT FROM operations o JOIN transfers t ON t.id = o.subject_id
    WHERE o.caller = 'system:release' AND o.idempotency_key = $1 AND t.status = 'PLANNED')
"""
_LOCK: Final = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE"


async def transfer_reversed(services: Services, event: WebhookEvent) -> None:
    """Take in what was taken back of a transfer in Stripe's dashboard, a destination charge's own included.

    The platform holds it for the host again, and does not send it by itself: somebody had a reason. What Paydesk
    reversed itself is settled by its operation, and what Stripe reversed for a refund by that refund.

    Raises: OperationInProgress while the answer to our own transfer is still to come.
    """
    transfer = event.payload["data"]["object"]
    shown = transfer["reversals"]
    if not shown["has_more"] and not any(_is_by_hand(made) for made in shown["data"]):
        return
    payment_id = await _payment_of(services, transfer, event)
    if payment_id is None:
        return
    request = list_transfer_reversals(transfer["id"])
    reversals = [made async for made in services.stripe.list_all(request, priority=Priority.BACKGROUND)]
    by_hand = [made for made in reversed(reversals) if _is_by_hand(made)]
    if by_hand:
        await _take_in(services, payment_id, transfer["id"], by_hand, event.actor)
        services.live.wake()


def _is_by_hand(reversal: dict[str, Any]) -> bool:
    ours = (reversal.get("metadata") or {}).get("transfer_reversal_id")
    return ours is None and id_of(reversal.get("source_refund")) is None


async def _payment_of(services: Services, transfer: dict[str, Any], event: WebhookEvent) -> UUID | None:
    """The payment of a transfer, settled first where the event overtook that; None where it is none of ours."""
    known: UUID | None = await services.database.pool.fetchval(_PAYMENT, transfer["id"])
    if known is not None:
        return known
    ours = (transfer.get("metadata") or {}).get("transfer_id")
    if ours is not None:
        if await services.database.pool.fetchval(_UNDER_WAY, ours):
            raise OperationInProgress(retry_after_seconds=_RETRY_AFTER_S)
        return None
    charge_id = id_of(transfer.get("source_transaction"))
    if charge_id is None:
        return None
    charge = (await services.stripe.send(retrieve_charge(charge_id), priority=Priority.BACKGROUND)).body
    await captured_payment_of(services, charge, event)
    return await services.database.pool.fetchval(_PAYMENT, transfer["id"])  # type: ignore[no-any-return]


async def _take_in(
    services: Services, payment_id: UUID, transfer_id: str, reversals: Sequence[dict[str, Any]], actor: str
) -> None:
    async with services.database.transaction() as connection:
        record = (await connection.fetch(_LOCK, payment_id))[0]
        parts = await HostParts.read(connection, from_record(Payment, record))
        part = next(part for part in parts.parts if parts.source(part, transfer_id))
        known = {row.stripe_reversal_id for row in part.reversals}
        changes, ledger, rows = ChangeSet(actor, record["xid"]), LedgerBatch(), []
        for made in reversals:
            source = parts.source(part, transfer_id)
            if made["id"] in known or source is None:
                continue
            amount = Money.from_wire(made["amount"], made["currency"])
            until_now = rounded_share(source.brought, source.reversed + amount.minor, source.amount.minor)
            row = TransferReversal(
                id=new_id(), payment_id=payment_id, allocation_id=part.allocation.id, transfer_id=source.transfer_id,
                operation_id=new_id(), stripe_transfer_id=transfer_id, amount_minor=amount.minor,
                currency=amount.currency, covers_minor=max(0, until_now - source.taken), status=TransferStatus.PAID,
                stripe_reversal_id=made["id"],
            )  # fmt: skip
            part.reversals.append(row)
            rows.append(row)
            part.allocation.reversed_minor += row.covers_minor
            part.allocation.owed_minor += row.covers_minor
            ledger.move(
                LedgerTransactionKind.TRANSFER_REVERSAL, f"transfer_reversal:{row.stripe_reversal_id}",
                legs_of_reversal(part.allocation, row), occurred_at=instant(made["created"]),
                payment_id=row.payment_id, stripe_object_id=row.stripe_reversal_id,
            )  # fmt: skip
            changes.audit(
                "transfer.reversed_by_hand", "PAYMENT", row.payment_id, before=None,
                after={
                    "host_id": str(part.allocation.host_id), "covers_minor": row.covers_minor,
                    "amount_minor": row.amount_minor, "transfer_currency": row.currency,
                    "stripe_transfer_id": row.stripe_transfer_id, "stripe_reversal_id": row.stripe_reversal_id,
                },
            )  # fmt: skip
        await insert_rows(connection, TransferReversal, rows)
        await parts.write(connection)
        await ledger.write(connection)
        await changes.write(connection)
    log.info("transfers.reversed_by_hand", payment=str(payment_id), transfer=transfer_id)
