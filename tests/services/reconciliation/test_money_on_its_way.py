"""Transfers, payouts, disputes and balance transactions: what differs is found, named and repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from models.balances import BalanceTransaction
from models.connect_accounts import ConnectAccountType
from models.disputes import Dispute, DisputeStatus
from models.payouts import Payout, PayoutStatus
from models.reconciliations import DriftKind, DriftRepair
from models.transfers import Transfer
from services.balances.mirror import mirror_now
from services.errors import InvalidState
from services.reconciliation.repairing import repair
from tests.services.reconciliation.test_charges import tamper
from tests.support.hosts import Hosts, shares
from tests.support.shop import Shop

if TYPE_CHECKING:
    from models.payments import Payment
    from models.reconciliations import Drift
    from services.core import Services
    from tests.services.reconciliation.conftest import Books
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def only(books: Books, object_type: str) -> Drift:
    """The one drift that there is."""
    found = await books.drifts()
    assert [drift.object_type for drift in found] == [object_type]
    return found[0]


async def mended(shop: Shop, books: Books, drift: Drift) -> None:
    """The repair helps, and nothing else drifts."""
    ended = await repair(shop.services, drift.id, actor="admin:anna")
    assert ended.resolution == "It was repaired: both sides agree."
    await books.agree()
    await shop.check()


@pytest.fixture
async def sent(shop: Shop) -> Payment:
    """A payment of two hosts, who have been sent their parts."""
    other = await Hosts(shop).add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")))
    assert await Transfer.filter(payment_id=payment.id, status="PAID").count() == 2
    return payment


@pytest.mark.parametrize("changed", ["amount_minor = amount_minor + 100", "currency = 'EUR'", "deleted"])
async def test_a_changed_or_lost_transfer_is_restored(
    shop: Shop, books: Books, sent: Payment, changed: str
) -> None:
    before = await Transfer.filter(payment_id=sent.id).order_by("id").first()
    assert before is not None
    if changed == "deleted":
        await Transfer.filter(id=before.id).delete()
    else:
        await shop.services.database.pool.execute(f"UPDATE transfers SET {changed} WHERE id = $1", before.id)
    drift = await only(books, "transfer")
    kind = DriftKind.MISSING_HERE if changed == "deleted" else DriftKind.AMOUNT_DIFFERS
    assert (drift.kind, drift.stripe_id, drift.repair) == (kind, before.stripe_transfer_id, DriftRepair.SETTLE)
    await mended(shop, books, drift)
    after = await Transfer.get(id=before.id)
    for name in ("amount_minor", "currency", "covers_minor", "status", "allocation_id", "operation_id"):
        assert getattr(after, name) == getattr(before, name)


async def test_a_transfer_that_somebody_made_at_stripe_is_left_to_a_person(shop: Shop, books: Books) -> None:
    await shop.sandbox.act(
        f"accounts/{await platform(shop)}/balance_transactions", type="adjustment", amount=5000, currency="usd"
    )
    made = await shop.sandbox.post(
        "/v1/transfers", {"amount": 300, "currency": "usd", "destination": shop.account.stripe_account_id}
    )
    drift = await only(books, "transfer")
    assert (drift.kind, drift.stripe_id, drift.at_stripe_minor) == (DriftKind.MISSING_HERE, made["id"], 300)
    with pytest.raises(InvalidState, match="a person has to tell what it was for"):
        await repair(shop.services, drift.id, actor="admin:anna")


async def platform(shop: Shop) -> str:
    """The platform's own account at Stripe."""
    return str((await shop.sandbox.get("/v1/account"))["id"])


async def test_a_destination_charge_whose_transfer_was_forgotten_is_settled(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await shop.services.database.pool.execute(
        "UPDATE payment_allocations SET stripe_transfer_id = NULL WHERE payment_id = $1", payment.id
    )
    drift = await only(books, "transfer")
    assert (drift.kind, drift.repair) == (DriftKind.MISSING_HERE, DriftRepair.SETTLE)
    await mended(shop, books, drift)


@pytest.fixture
async def paid_out(shop: Shop) -> Payout:
    """A payout that the host's schedule made, and we have heard of."""
    account = str(shop.account.stripe_account_id)
    await shop.paid("pm_card_bypassPending")
    await shop.sandbox.act("payouts", progress=False)
    made = await shop.sandbox.post("/v1/payouts", {"amount": 1000, "currency": "usd"}, account=account)
    await shop.sandbox.act(f"payouts/{made['id']}/pay")
    await hear_of(shop, made["id"])
    return await Payout.get(stripe_payout_id=made["id"])


async def hear_of(shop: Shop, payout_id: str) -> None:
    """All events of a payout come in."""
    account = str(shop.account.stripe_account_id)
    events = await shop.sandbox.every("/v1/events", account=account)
    await shop.deliver([event for event in events[::-1] if event["data"]["object"]["id"] == payout_id])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ("status = 'IN_TRANSIT'", DriftKind.STATUS_DIFFERS),
        ("status = 'FAILED'", DriftKind.STATUS_DIFFERS),
        ("amount_minor = 900", DriftKind.AMOUNT_DIFFERS),
    ],
)
async def test_a_changed_payout_is_restored(
    shop: Shop, books: Books, paid_out: Payout, changed: str, kind: DriftKind
) -> None:
    await books.agree()
    await shop.services.database.pool.execute(f"UPDATE payouts SET {changed} WHERE id = $1", paid_out.id)
    drift = await only(books, "payout")
    assert (drift.kind, drift.stripe_account, drift.repair) == (
        kind, shop.account.stripe_account_id, DriftRepair.SETTLE
    )  # fmt: skip
    await mended(shop, books, drift)
    after = await Payout.get(id=paid_out.id)
    assert (after.status, after.amount_minor) == (PayoutStatus.PAID, 1000)


