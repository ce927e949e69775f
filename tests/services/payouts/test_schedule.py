"""When hosts are paid out without asking, and who may say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.operations import Operation
from models.payouts import PayoutInterval, Weekday
from services.errors import Forbidden, IdempotencyKeyReused, InvalidInput, InvalidState
from services.payouts.schedule import PayoutSchedule, set_payout_schedule
from services.webhooks.processing import process_due
from tests.support.payouts import Earner, receive_signed
from tests.support.rows import add_user
from tests.support.shop import SERVICE, as_user

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

DAILY = PayoutSchedule(PayoutInterval.DAILY)
WEEKLY = PayoutSchedule(PayoutInterval.WEEKLY, weekly_days=(Weekday.MONDAY, Weekday.THURSDAY))
MONTHLY = PayoutSchedule(PayoutInterval.MONTHLY, monthly_days=(1, 31))
MANUAL = PayoutSchedule(PayoutInterval.MANUAL)


async def set_to(earner: Earner, schedule: PayoutSchedule, key: str = "set") -> ConnectAccount:
    return await set_payout_schedule(earner.services, viewer=earner.viewer, schedule=schedule, idempotency_key=key)


async def at_stripe(earner: Earner) -> dict[str, object]:
    settings = await earner.sandbox.get("/v1/balance_settings", account=earner.stripe_account)
    return dict(settings["payments"]["payouts"]["schedule"])


async def nothing_was_set(earner: Earner) -> None:
    assert await at_stripe(earner) == {"interval": "daily"}
    assert await Operation.all().count() == 0
    assert (await ConnectAccount.get(id=earner.account.id)).version == 1


@pytest.mark.parametrize("type_", [ConnectAccountType.EXPRESS, ConnectAccountType.CUSTOM])
@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (DAILY, {"interval": "daily"}),
        (WEEKLY, {"interval": "weekly", "weekly_payout_days": ["monday", "thursday"]}),
        (MONTHLY, {"interval": "monthly", "monthly_payout_days": [1, 31]}),
        (MANUAL, {"interval": "manual"}),
    ],
)
async def test_a_schedule_is_set_at_stripe_and_shown_here(
    services: Services, sandbox: Sandbox, clock: Clock, type_: ConnectAccountType, schedule: PayoutSchedule,
    theirs: dict[str, object],
) -> None:  # fmt: skip
    earner = await Earner.open(services, sandbox, clock, type_=type_, minor=0)
    account = await set_to(earner, schedule)
    assert await at_stripe(earner) == theirs
    kept = PayoutSchedule.of(account)
    assert kept is not None
    assert (kept.interval, kept.weekly_days, kept.monthly_days, kept.delay_days) == (
        schedule.interval, schedule.weekly_days, schedule.monthly_days, 2,
    )  # fmt: skip
    assert account.version == 2
    audited = await services.database.pool.fetchval(
        "SELECT after -> 'payout_schedule' ->> 'interval' FROM audit_entries"
        " WHERE action = 'connect_account.scheduled'"
    )
    assert audited == schedule.interval.lower()


async def test_a_standard_host_is_sent_to_stripe_s_dashboard(
    services: Services, sandbox: Sandbox, clock: Clock
) -> None:
    earner = await Earner.open(services, sandbox, clock, type_=ConnectAccountType.STANDARD, minor=0)
    with pytest.raises(InvalidState) as refusal:
        await set_to(earner, WEEKLY)
    assert refusal.value.state == "STANDARD"
    assert "Stripe's own dashboard" in str(refusal.value)
    await nothing_was_set(earner)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (PayoutSchedule(PayoutInterval.WEEKLY), "weeklyDays"),
        (PayoutSchedule(PayoutInterval.MONTHLY), "monthlyDays"),
        (PayoutSchedule(PayoutInterval.DAILY, weekly_days=(Weekday.MONDAY,)), "weeklyDays"),
        (PayoutSchedule(PayoutInterval.MANUAL, monthly_days=(1,)), "monthlyDays"),
        (PayoutSchedule(PayoutInterval.WEEKLY, (Weekday.MONDAY,), (1,)), "monthlyDays"),
        (PayoutSchedule(PayoutInterval.WEEKLY, (Weekday.MONDAY, Weekday.MONDAY)), "weeklyDays"),
        (PayoutSchedule(PayoutInterval.MONTHLY, (), (0,)), "monthlyDays"),
        (PayoutSchedule(PayoutInterval.MONTHLY, (), (32,)), "monthlyDays"),
        (PayoutSchedule(PayoutInterval.MONTHLY, (), (5, 5)), "monthlyDays"),
    ],
)
async def test_days_that_do_not_belong_to_the_interval_are_refused(
    services: Services, sandbox: Sandbox, clock: Clock, schedule: PayoutSchedule, field: str
) -> None:
    earner = await Earner.open(services, sandbox, clock, minor=0)
    with pytest.raises(InvalidInput) as refusal:
        await set_to(earner, schedule)
    assert refusal.value.path == ["input", field]
    await nothing_was_set(earner)


async def test_only_hosts_with_an_account_set_a_schedule(earner: Earner) -> None:
    async with earner.services.database.transaction() as connection:
        guest = await add_user(connection)
    with pytest.raises(InvalidState):
        await set_payout_schedule(earner.services, viewer=as_user(guest), schedule=WEEKLY, idempotency_key="set")
    with pytest.raises(Forbidden):
        await set_payout_schedule(earner.services, viewer=SERVICE, schedule=WEEKLY, idempotency_key="set")
    await nothing_was_set(earner)


async def test_the_same_key_sets_it_once(earner: Earner) -> None:
    await set_to(earner, WEEKLY)
    await set_to(earner, MANUAL, "again")
    await set_to(earner, WEEKLY)
    assert await at_stripe(earner) == {"interval": "manual"}
    with pytest.raises(IdempotencyKeyReused):
        await set_to(earner, MONTHLY)


async def test_what_was_set_is_answered_again_after_the_account_was_cut_off(earner: Earner) -> None:
    await set_to(earner, WEEKLY)
    await ConnectAccount.filter(id=earner.account.id).update(deauthorized_at=earner.clock())
    assert (await set_to(earner, WEEKLY)).id == earner.account.id
    with pytest.raises(InvalidState):
        await set_to(earner, MANUAL, "another")
    assert await Operation.all().count() == 1


async def test_what_is_set_at_stripe_comes_in(earner: Earner) -> None:
    await earner.sandbox.post(
        "/v1/balance_settings", {"payments": {"payouts": {"schedule": {"interval": "manual"}}}},
        account=earner.stripe_account,
    )  # fmt: skip
    found = await earner.sandbox.every("/v1/events", account=earner.stripe_account)
    for event in reversed(found):
        if event["type"] in {"balance_settings.updated", "account.updated"}:
            await receive_signed(earner.services, {**event, "account": earner.stripe_account})
    await process_due(earner.services)
    kept = PayoutSchedule.of(await ConnectAccount.get(id=earner.account.id))
    assert kept == PayoutSchedule(PayoutInterval.MANUAL, delay_days=2)


async def test_of_an_account_that_stripe_has_not_told_of_nothing_is_said(earner: Earner) -> None:
    assert PayoutSchedule.of(earner.account) is None
