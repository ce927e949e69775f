"""Several hosts of one payment: their accounts, what they are sent, and what must hold of it at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.connect_accounts import ConnectAccount
from models.disputes import Dispute
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.refunds import Refund
from models.transfers import Transfer, TransferReversal, TransferStatus
from models.webhook_events import WebhookEvent
from services.connect.events import account_changed
from services.payments.charging import Split
from services.transfers.job import release_some
from tests.support.rows import add_account, add_user

if TYPE_CHECKING:
    from models.users import User
    from tests.support.shop import Shop

_CONTROLLER = {
    "fees": {"payer": "application"}, "losses": {"payments": "application"}, "requirement_collection": "stripe",
    "stripe_dashboard": {"type": "express"},
}  # fmt: skip


def shares(*parts: tuple[User, str]) -> list[Split]:
    """The splits of a payment."""
    return [Split(host.external_id, Decimal(share)) for host, share in parts]


@dataclass(frozen=True)
class Hosts:
    """The hosts of a shop's payments."""

    shop: Shop

    async def add(self, *, country: str = "US", ready: bool = True, account: bool = True) -> User:
        """One more; not ready: before the onboarding."""
        async with self.shop.services.database.transaction() as connection:
            host = await add_user(connection, stripe_customer_id=None)
            if not account:
                return host
            id_ = await self._opened(country) if not ready else await self.shop.sandbox.onboarded_account(
                country=country
            )  # fmt: skip
            capabilities = {"transfers": "active" if ready else "inactive", "card_payments": "active"}
            await add_account(connection, host, stripe_account_id=id_, country=country, capabilities=capabilities)
        return host

    async def account(self, host: User) -> ConnectAccount:
        """Of a host."""
        return await ConnectAccount.get(user_id=host.id, deauthorized_at=None)

    async def onboard(self, host: User) -> None:
        """The host does what Stripe asks for, and Stripe tells."""
        id_ = (await self.account(host)).stripe_account_id
        await self.shop.sandbox.act(f"accounts/{id_}/onboard")
        await self.hear_of(str(id_))

    async def hear_of(self, account_id: str) -> None:
        """Stripe says that an account has changed."""
        event = WebhookEvent(
            stripe_event_id=f"evt_{uuid4().hex}", account=account_id, type="account.updated",
            stripe_created_at=datetime.now(UTC), payload={"data": {"object": {"id": account_id}}},
        )  # fmt: skip
        await account_changed(self.shop.services, event)

    async def work(self, *, hours: float = 0) -> None:
        """The job, once all that is due has been looked at."""
        self.shop.clock.forward(hours=hours)
        while await release_some(self.shop.services):
            pass

    async def parts(self, payment: Payment) -> list[PaymentAllocation]:
        """Of a payment, in the order of its splits."""
        return await PaymentAllocation.filter(payment_id=payment.id).order_by("id")

    async def owed(self, payment: Payment) -> list[int]:
        """What the platform holds for each."""
        return [part.owed_minor for part in await self.parts(payment)]

    async def sent(self, payment: Payment) -> dict[str, int]:
        """What Stripe has sent for a payment and not taken back, on its wire, by account."""
        transfers = await self.shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)})
        found: dict[str, int] = {}
        for transfer in transfers:
            found[transfer["destination"]] = (
                found.get(transfer["destination"], 0) + transfer["amount"] - transfer["amount_reversed"]
            )
        return found

    async def sent_to(self, payment: Payment, *hosts: User) -> list[int]:
        """As `sent`, to each of these hosts."""
        found = await self.sent(payment)
        return [found.get(str((await self.account(host)).stripe_account_id), 0) for host in hosts]

    async def check(self, payment: Payment) -> None:
        """What holds at rest of the parts of a payment that nothing was taken back of."""
        payment = await self.shop.now(payment)
        parts = await self.parts(payment)
        assert sum(part.amount_minor for part in parts) == payment.host_amount_minor
        for part in parts:
            assert part.amount_minor == part.owed_minor + part.transferred_minor - part.reversed_minor
        rows = await Transfer.filter(payment_id=payment.id)
        assert {row.status for row in rows} <= {TransferStatus.PAID, TransferStatus.REFUSED}
        paid = [row for row in rows if row.status is TransferStatus.PAID]
        if payment.charge_model is ChargeModel.SEPARATE:
            theirs = await self.shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)})
            assert {(row.stripe_transfer_id, row.amount.wire, row.stripe_account_id) for row in paid} == {
                (transfer["id"], transfer["amount"], transfer["destination"]) for transfer in theirs
            }
        await self._check_ledger(payment, parts)
        await self.shop.check()

    async def check_taken(self, payment: Payment) -> None:
        """What holds at rest of the parts of a payment, whatever was taken back of them."""
        payment = await self.shop.now(payment)
        parts = await self.parts(payment)
        refunds = await Refund.filter(payment_id=payment.id)
        disputes = await Dispute.filter(payment_id=payment.id)
        given = sum(refund.host_minor for refund in refunds if refund.status.holds_money)
        given += sum(dispute.host_minor for dispute in disputes)
        left = [part.transferred_minor - part.reversed_minor + part.owed_minor for part in parts]
        assert sum(left) == payment.host_amount_minor - given
        assert all(0 <= minor <= part.amount_minor for minor, part in zip(left, parts, strict=True))
        rows = await TransferReversal.filter(payment_id=payment.id)
        assert {row.status for row in rows} <= {TransferStatus.PAID, TransferStatus.REFUSED}
        if payment.charge_model is ChargeModel.SEPARATE:
            theirs = await self.shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)})
            back = [one for its in theirs for one in await self._back(its["id"])]
            assert {
                (row.stripe_reversal_id, row.stripe_transfer_id, row.amount.wire)
                for row in rows
                if row.status is TransferStatus.PAID and row.amount_minor
            } == {(one["id"], one["transfer"], one["amount"]) for one in back}
        await self._check_ledger(payment, parts)
        await self.shop.check()

    async def _check_ledger(self, payment: Payment, parts: list[PaymentAllocation]) -> None:
        records: list[Any] = await self.shop.services.database.pool.fetch(
            """
            SELECT a.kind, a.owner_id, p.currency, sum(p.amount_minor)::bigint AS minor
            FROM ledger_transactions t JOIN ledger_postings p ON p.transaction_id = t.id
            JOIN ledger_accounts a ON a.id = p.account_id WHERE t.payment_id = $1 AND t.kind <> 'SETTLEMENT'
            GROUP BY 1, 2, 3 HAVING sum(p.amount_minor) <> 0
            """,
            payment.id,
        )
        owed = {record["owner_id"]: record["minor"] for record in records if record["kind"] == "HOST_OWED"}
        assert owed == {part.host_id: part.owed_minor for part in parts if part.owed_minor}
        if payment.charge_model is not ChargeModel.SEPARATE:
            return
        held = {
            (record["owner_id"], record["currency"]): record["minor"]
            for record in records
            if record["kind"] == "HOST_BALANCE"
        }
        # What was set off against a debt was sent and taken back without Stripe.
        for part in parts:
            minor = await self._set_off(payment, part)
            held[part.host_id, part.currency] = held.get((part.host_id, part.currency), 0) - minor
        held = {key: minor for key, minor in held.items() if minor}
        by_id = {part.id: part.host_id for part in parts}
        sent: dict[Any, int] = {}
        for row in await Transfer.filter(payment_id=payment.id, status=TransferStatus.PAID):
            key = by_id[row.allocation_id], row.currency
            sent[key] = sent.get(key, 0) + row.amount_minor
        for back in await TransferReversal.filter(payment_id=payment.id, status=TransferStatus.PAID):
            sent[by_id[back.allocation_id], back.currency] -= back.amount_minor
        assert held == {key: minor for key, minor in sent.items() if minor}

    async def _back(self, transfer_id: str) -> list[dict[str, Any]]:
        """What Stripe reversed of a transfer."""
        return await self.shop.sandbox.every(f"/v1/transfers/{transfer_id}/reversals")

    async def _set_off(self, payment: Payment, part: PaymentAllocation) -> int:
        minor = await self.shop.services.database.pool.fetchval(
            """
            SELECT coalesce(sum(p.amount_minor), 0)::bigint FROM ledger_transactions t
            JOIN ledger_postings p ON p.transaction_id = t.id JOIN ledger_accounts a ON a.id = p.account_id
            WHERE t.payment_id = $1 AND t.kind = 'DEBT_RECOVERY' AND a.kind = 'HOST_BALANCE' AND a.owner_id = $2
            """,
            payment.id, part.host_id,
        )  # fmt: skip
        return int(minor)

    async def _opened(self, country: str) -> str:
        account = await self.shop.sandbox.post(
            "/v1/accounts",
            {
                "country": country, "email": "host@example.com", "controller": _CONTROLLER,
                "capabilities": {"card_payments": {"requested": True}, "transfers": {"requested": True}},
            },
        )  # fmt: skip
        return str(account["id"])
