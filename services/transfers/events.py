"""What Stripe's events say of transfers ("Types of events": transfer.reversed): what a person took back there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from models.base import from_record, new_id
from models.ledger import LedgerTransactionKind
from models.money import Money, rounded_share
from models.payments import Payment
from models.sets import insert_rows
from models.transfers import Transfer, TransferReversal, TransferStatus
from services.changes import ChangeSet
from services.ledger import LedgerBatch
from services.payments.facts import id_of, instant
from services.stripe_gateway import Priority
from services.transfer_requests import list_transfer_reversals
from services.transfers.parts import HostParts
from services.transfers.take_back import legs_of_reversal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("transfers.events")

_LOCK = "SELECT p.*, pg_current_xact_id()::text::bigint AS xid FROM payments p WHERE id = $1 FOR NO KEY UPDATE"


async def transfer_reversed(services: Services, event: WebhookEvent) -> None:
    """Take in what was taken back of a transfer in Stripe's dashboard.

    The platform holds it for the host again, and does not send it by itself: somebody had a reason. What Paydesk
    reversed itself is settled by its operation, and what Stripe reversed for a refund by that refund.
    """
    transfer_id = event.payload["data"]["object"]["id"]
    transfer = await Transfer.get_or_none(stripe_transfer_id=transfer_id)
    if transfer is None:
        return
    request = list_transfer_reversals(transfer_id)
    reversals = [made async for made in services.stripe.list_all(request, priority=Priority.BACKGROUND)]
    by_hand = [made for made in reversed(reversals) if _is_by_hand(made)]
    if by_hand:
        await _take_in(services, transfer, by_hand, event.actor)
        services.live.wake()


def _is_by_hand(reversal: dict[str, Any]) -> bool:
    ours = (reversal.get("metadata") or {}).get("transfer_reversal_id")
    return ours is None and id_of(reversal.get("source_refund")) is None


async def _take_in(
    services: Services, transfer: Transfer, reversals: Sequence[dict[str, Any]], actor: str
) -> None:
    async with services.database.transaction() as connection:
        record = (await connection.fetch(_LOCK, transfer.payment_id))[0]
        parts = await HostParts.read(connection, from_record(Payment, record))
        part = parts.part(transfer.allocation_id)
        known = {row.stripe_reversal_id for row in part.reversals}
        changes, ledger, rows = ChangeSet(actor, record["xid"]), LedgerBatch(), []
        for made in reversals:
            if made["id"] in known:
                continue
            before = [row for row in part.reversals if row.transfer_id == transfer.id]
            amount = Money.from_wire(made["amount"], made["currency"])
            until_now = sum(row.amount_minor for row in before) + amount.minor
            covers = rounded_share(transfer.covers_minor, until_now, transfer.amount_minor)
            row = TransferReversal(
                id=new_id(), payment_id=transfer.payment_id, allocation_id=transfer.allocation_id,
                transfer_id=transfer.id, operation_id=transfer.operation_id, stripe_transfer_id=made["transfer"],
                amount_minor=amount.minor, currency=amount.currency,
                covers_minor=max(0, covers - sum(other.covers_minor for other in before)),
                status=TransferStatus.PAID, stripe_reversal_id=made["id"],
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
    log.info("transfers.reversed_by_hand", payment=str(transfer.payment_id), transfer=transfer.stripe_transfer_id)