async def test_a_lost_payout_is_taken_in_again(shop: Shop, books: Books, paid_out: Payout) -> None:
    await Payout.filter(id=paid_out.id).delete()
    drift = await only(books, "payout")
    assert (drift.kind, drift.at_stripe_minor) == (DriftKind.MISSING_HERE, 1000)
    await mended(shop, books, drift)
    assert (await Payout.get(stripe_payout_id=paid_out.stripe_payout_id)).status is PayoutStatus.PAID


async def test_a_payout_that_failed_without_a_word_is_found(shop: Shop, books: Books, paid_out: Payout) -> None:
    await shop.sandbox.act(f"payouts/{paid_out.stripe_payout_id}/fail", failure_code="account_closed")
    found = [drift for drift in await books.drifts() if drift.object_type == "payout"]
    assert [drift.kind for drift in found] == [DriftKind.STATUS_DIFFERS]
    assert "It is paid here and failed at Stripe." in found[0].detail
    await mended(shop, books, found[0])
    assert (await Payout.get(id=paid_out.id)).status is PayoutStatus.FAILED


async def test_a_payout_that_the_ledger_lost_is_posted_again(shop: Shop, books: Books, paid_out: Payout) -> None:
    name = f"payout:{paid_out.stripe_payout_id}"
    await tamper(
        shop,
        "DELETE FROM ledger_postings l USING ledger_transactions t WHERE t.id = l.transaction_id AND t.reference = $1",
        name,
    )
    await tamper(shop, "DELETE FROM ledger_transactions WHERE reference = $1", name)
    drift = await only(books, "payout")
    assert (drift.kind, drift.repair) == (DriftKind.AMOUNT_DIFFERS, DriftRepair.POST)
    await mended(shop, books, drift)


