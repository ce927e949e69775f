"""Payouts as Stripe's events tell of them: any order, any number, from schedules, dashboards and banks."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccountType
from models.money import Money
from models.payouts import Payout, PayoutStatus
from services.balances.mirror import mirror_now
from services.payouts.failures import FAILURES, failure_of
from services.stripe_gateway import StripeUnknownOutcome
from services.webhooks.processing import process_due
from tests.support.payouts import Earner, receive_signed
from tests.support.waiting import until

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

BANK_CODES = (
    "account_closed", "account_frozen", "bank_account_restricted", "bank_ownership_changed", "could_not_process",
    "debit_not_authorized", "declined", "incorrect_account_holder_address", "incorrect_account_holder_name",
    "incorrect_account_holder_tax_id", "incorrect_account_type", "insufficient_funds", "invalid_account_number",
    "invalid_account_number_length", "invalid_currency", "no_account", "unsupported_card",
)  # fmt: skip


async def test_a_payout_is_followed_until_the_bank_has_it(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "send")
    await earner.deliver()
    assert (await earner.now(payout)).status is PayoutStatus.IN_TRANSIT
    await earner.bank_does(payout, "pay")
    await earner.deliver()
    assert (await earner.now(payout)).status is PayoutStatus.PAID
    assert await earner.pots() == {"HOST_BALANCE": -4_000, "BANK": 4_000}
    assert await earner.causes() == ["payout", "payout_paid"]
    assert await earner.statuses(payout) == [
        (None, "PENDING"), ("PENDING", "PENDING"), ("PENDING", "IN_TRANSIT"), ("IN_TRANSIT", "PAID"),
    ]  # fmt: skip
    await earner.check()


async def test_one_that_was_paid_can_still_come_back(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "pay")
    await earner.deliver()
    late = await earner.events()
    await earner.bank_does(payout, "fail", failure_code="account_frozen")
    await earner.deliver()
    now = await earner.now(payout)
    assert (now.status, now.failure_code) == (PayoutStatus.FAILED, "account_frozen")
    assert now.failure_balance_transaction_id is not None
    assert await earner.has() == 10_000
    assert await earner.pots() == {}
    assert await earner.causes() == ["payout", "payout_paid", "payout_failed"]
    await earner.deliver([{**event, "id": f"evt_{uuid4().hex}"} for event in late])
    assert await earner.statuses(payout) == await earner.statuses(now)
    assert (await earner.now(payout)).version == now.version
    await earner.check()


async def test_one_that_is_canceled_comes_back(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.sandbox.post(f"/v1/payouts/{payout.stripe_payout_id}/cancel", account=earner.stripe_account)
    await earner.deliver()
    now = await earner.now(payout)
    assert (now.status, failure_of(now)) == (PayoutStatus.CANCELED, None)
    assert await earner.pots() == {}
    assert await earner.has() == 10_000
    await earner.check()


@pytest.mark.parametrize("code", BANK_CODES)
async def test_each_reason_of_a_bank_is_told_in_words_and_with_what_to_do(earner: Earner, code: str) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "fail", failure_code=code)
    await earner.deliver()
    now = await earner.now(payout)
    assert (now.status, now.failure_code) == (PayoutStatus.FAILED, code)
    assert failure_of(now) == FAILURES[code]
    assert FAILURES[code].count(". ") >= 1, "a reason, and what to do"
    assert code != "insufficient_funds" or "one that you asked for is not" in FAILURES[code]
    assert await earner.pots() == {}
    await earner.check()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("000111111116", "no_account"), ("000111111113", "account_closed"), ("000222222227", "insufficient_funds"),
        ("000333333335", "debit_not_authorized"), ("000444444440", "invalid_currency"),
    ],
)  # fmt: skip
async def test_a_bank_account_s_number_tells_what_becomes_of_payouts_to_it(
    services: Services, sandbox: Sandbox, clock: Clock, number: str, code: str
) -> None:
    earner = await Earner.open(services, sandbox, clock, bank=number)
    payout = await earner.paid_out(4_000)

    async def has_come_back() -> bool:
        return bool((await earner.at_stripe())[0]["status"] == "failed")

    await until(has_come_back)
    await earner.deliver()
    assert (await earner.now(payout)).failure_code == code
    assert await earner.has() == 10_000
    await earner.check()


def test_what_stripe_says_stands_where_we_have_no_words() -> None:
    payout = Payout(amount_minor=1, currency="USD", failure_code="brand_new", failure_message="Stripe's own words.")
    assert failure_of(payout) == "Stripe's own words."
    payout.failure_message = None
    assert "USD" in str(failure_of(payout))


async def test_what_a_schedule_pays_out_comes_in_by_itself(earner: Earner) -> None:
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    await earner.deliver()
    [payout] = await Payout.all()
    assert (payout.automatic, payout.amount, payout.requested_by) == (True, Money(10_000, "USD"), "stripe")
    assert payout.connect_account_id == earner.account.id
    assert await earner.pots() == {"HOST_BALANCE": -10_000, "PAYOUTS_IN_TRANSIT": 10_000}
    await earner.bank_does(payout, "send")
    await earner.bank_does(payout, "pay")
    await earner.deliver()
    assert (await earner.now(payout)).status is PayoutStatus.PAID
    await earner.check()


async def test_what_somebody_pays_out_in_a_dashboard_comes_in_by_itself(earner: Earner) -> None:
    made = await earner.sandbox.post(
        "/v1/payouts", {"amount": 3_000, "currency": "usd"}, account=earner.stripe_account
    )
    await earner.deliver()
    [payout] = await Payout.all()
    assert (payout.stripe_payout_id, payout.automatic) == (made["id"], False)
    assert await earner.statuses(payout) == [(None, "PENDING")]
    await earner.check()


async def test_a_host_who_owes_is_taken_from_by_the_bank(earner: Earner) -> None:
    await earner.earn(-15_000)
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    await earner.deliver()
    [payout] = await Payout.all()
    assert payout.amount == Money(-5_000, "USD")
    assert await earner.pots() == {"HOST_BALANCE": 5_000, "PAYOUTS_IN_TRANSIT": -5_000}
    await earner.bank_does(payout, "pay")
    await earner.deliver()
    # What it was owed for is known now as well.
    assert await earner.pots() == {"BANK": -5_000}
    await earner.check()


@pytest.mark.parametrize("end", ["pay", "fail", "pay and fail", "cancel"])
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_first_and_however_often_it_ends_the_same(
    earner: Earner, end: str, seed: int
) -> None:
    payout = await earner.paid_out(4_000)
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    if end == "cancel":
        await earner.sandbox.post(f"/v1/payouts/{payout.stripe_payout_id}/cancel", account=earner.stripe_account)
    else:
        await earner.bank_does(payout, "send")
    for what in end.split(" and ") if end != "cancel" else ():
        await earner.bank_does(payout, what)
    events = await earner.events()
    dice = random.Random(seed)
    chosen = [*events, *({**event, "id": f"evt_{uuid4().hex}"} for event in events)]
    dice.shuffle(chosen)
    await earner.deliver(chosen)
    gone = {"pay": 4_000, "fail": 0, "pay and fail": 0, "cancel": 0}[end]
    pots = await earner.pots()
    assert pots == {
        name: minor
        for name, minor in {"HOST_BALANCE": -6_000 - gone, "PAYOUTS_IN_TRANSIT": 6_000, "BANK": gone}.items()
        if minor
    }
    await earner.check()


async def test_the_state_of_a_moment_ago_changes_nothing(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "pay")
    events = await earner.events()
    assert events[0]["data"]["object"]["status"] == "pending"
    await earner.deliver(events[::-1])
    assert (await earner.now(payout)).status is PayoutStatus.PAID


async def test_an_account_that_nobody_here_knows_is_passed_over(earner: Earner, sandbox: Sandbox) -> None:
    payout = await earner.paid_out(4_000)
    [event] = await earner.events()
    stranger = await sandbox.onboarded_account()
    await earner.deliver([{**event, "account": stranger}])
    assert await earner.services.database.pool.fetchval("SELECT status FROM webhook_events") == "PROCESSED"
    assert await earner.statuses(payout) == [(None, "PENDING"), ("PENDING", "PENDING")]


async def test_another_host_s_event_never_touches_a_payout(
    earner: Earner, services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    payout = await earner.paid_out(4_000)
    other = await Earner.open(services, patient_sandbox, clock)
    await earner.bank_does(payout, "pay")
    events = [{**event, "account": other.stripe_account} for event in await earner.events()]
    await other.deliver(events)
    assert (await earner.now(payout)).status is PayoutStatus.PENDING
    assert await Payout.filter(connect_account_id=other.account.id).count() == 0
    assert await other.pots() == {}


async def test_a_host_who_writes_another_s_payout_into_the_metadata_takes_nothing_over(
    earner: Earner, services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    victim, thief = earner, await Earner.open(services, patient_sandbox, clock)
    async with services.database.transaction() as connection:
        id_ = await connection.fetchval(
            "INSERT INTO payouts (id, connect_account_id, stripe_account, amount_minor, currency, status, instant,"
            " automatic, fee_minor, contents_known, requested_by, version, position) VALUES (gen_random_uuid(), $1, $2,"
            " 4000, 'USD', 'PENDING', false, false, 0, false, 'user:victim', 1, 0) RETURNING id",
            victim.account.id, victim.stripe_account,
        )  # fmt: skip
    await patient_sandbox.post(
        "/v1/payouts", {"amount": 4_000, "currency": "usd", "metadata": {"payout_id": str(id_)}},
        account=thief.stripe_account,
    )  # fmt: skip
    await thief.deliver()
    assert (await Payout.get(id=id_)).stripe_payout_id is None
    [taken_in] = await Payout.filter(connect_account_id=thief.account.id)
    assert taken_in.id != id_


@pytest.mark.parametrize("metadata", ["", "no id", "01890000-0000-7000-8000-000000000000"])
async def test_metadata_that_means_nothing_here_is_passed_over(earner: Earner, metadata: str) -> None:
    await earner.sandbox.post(
        "/v1/payouts", {"amount": 4_000, "currency": "usd", "metadata": {"payout_id": metadata}},
        account=earner.stripe_account,
    )  # fmt: skip
    await earner.deliver()
    assert await Payout.all().count() == 1
    await earner.check()


async def test_a_host_who_has_cut_the_platform_off_is_left_alone(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "pay")
    events = await earner.events()
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/deauthorize")
    await earner.deliver(events)
    assert (await earner.now(payout)).status is PayoutStatus.PENDING


async def test_the_platform_s_own_payouts_are_followed_too(
    services: Services, patient_sandbox: Sandbox
) -> None:
    platform = (await patient_sandbox.get("/v1/account"))["id"]
    await patient_sandbox.act(
        f"accounts/{platform}/balance_transactions", type="adjustment", amount=500_000, currency="usd"
    )
    made = await patient_sandbox.post("/v1/payouts", {"amount": 2_000, "currency": "usd"})
    await patient_sandbox.act(f"payouts/{made['id']}/pay")
    for event in await patient_sandbox.events_about(made["id"]):
        await receive_signed(services, event)
    await process_due(services)
    [payout] = await Payout.all()
    assert (payout.connect_account_id, payout.status) == (None, PayoutStatus.PAID)
    records = await services.database.pool.fetch(
        "SELECT a.kind, a.owner_id, sum(p.amount_minor)::bigint AS minor FROM ledger_postings p"
        " JOIN ledger_accounts a ON a.id = p.account_id GROUP BY a.kind, a.owner_id HAVING sum(p.amount_minor) <> 0"
    )
    assert {tuple(record) for record in records} == {
        ("PLATFORM_BALANCE", None, -2_000), ("BANK", None, 2_000),
    }  # fmt: skip


async def test_a_standard_host_s_payouts_are_followed_as_any_other_s(
    services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, type_=ConnectAccountType.STANDARD)
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    await earner.deliver()
    [payout] = await Payout.all()
    assert payout.amount == Money(10_000, "USD")
    await earner.check()


async def test_money_that_came_back_is_dated_as_stripe_dates_it(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    await earner.bank_does(payout, "fail", failure_code="declined")
    await earner.deliver()
    returned: Any = await earner.sandbox.get(
        f"/v1/balance_transactions/{(await earner.now(payout)).failure_balance_transaction_id}",
        account=earner.stripe_account,
    )
    at = await earner.services.database.pool.fetchval(
        "SELECT occurred_at FROM ledger_transactions WHERE kind = 'PAYOUT_FAILED'"
    )
    assert int(at.timestamp()) == returned["created"]


async def test_what_an_automatic_payout_is_made_of_is_known_once_stripe_tells(earner: Earner) -> None:
    await earner.sell(2_500)
    await earner.sandbox.act("balance/settle", account=earner.stripe_account)
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    await earner.deliver()
    [payout] = await Payout.all()
    assert not payout.contents_known
    await earner.bank_does(payout, "send")
    await earner.deliver()
    assert (await earner.now(payout)).contents_known
    inside = await earner.services.database.pool.fetch(
        "SELECT type, amount_minor FROM balance_transactions WHERE payout_id = $1", payout.id
    )
    assert {tuple(record) for record in inside} == {
        ("adjustment", 10_000), ("payment", 2_500), ("payout", -12_500),
    }  # fmt: skip
    await earner.bank_does(payout, "pay")
    await earner.bank_does(payout, "fail", failure_code="no_account")
    await earner.deliver()
    now = await earner.now(payout)
    assert (now.status, now.contents_known) == (PayoutStatus.FAILED, True)
    await earner.check()


async def test_contents_that_could_not_be_read_are_read_with_the_next_try(earner: Earner) -> None:
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/pay_out")
    await earner.deliver()
    [payout] = await Payout.all()
    await earner.bank_does(payout, "send")
    gateway = earner.services.stripe

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(gateway, name)

        def list_all(self, *_args: Any, **_options: Any) -> Any:
            raise StripeUnknownOutcome("no answer from Stripe")

    broken: Any = Broken()
    for event in await earner.events():
        await receive_signed(earner.services, event)
    await process_due(replace(earner.services, stripe=broken))
    assert not (await earner.now(payout)).contents_known
    earner.clock.forward(seconds=200)
    await process_due(earner.services)
    assert (await earner.now(payout)).contents_known


@pytest.mark.parametrize("type_", list(ConnectAccountType))
@pytest.mark.parametrize("end", ["", "pay", "fail", "cancel"])
@pytest.mark.parametrize("instant", [False, True])
async def test_the_ledger_has_what_the_host_has_at_stripe_whatever_became_of_a_payout(
    services: Services, patient_sandbox: Sandbox, clock: Clock, type_: ConnectAccountType, end: str, instant: bool
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, type_=type_)
    payout = await earner.paid_out(4_000, instant=instant)
    if end == "cancel":
        await earner.sandbox.post(f"/v1/payouts/{payout.stripe_payout_id}/cancel", account=earner.stripe_account)
    elif end:
        await earner.bank_does(payout, end)
    await earner.deliver()
    await mirror_now(services, earner.stripe_account)
    pots = await earner.pots()
    assert pots["HOST_BALANCE"] == await earner.has()
    assert sum(pots.values()) == 10_000 - (60 if (await earner.now(payout)).fee_minor else 0)
    unsettled = await services.database.pool.fetch(
        "SELECT type, amount_minor FROM balance_transactions WHERE stripe_account = $1 AND settles_id IS NULL",
        earner.stripe_account,
    )
    assert unsettled == []
    await earner.check()
