"""One payment's story, from the guest's card to the host's bank, and what of it cannot be explained."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from models.ledger import LedgerTransactionKind
from models.money import Money
from models.payouts import Payout
from services.balances.mirror import mirror_payout
from services.balances.unexplained import unexplained_of
from services.ledger import PLATFORM, REFUNDS, LedgerBatch
from services.movements import movements_of
from tests.support.books import assert_books_agree, mirror_all
from tests.support.disputing import Disputing
from tests.support.payouts import Earner

if TYPE_CHECKING:
    from models.payments import Payment
    from services.movements import Movement
    from tests.support.shop import Shop


async def story(shop: Shop, payment: Payment) -> list[Movement]:
    """The payment's movements; those of each transaction add up to nothing."""
    movements = (await movements_of(shop.services, [payment.id]))[payment.id]
    sums: Counter[tuple[object, str]] = Counter()
    for movement in movements:
        sums[movement.transaction_id, movement.amount.currency] += movement.amount.minor
    assert set(sums.values()) <= {0}
    return movements


def holds(movements: list[Movement], account: str, currency: str = "USD") -> int:
    """What of the payment is in an account of the ledger."""
    return sum(one.amount.minor for one in movements if one.account == account and one.amount.currency == currency)


async def unexplained(shop: Shop, payment: Payment) -> dict[str, int]:
    """By currency."""
    found = await unexplained_of(shop.services, [payment.id])
    return {money.currency: money.minor for money in found.get(payment.id, [])}


async def paid_out(shop: Shop) -> Payout:
    """What the host has goes to their bank by its schedule, and Paydesk hears of it."""
    account = str(shop.account.stripe_account_id)
    await shop.sandbox.act("balance/settle", account=account)
    await shop.sandbox.act(f"accounts/{account}/pay_out")
    earner = Earner(shop.services, shop.sandbox, shop.clock, shop.host, shop.account)
    await earner.deliver()
    payout = await Payout.filter(connect_account_id=shop.account.id).order_by("-id").first()
    assert payout is not None
    return payout


async def bank(shop: Shop, payout: Payout, what: str) -> None:
    """The host's bank does something, and Paydesk hears of it."""
    await shop.sandbox.act(f"payouts/{payout.stripe_payout_id}/{what}")
    await Earner(shop.services, shop.sandbox, shop.clock, shop.host, shop.account).deliver()


async def test_from_the_card_to_the_bank_and_every_cent_is_explained(shop: Shop) -> None:
    first, second = await shop.paid(), await shop.paid()
    await shop.refund(first, 500)
    await mirror_all(shop.services)
    payout = await paid_out(shop)
    await bank(shop, payout, "send")
    await bank(shop, payout, "pay")
    await assert_books_agree(shop.services, shop.sandbox)
    host = shop.host.external_id
    for payment, left in ((first, 1800 - 450), (second, 1800)):
        movements = await story(shop, payment)
        assert holds(movements, f"bank:{host}") == left
        assert holds(movements, f"host_balance:{host}") == 0
        assert holds(movements, "stripe_fees") == 88
        assert await unexplained(shop, payment) == {"USD": 0}
    movements = await story(shop, first)
    assert {one.stripe_id for one in movements} >= {first.stripe_charge_id, payout.stripe_payout_id}
    assert {one.stripe_account for one in movements if one.stripe_id == payout.stripe_payout_id} == {
        shop.account.stripe_account_id
    }
    assert movements[0].account == "guest_clearing"
    await shop.check()


async def test_a_payout_that_comes_back_is_part_of_the_story(shop: Shop) -> None:
    payment = await shop.paid()
    await mirror_all(shop.services)
    payout = await paid_out(shop)
    for what in ("send", "pay", "fail"):
        await bank(shop, payout, what)
    await mirror_payout(shop.services, await Payout.get(id=payout.id))
    await assert_books_agree(shop.services, shop.sandbox)
    movements = await story(shop, payment)
    host = shop.host.external_id
    assert (holds(movements, f"bank:{host}"), holds(movements, f"host_balance:{host}")) == (0, 1800)
    assert sorted(one.cause.partition(":")[0] for one in movements if one.account == f"bank:{host}") == [
        "payout_failed", "payout_paid",
    ]  # fmt: skip


async def test_a_fee_that_stripe_gives_back_is_explained_by_itself(shop: Shop) -> None:
    payment = await shop.paid()
    disputing = Disputing(shop)
    dispute = await disputing.disputed(payment)
    await mirror_all(shop.services)
    await disputing.decide(dispute, "prevented")
    await assert_books_agree(shop.services, shop.sandbox)
    assert holds(await story(shop, payment), "stripe_fees") == 88
    assert await unexplained(shop, payment) == {"USD": 0}


async def test_what_is_said_here_and_did_not_move_at_stripe_is_unexplained_once_it_was_looked_for(shop: Shop) -> None:
    payment = await shop.paid()
    await mirror_all(shop.services)
    amount = Money(123, "USD")
    batch = LedgerBatch()
    batch.move(
        LedgerTransactionKind.REFUND, "refund:re_never", [(PLATFORM, -amount), (REFUNDS, amount)],
        occurred_at=shop.clock(), payment_id=payment.id,
    )  # fmt: skip
    async with shop.services.database.transaction() as connection:
        await batch.write(connection)
    await mirror_all(shop.services)
    assert await unexplained(shop, payment) == {"USD": 0}
    await shop.services.database.pool.execute(
        "UPDATE balance_watermarks SET updated_at = now() + interval '2 hours'"
    )
    assert await unexplained(shop, payment) == {"USD": 123}


async def test_what_moved_at_stripe_for_no_cause_is_unexplained(shop: Shop) -> None:
    payment = await shop.paid()
    fee = (await shop.intent(payment))["latest_charge"]["application_fee"]
    await shop.sandbox.post(f"/v1/application_fees/{fee}/refunds", {"amount": 50})
    await mirror_all(shop.services)
    # Out of the platform's balance, and into the host's.
    assert await unexplained(shop, payment) == {"USD": 50 + 50}
    shop.clock.forward(seconds=3 * 86_400)
    await assert_books_agree(shop.services, shop.sandbox)
    assert await unexplained(shop, payment) == {"USD": 50 + 50}


async def test_an_amount_that_is_not_stripe_s_is_unexplained_and_the_books_agree_all_the_same(shop: Shop) -> None:
    payment = await shop.paid()
    pool = shop.services.database.pool
    await pool.execute("ALTER TABLE ledger_postings DISABLE TRIGGER USER")
    try:
        await pool.execute(
            "UPDATE ledger_postings SET amount_minor = amount_minor + sign(amount_minor) WHERE transaction_id ="
            " (SELECT id FROM ledger_transactions WHERE kind = 'CHARGE')"
        )
    finally:
        await pool.execute("ALTER TABLE ledger_postings ENABLE TRIGGER USER")
    await assert_books_agree(shop.services, shop.sandbox)
    assert await unexplained(shop, payment) == {"USD": 1}
