"""How far the money of a payment has come: taken, to be used, on its way, at the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.balances import BalanceTransaction
from models.base import new_id
from models.connect_accounts import ConnectAccount
from models.payments import SettlementStatus
from models.payouts import Payout, PayoutStatus
from services.balances.mirror import mirror_now
from services.payments.settlement_status import settlement_statuses

if TYPE_CHECKING:
    from models.payments import Payment
    from tests.support.shop import Shop


async def status(shop: Shop, payment: Payment) -> SettlementStatus | None:
    return (await settlement_statuses(shop.services, [payment.id])).get(payment.id)


async def mirrored(shop: Shop) -> None:
    for account in ("", str(shop.account.stripe_account_id)):
        await mirror_now(shop.services, account)


async def put_into_payout(shop: Shop, payment: Payment, status: PayoutStatus) -> Payout:
    account = await ConnectAccount.get(id=shop.account.id)
    payout = await Payout.create(
        id=new_id(), connect_account_id=account.id, stripe_account=account.stripe_account_id,
        stripe_payout_id=f"po_{payment.id.hex}", amount_minor=1800, currency="USD", status=status, automatic=True,
        requested_by="stripe",
    )  # fmt: skip
    rows = BalanceTransaction.filter(payment_id=payment.id, stripe_account=account.stripe_account_id)
    assert await rows.update(payout_id=payout.id) >= 1
    return payout


async def test_it_is_captured_until_it_can_be_used(shop: Shop) -> None:
    payment = await shop.paid()
    assert await status(shop, payment) is SettlementStatus.CAPTURED
    await mirrored(shop)
    assert await status(shop, payment) is SettlementStatus.CAPTURED
    shop.clock.forward(hours=24 * 8)
    assert await status(shop, payment) is SettlementStatus.SETTLED


async def test_it_is_in_the_host_s_payout_and_then_at_the_bank(shop: Shop) -> None:
    payment = await shop.paid()
    await mirrored(shop)
    payout = await put_into_payout(shop, payment, PayoutStatus.IN_TRANSIT)
    assert await status(shop, payment) is SettlementStatus.IN_PAYOUT
    await Payout.filter(id=payout.id).update(status=PayoutStatus.PAID)
    assert await status(shop, payment) is SettlementStatus.AT_BANK
    await Payout.filter(id=payout.id).update(status=PayoutStatus.FAILED)
    shop.clock.forward(hours=24 * 8)
    assert await status(shop, payment) is SettlementStatus.SETTLED


async def test_what_was_not_captured_has_none(shop: Shop) -> None:
    held = await shop.paid(capture_later=True)
    declined = (await shop.pay("pm_card_chargeDeclined")).payment
    assert await settlement_statuses(shop.services, [held.id, declined.id]) == {}