async def test_a_dispute_that_nobody_told_of_is_taken_in(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    drift = await only(books, "dispute")
    assert (drift.kind, drift.repair, drift.at_stripe_minor) == (DriftKind.MISSING_HERE, DriftRepair.SETTLE, 2000)
    assert "Stripe has it, needs response" in drift.detail
    await mended(shop, books, drift)
    assert (await shop.now(payment)).disputed_minor == 2000


@pytest.mark.parametrize("changed", ["status = 'WON'", "withdrawn_minor = 1500", "amount_minor = 1500"])
async def test_a_changed_dispute_is_restored(shop: Shop, books: Books, changed: str) -> None:
    payment = await shop.paid()
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/dispute")
    await shop.deliver_all(payment)
    await shop.services.database.pool.execute(f"UPDATE disputes SET {changed} WHERE payment_id = $1", payment.id)
    drift = await only(books, "dispute")
    assert drift.repair is DriftRepair.SETTLE
    await mended(shop, books, drift)
    after = await Dispute.get(payment_id=payment.id)
    assert (after.status, after.amount_minor, after.withdrawn_minor) == (DisputeStatus.NEEDS_RESPONSE, 2000, 2000)


async def test_a_lost_balance_transaction_is_copied_again(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await books.agree()
    before = await BalanceTransaction.get(source_id=payment.stripe_charge_id, stripe_account="")
    postings = await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings")
    await BalanceTransaction.filter(id=before.id).delete()
    # It is out of the mirror's sight, which looks at the last minutes again by itself.
    await shop.services.database.pool.execute(
        "UPDATE balance_watermarks SET seen_until = seen_until + interval '1 hour'"
    )
    drift = await only(books, "balance_transaction")
    assert (drift.kind, drift.stripe_id, drift.repair) == (
        DriftKind.MISSING_HERE, before.stripe_balance_transaction_id, DriftRepair.MIRROR
    )  # fmt: skip
    await mended(shop, books, drift)
    after = await BalanceTransaction.get(source_id=payment.stripe_charge_id, stripe_account="")
    assert (after.settles_id, after.posting_id) == (before.settles_id, before.posting_id)
    assert await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings") == postings


@pytest.mark.parametrize("changed", ["amount_minor = amount_minor - 100", "fee_minor = 0", "settles_id = posting_id"])
async def test_a_changed_balance_transaction_is_copied_again(shop: Shop, books: Books, changed: str) -> None:
    payment = await shop.paid()
    await books.agree()
    row = await BalanceTransaction.get(source_id=payment.stripe_charge_id, stripe_account="")
    await shop.services.database.pool.execute(f"UPDATE balance_transactions SET {changed} WHERE id = $1", row.id)
    drift = await only(books, "balance_transaction")
    assert (drift.kind, drift.repair) == (DriftKind.AMOUNT_DIFFERS, DriftRepair.MIRROR)
    await mended(shop, books, drift)
    after = await BalanceTransaction.get(id=row.id)
    for name in ("amount_minor", "fee_minor", "settles_id", "posting_id", "payment_id"):
        assert getattr(after, name) == getattr(row, name)


async def test_what_stripe_s_fee_was_posted_as_is_compared_with_the_ledger(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await books.agree()
    row = await BalanceTransaction.get(source_id=payment.stripe_charge_id, stripe_account="")
    await tamper(
        shop, "UPDATE ledger_postings SET amount_minor = sign(amount_minor) * 10 WHERE transaction_id = $1",
        row.posting_id,
    )  # fmt: skip
    drift = await only(books, "balance_transaction")
    assert "The net amount by the ledger is" in drift.detail
    await mended(shop, books, drift)


async def test_a_balance_transaction_that_only_we_have_is_named(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await mirror_now(shop.services, "")
    await shop.services.database.pool.execute(
        """
        INSERT INTO balance_transactions (id, stripe_account, stripe_balance_transaction_id, type, reporting_category,
            amount_minor, fee_minor, currency, stripe_created_at, available_on)
        SELECT gen_random_uuid(), '', 'txn_nobody', 'charge', 'charge', 5, 0, 'USD', stripe_created_at, available_on
        FROM balance_transactions WHERE source_id = $1 AND stripe_account = ''
        """,
        payment.stripe_charge_id,
    )
    drift = await only(books, "balance_transaction")
    assert (drift.kind, drift.stripe_id, drift.repair) == (DriftKind.MISSING_AT_STRIPE, "txn_nobody", None)
    assert (drift.here_minor, drift.at_stripe_minor) == (5, None)


async def test_an_ordinary_delay_is_no_drift(shop: Shop, books: Books) -> None:
    await shop.paid()
    assert await BalanceTransaction.all().count() == 0
    assert await books.agree() >= 5


async def test_a_host_who_took_the_access_away_is_named_and_the_others_compared(
    shop: Shop, books: Books
) -> None:
    await Hosts(shop).add()
    await shop.paid()
    await shop.sandbox.act(f"accounts/{shop.account.stripe_account_id}/deauthorize")
    run = await books.reconcile()
    [drift] = await books.found(run)
    assert (drift.object_type, drift.stripe_id, drift.repair) == ("account", shop.account.stripe_account_id, None)
    assert "does not let Paydesk look" in drift.detail
    assert run.finished_at is not None
    assert run.progress["accounts_done"] == 3
    with pytest.raises(InvalidState):
        await repair(shop.services, drift.id, actor="admin:anna")


async def test_everything_at_once_agrees(services: Services, sandbox: Sandbox, clock: Clock, books: Books) -> None:
    shop = await Shop.open(services, sandbox, clock)
    direct = await Shop.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD)
    abroad = await Shop.open(services, sandbox, clock, country="DE", currency="EUR", price_minor=3000)
    other = await Hosts(shop).add()
    payments: list[tuple[Shop, Any]] = [
        (shop, await shop.paid()),
        (shop, await shop.paid(splits=shares((shop.host, "0.3"), (other, "0.7")))),
        (direct, await direct.paid()),
        (abroad, await abroad.paid()),
    ]
    for its, payment in payments:
        await its.refund(payment, 700)
        await its.deliver_all(payment)
    assert await books.agree() >= 20
    await shop.check()


async def test_a_correction_of_what_was_settled_leaves_stripe_s_balance_as_it_is(shop: Shop, books: Books) -> None:
    payment = await shop.paid()
    await tamper(
        shop,
        "UPDATE ledger_postings l SET amount_minor = sign(amount_minor) * 1500 FROM ledger_transactions t"
        " WHERE t.id = l.transaction_id AND t.reference = $1",
        f"charge:{payment.stripe_charge_id}",
    )
    drift = await only(books, "charge")
    assert await BalanceTransaction.filter(source_id=payment.stripe_charge_id, settles_id__not_isnull=True).exists()
    await mended(shop, books, drift)
    adjusted = "SELECT sum(amount_minor) FROM ledger_postings l JOIN ledger_accounts a ON a.id = account_id"
    assert await shop.services.database.pool.fetchval(f"{adjusted} WHERE a.kind = 'ADJUSTMENTS'") == 0
