"""Payouts that hosts ask for: made once, of what there is, and refused in words."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from models.connect_accounts import ConnectAccountType
from models.money import Money
from models.operations import Operation
from models.payouts import Payout, PayoutStatus
from services.errors import (
    Forbidden,
    HostNotReady,
    IdempotencyKeyReused,
    InvalidInput,
    InvalidState,
)
from tests.support.payouts import Earner
from tests.support.rows import add_user
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.core import Services
    from services.errors import DomainError
    from services.stripe_requests import StripeRequest
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


async def nothing_moved(earner: Earner, *, has: int = 10_000) -> None:
    """Neither here nor at Stripe."""
    assert await earner.at_stripe() == []
    assert await earner.has() == has
    assert await earner.causes() == []


async def never_asked(earner: Earner) -> None:
    """Nothing was even reserved."""
    assert await Payout.all().count() == 0
    assert await Operation.all().count() == 0
    await nothing_moved(earner, has=await earner.has())


def refused(error: DomainError | None) -> str:
    """The code of a refusal, and where it points."""
    assert error is not None
    return f"{error.code} {'.'.join(error.path or [])}".strip()


async def test_a_payout_leaves_the_balance_and_is_on_its_way(earner: Earner) -> None:
    payout = await earner.paid_out(4_000)
    assert (payout.status, payout.amount, payout.instant) == (PayoutStatus.PENDING, Money(4_000, "USD"), False)
    [made] = await earner.at_stripe()
    assert (made["id"], made["amount"], made["method"]) == (payout.stripe_payout_id, 4_000, "standard")
    assert made["metadata"]["payout_id"] == str(payout.id)
    assert payout.destination == {"type": "bank_account", "name": "STRIPE TEST BANK", "last4": "6789"}
    assert await earner.has() == 6_000
    assert await earner.pots() == {"HOST_BALANCE": -4_000, "PAYOUTS_IN_TRANSIT": 4_000}
    await earner.check()


async def test_a_payout_s_movements_say_which_object_of_which_account_they_are(earner: Earner) -> None:
    payout = await earner.paid_out()
    record = await earner.services.database.pool.fetchrow(
        "SELECT kind, reference, stripe_object_id, stripe_account, occurred_at FROM ledger_transactions"
    )
    assert tuple(record or ()) == (
        "PAYOUT", f"payout:{payout.stripe_payout_id}", payout.stripe_payout_id, earner.stripe_account,
        payout.stripe_created_at,
    )  # fmt: skip


async def test_the_same_key_answers_the_same_payout(earner: Earner) -> None:
    first = await earner.paid_out(4_000, key="once")
    assert (await earner.paid_out(4_000, key="once")).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await earner.pay_out(4_001, key="once")
    assert len(await earner.at_stripe()) == 1
    await earner.check()


async def test_a_hundred_clicks_at_once_pay_out_once(earner: Earner) -> None:
    results = await asyncio.gather(*(earner.pay_out(4_000, key="once") for _ in range(20)))
    assert len({result.payout.id for result in results}) == 1
    assert len(await earner.at_stripe()) == 1
    assert await earner.has() == 6_000


async def test_a_replay_answers_though_the_balance_is_gone(earner: Earner) -> None:
    first = await earner.paid_out(10_000, key="all")
    assert (await earner.paid_out(10_000, key="all")).id == first.id
    assert await earner.has() == 0


async def test_more_than_there_is_is_refused_with_what_there_is(earner: Earner) -> None:
    await earner.sell(2_500)
    with pytest.raises(InvalidInput) as refusal:
        await earner.pay_out(10_001)
    assert refused(refusal.value) == "INVALID_INPUT input.amount"
    assert str(refusal.value) == "Only 100.00 USD can be paid out now. 25.00 USD more is on its way."
    await never_asked(earner)


@pytest.mark.parametrize("minor", [0, -1, -4_000])
async def test_nothing_and_less_cannot_be_paid_out(earner: Earner, minor: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await earner.pay_out(minor)
    assert refused(refusal.value) == "INVALID_INPUT input.amount"
    await never_asked(earner)


async def test_more_than_stripe_s_numbers_can_say_is_refused(earner: Earner) -> None:
    with pytest.raises(InvalidInput):
        await earner.pay_out(100_000_000)
    await never_asked(earner)


async def test_a_currency_that_the_host_has_none_of_is_refused(earner: Earner) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await earner.pay_out(1_000, currency="EUR")
    assert str(refusal.value) == "You have no balance in EUR."
    await never_asked(earner)


@pytest.mark.parametrize(("country", "odd", "whole"), [("HU", 500_050, 500_000)])
async def test_what_banks_move_in_whole_units_is_paid_out_in_whole_units(
    services: Services, patient_sandbox: Sandbox, clock: Clock, country: str, odd: int, whole: int
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, country=country, minor=1_000_000)
    with pytest.raises(InvalidInput) as refusal:
        await earner.pay_out(odd)
    assert str(refusal.value) == f"Payouts in {earner.currency} go in steps of 1.00."
    await never_asked(earner)
    await earner.paid_out(whole)
    [made] = await earner.at_stripe()
    assert made["amount"] == Money(whole, earner.currency).wire
    await earner.check()


async def test_a_currency_without_minor_units_goes_out_as_its_wire_says(
    services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, country="JP", minor=5_000)
    payout = await earner.paid_out(4_000)
    [made] = await earner.at_stripe()
    assert (made["amount"], made["currency"], payout.amount) == (4_000, "jpy", Money(4_000, "JPY"))


async def test_a_host_whom_stripe_does_not_pay_out_is_told_what_is_missing(earner: Earner) -> None:
    requirement = {"field": "individual.verification.document", "urgency": "PAST_DUE", "error": None, "deadline": None}
    await earner.becomes(payouts_enabled=False, requirements=[requirement])
    with pytest.raises(HostNotReady) as refusal:
        await earner.pay_out()
    assert refusal.value.requirements == ["individual.verification.document"]
    assert "Finish the onboarding" in str(refusal.value)
    await never_asked(earner)


async def test_where_only_stripe_knows_of_it_the_payout_has_failed_and_says_so(earner: Earner) -> None:
    await earner.sandbox.act(
        f"accounts/{earner.stripe_account}/restrict", requirements=["individual.id_number"], disabled_reason="listed"
    )
    result = await earner.pay_out(4_000, key="blocked")
    assert isinstance(result.error, HostNotReady)
    assert (result.payout.status, result.payout.failure_code) == (PayoutStatus.FAILED, "payouts_not_allowed")
    assert await earner.statuses(result.payout) == [(None, "PENDING"), ("PENDING", "FAILED")]
    assert isinstance((await earner.pay_out(4_000, key="blocked")).error, HostNotReady)
    await nothing_moved(earner)


async def test_whoever_has_no_account_is_told_to_create_one(earner: Earner) -> None:
    async with earner.services.database.transaction() as connection:
        guest = await add_user(connection)
    with pytest.raises(InvalidState) as refusal:
        await earner.pay_out(viewer=as_user(guest))
    assert refusal.value.state == "NO_ACCOUNT"
    with pytest.raises(Forbidden):
        await earner.pay_out(viewer=SERVICE)
    await never_asked(earner)


async def test_an_account_that_was_cut_off_pays_nothing_out(earner: Earner) -> None:
    await earner.becomes(deauthorized_at=earner.clock())
    with pytest.raises(InvalidState):
        await earner.pay_out()
    assert await Payout.all().count() == 0


class MeetingGateway:
    """Calls that make payouts wait for one another, so that all of them have looked at the same balance."""

    def __init__(self, gateway: Any, number: int) -> None:
        self._gateway = gateway
        self._barrier = asyncio.Barrier(number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    async def send(self, request: StripeRequest, **options: Any) -> Any:
        if request.method == "post":
            await asyncio.wait_for(self._barrier.wait(), 10)
        return await self._gateway.send(request, **options)


async def test_of_two_that_want_the_same_money_one_is_made_and_the_other_is_told(earner: Earner) -> None:
    gateway: Any = MeetingGateway(earner.services.stripe, 2)
    meeting = earner.through(replace(earner.services, stripe=gateway))
    results = await asyncio.gather(*(meeting.pay_out(6_000) for _ in range(2)))
    made, other = sorted(results, key=lambda result: result.error is not None)
    assert made.error is None
    assert refused(other.error) == "INVALID_INPUT input.amount"
    assert (other.payout.status, other.payout.failure_code) == (PayoutStatus.FAILED, "balance_insufficient")
    assert other.payout.stripe_payout_id is None
    assert await earner.has() == 4_000
    assert await earner.pots() == {"HOST_BALANCE": -6_000, "PAYOUTS_IN_TRANSIT": 6_000}
    await earner.check()


async def test_within_minutes_the_platform_bears_the_fee_of_an_express_host(earner: Earner) -> None:
    payout = await earner.paid_out(4_000, instant=True)
    [made] = await earner.at_stripe()
    assert (made["method"], payout.instant, payout.fee_minor) == ("instant", True, 0)
    assert await earner.has() == 6_000


async def test_within_minutes_a_standard_host_bears_the_fee(
    services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, type_=ConnectAccountType.STANDARD)
    payout = await earner.paid_out(4_000, instant=True)
    assert payout.fee_minor == 60
    assert await earner.has() == 10_000 - 4_000 - 60
    await earner.bank_does(payout, "fail", failure_code="could_not_process")
    await earner.deliver()
    assert (await earner.now(payout)).fee_minor == 0
    assert await earner.has() == 10_000


async def test_within_minutes_what_is_pending_can_be_paid_out_too(earner: Earner) -> None:
    await earner.sell(5_000)
    payout = await earner.paid_out(12_000, instant=True)
    assert payout.amount == Money(12_000, "USD")
    with pytest.raises(InvalidInput):
        await earner.pay_out(3_001, instant=True)
    assert len(await earner.at_stripe()) == 1


async def test_a_bank_that_takes_nothing_within_minutes_is_named(
    services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, bank="000888888883")
    result = await earner.pay_out(4_000, instant=True)
    assert isinstance(result.error, InvalidState)
    assert result.error.state == "INSTANT_PAYOUTS_UNSUPPORTED"
    assert result.payout.failure_code == "instant_payouts_unsupported"
    await nothing_moved(earner)
    await earner.paid_out(4_000)


async def test_a_country_without_instant_payouts_is_told_before_stripe_is_asked(
    services: Services, patient_sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, patient_sandbox, clock, country="JP", minor=5_000)
    with pytest.raises(InvalidState) as refusal:
        await earner.pay_out(1_000, instant=True)
    assert refusal.value.state == "INSTANT_PAYOUTS_UNSUPPORTED"
    await never_asked(earner)


@pytest.mark.parametrize(("minor", "field"), [(49, "input.amount"), (999_901, "")])
async def test_too_little_and_too_much_within_minutes_are_refused_in_words(
    earner: Earner, minor: int, field: str
) -> None:
    await earner.earn(1_000_000)
    before = await earner.has()
    result = await earner.pay_out(minor, instant=True)
    assert result.error is not None
    assert ".".join(result.error.path or []) == field
    assert "standard payout" in str(result.error) or "Ask for more" in str(result.error)
    await nothing_moved(earner, has=before)


async def test_a_bank_that_sent_one_back_gets_no_more_until_it_is_corrected(earner: Earner) -> None:
    first = await earner.paid_out(4_000)
    await earner.bank_does(first, "fail", failure_code="account_closed")
    await earner.deliver()
    result = await earner.pay_out(4_000)
    assert isinstance(result.error, InvalidState)
    assert result.error.state == "BANK_ACCOUNT_UNUSABLE"
    assert await earner.has() == 10_000
    await earner.sandbox.act(f"accounts/{earner.stripe_account}/bank_account", account_number="000123456789")
    await earner.paid_out(4_000)
    await earner.check()
