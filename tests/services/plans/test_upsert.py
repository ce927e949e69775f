"""A plan and its product and price at Stripe: told of once, changed, told of at once, and lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.money import Money
from models.operations import Operation, OperationStatus, OperationStep
from models.plans import Plan, PlanInterval, PlanPrice
from services.errors import Forbidden, InvalidInput, InvalidState, StripeUnavailable
from services.plans.reading import list_plans
from services.plans.upsert import upsert_plan
from services.viewer import Role, Viewer
from tests.support.catalogue import SERVICE, Catalogue, contents
from tests.support.crashes import Boundary, Crash, Trap, Trouble, trapped

if TYPE_CHECKING:
    from services.core import Services
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox


@pytest.fixture
async def catalogue(services: Services, sandbox: Sandbox, clock: Clock) -> Catalogue:
    return Catalogue(services, sandbox, clock)


async def steps_of(plan: Plan) -> list[str]:
    """What was asked of Stripe for the plan, in order, without what the steps are about."""
    operations = await Operation.filter(subject_id=plan.id).order_by("id")
    steps = await OperationStep.filter(operation_id__in=[operation.id for operation in operations]).order_by("id")
    return [step.step.partition(":")[0] for step in steps]


# --- telling of it --------------------------------------------------------------------------------------------------


async def test_a_new_plan_has_its_product_and_its_price_in_every_currency(catalogue: Catalogue) -> None:
    wanted = contents(
        prices=(Money(900, "EUR"), Money(1500, "JPY")), interval=PlanInterval.WEEK, interval_count=2, trial_days=14,
        features=("priority", "no ads"),
    )  # fmt: skip
    plan = await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert (plan.trial_days, plan.revision) == (14, 1)
    assert [found.id for found in await list_plans(catalogue.services)] == [plan.id]
    assert await steps_of(plan) == ["create_product", "create_price", "update_product"]
    assert [entry.action for entry in await AuditEntry.filter(subject_id=plan.id)] == ["plan.upserted"]


async def test_the_same_again_asks_nothing_of_stripe_and_changes_nothing(catalogue: Catalogue) -> None:
    wanted = contents()
    first = await catalogue.tell(wanted)
    await catalogue.sandbox.faults(rate_500=1.0)
    again = await catalogue.tell(wanted)
    assert (again.id, again.revision) == (first.id, 1)
    assert await Operation.all().count() == 1
    assert await AuditEntry.all().count() == 1


async def test_another_name_and_other_features_change_the_product_alone(catalogue: Catalogue) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    wanted = replace(wanted, name="Gold", features=())
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert len(await catalogue.prices(plan)) == 1
    assert (await steps_of(plan))[3:] == ["update_product"]


CHANGES: dict[str, dict[str, Any]] = {
    "a higher price": {"price": Money(1200, "USD")},
    "another currency": {"price": Money(1000, "EUR")},
    "one more currency": {"prices": (Money(900, "EUR"),)},
    "another interval": {"interval": PlanInterval.YEAR},
    "more intervals": {"interval_count": 3},
    "nothing to pay": {"price": Money(0, "USD")},
}


@pytest.mark.parametrize("change", sorted(CHANGES))
async def test_what_a_price_is_never_changes_so_that_another_is_made_and_the_old_one_archived(
    catalogue: Catalogue, change: str
) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    before = await catalogue.offered(plan)
    wanted = replace(wanted, **CHANGES[change])
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert (await steps_of(plan))[3:] == ["create_price", "update_product", "archive_price"]
    old = await PlanPrice.get(id=before.id)
    assert (old.amount, old.interval, old.stripe_price_id) == (before.amount, before.interval, before.stripe_price_id)
    assert (old.current, old.archived) == (False, True)


async def test_going_back_to_a_price_makes_it_anew(catalogue: Catalogue) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    await catalogue.tell(replace(wanted, price=Money(2000, "USD")))
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert len(await catalogue.prices(plan)) == 3


async def test_an_inactive_plan_is_not_listed_and_comes_back(catalogue: Catalogue) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    await catalogue.tell(replace(wanted, active=False))
    await catalogue.check(replace(wanted, active=False))
    assert await list_plans(catalogue.services) == []
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert [found.id for found in await list_plans(catalogue.services)] == [plan.id]


async def test_only_the_platform_tells_of_plans(catalogue: Catalogue) -> None:
    with pytest.raises(Forbidden):
        await upsert_plan(catalogue.services, viewer=Viewer(Role.USER, "guest"), contents=contents())
    assert await Plan.all().count() == 0


# --- what cannot be -------------------------------------------------------------------------------------------------

IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("externalId", {"external_id": ""}),
    ("externalId", {"external_id": "x" * 256}),
    ("externalId", {"external_id": "a\x00b"}),
    ("name", {"name": "  "}),
    ("name", {"name": "x" * 251}),
    ("name", {"name": "a\nb"}),
    ("price", {"price": Money(49, "USD")}),
    ("price", {"price": Money(-1, "USD")}),
    ("price", {"price": Money(100_000_000, "USD")}),
    ("prices", {"prices": (Money(10, "EUR"),)}),
    ("prices", {"prices": (Money(1000, "USD"),)}),
    ("prices", {"prices": (Money(1000, "EUR"), Money(1100, "EUR"))}),
    ("intervalCount", {"interval_count": 0}),
    ("intervalCount", {"interval_count": -1}),
    ("intervalCount", {"interval": PlanInterval.YEAR, "interval_count": 4}),
    ("intervalCount", {"interval": PlanInterval.MONTH, "interval_count": 37}),
    ("intervalCount", {"interval": PlanInterval.WEEK, "interval_count": 157}),
    ("intervalCount", {"interval": PlanInterval.DAY, "interval_count": 1096}),
    ("trialDays", {"trial_days": -1}),
    ("trialDays", {"trial_days": 731}),
    ("features", {"features": ("",)}),
    ("features", {"features": ("x" * 81,)}),
    ("features", {"features": ("a", "a")}),
    ("features", {"features": tuple(f"feature {number}" for number in range(16))}),
]


@pytest.mark.parametrize(("field", "values"), IMPOSSIBLE, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_cannot_be_is_refused_by_its_field_and_nothing_is_kept(
    services: Services, field: str, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await upsert_plan(services, viewer=SERVICE, contents=contents(**values))
    assert refused.value.path == ["input", field]
    assert await Plan.all().count() + await PlanPrice.all().count() + await Operation.all().count() == 0


LIMITS: list[dict[str, Any]] = [
    {"price": Money(50, "USD"), "trial_days": 730}, {"interval": PlanInterval.YEAR, "interval_count": 3},
    {"price": Money(99_999_999, "USD"), "features": tuple(f"{number:080}" for number in range(15))},
    {"interval": PlanInterval.DAY, "interval_count": 1095, "name": "x" * 250}, {"price": Money(0, "USD")},
]  # fmt: skip


@pytest.mark.parametrize("values", LIMITS)
async def test_what_just_can_be_is_taken_by_stripe_too(catalogue: Catalogue, values: dict[str, Any]) -> None:
    wanted = contents(**values)
    await catalogue.tell(wanted)
    await catalogue.check(wanted)


# --- at once --------------------------------------------------------------------------------------------------------


async def test_the_same_plan_told_of_many_times_at_once_is_made_once(catalogue: Catalogue) -> None:
    wanted = contents()
    plans = await asyncio.gather(*(catalogue.tell(wanted) for _ in range(20)))
    assert {plan.revision for plan in plans} == {1}
    await catalogue.check(wanted)


async def test_of_several_that_come_at_once_the_latest_stands(catalogue: Catalogue) -> None:
    wanted = contents()
    await catalogue.tell(wanted)
    others = [replace(wanted, name=f"Plan {number}", price=Money(1000 + number, "USD")) for number in range(8)]
    await asyncio.gather(*(catalogue.tell(other) for other in others))
    plan = await Plan.get(external_id=wanted.external_id)
    [last] = [other for other in others if other.name == plan.name]
    assert plan.revision == 9
    await catalogue.check(last)
    assert await Operation.filter(status=OperationStatus.SUCCEEDED).count() == 9


# --- lost on the way ------------------------------------------------------------------------------------------------

WEATHER: dict[str, dict[str, Any]] = {
    "the answer is lost": {"reset_after": 1.0},
    "the call is lost": {"reset_before": 1.0},
    "Stripe answers 500": {"rate_500": 1.0},
    "Stripe has too much to do": {"rate_429": 1.0},
}


@pytest.mark.parametrize("hours", [0, 30])
@pytest.mark.parametrize("weather", sorted(WEATHER))
async def test_what_stripe_did_not_answer_is_brought_to_its_end(
    catalogue: Catalogue, weather: str, hours: int
) -> None:
    wanted = contents()
    await catalogue.sandbox.faults(**WEATHER[weather])
    with pytest.raises(StripeUnavailable):
        await catalogue.tell(wanted)
    assert await list_plans(catalogue.services) == []
    await catalogue.sandbox.heal()
    catalogue.clock.forward(hours=hours)
    await catalogue.recover()
    await catalogue.check(wanted)


async def test_the_platform_s_own_second_try_finds_it(catalogue: Catalogue) -> None:
    wanted = contents()
    await catalogue.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await catalogue.tell(wanted)
    await catalogue.sandbox.heal()
    catalogue.clock.forward(seconds=60)
    assert (await catalogue.tell(wanted)).revision == 1
    await catalogue.check(wanted)


async def test_a_later_revision_takes_up_what_an_earlier_one_left_undone(catalogue: Catalogue) -> None:
    wanted = contents()
    await catalogue.sandbox.faults(reset_after=1.0)
    with pytest.raises(StripeUnavailable):
        await catalogue.tell(wanted)
    await catalogue.sandbox.heal()
    catalogue.clock.forward(seconds=60)
    wanted = replace(wanted, price=Money(3000, "USD"))
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert await Operation.filter(status=OperationStatus.SUCCEEDED).count() == 2


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(3))
async def test_a_new_plan_survives_a_process_that_ends_anywhere(
    catalogue: Catalogue, boundary: Boundary, writes: int
) -> None:
    wanted = contents()
    await _crashing(catalogue, wanted, Trouble.crash(boundary, writes))
    await catalogue.recover()
    if await Plan.all().exists():
        await catalogue.check(wanted)
    await catalogue.tell(wanted)
    await catalogue.check(wanted)
    assert len(await catalogue.prices(await Plan.get(external_id=wanted.external_id))) == 1


@pytest.mark.parametrize("boundary", list(Boundary))
@pytest.mark.parametrize("writes", range(3))
async def test_a_new_price_survives_a_process_that_ends_anywhere(
    catalogue: Catalogue, boundary: Boundary, writes: int
) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    changed = replace(wanted, price=Money(5000, "USD"), name="Platinum")
    await _crashing(catalogue, changed, Trouble.crash(boundary, writes))
    assert (await catalogue.offered(plan)).stripe_price_id is not None
    await catalogue.recover()
    await catalogue.tell(changed)
    await catalogue.check(changed)
    assert len(await catalogue.prices_at_stripe(plan)) == 2


async def _crashing(catalogue: Catalogue, wanted: Any, trouble: Trouble) -> None:
    """Tell of a plan in a process that may end."""
    trap = Trap()
    async with trapped(catalogue.services, trap, catalogue.sandbox) as services:
        trap.arm(trouble)
        trap.begin()
        try:
            await catalogue.through(services).tell(wanted)
        except Crash:
            assert trap.sprung == 1


# --- what Stripe refuses --------------------------------------------------------------------------------------------


async def test_what_stripe_refuses_is_said_and_the_old_price_is_still_sold(catalogue: Catalogue) -> None:
    wanted = contents()
    plan = await catalogue.tell(wanted)
    before = await catalogue.offered(plan)
    # A price cannot be made for a product that is not there.
    await catalogue.services.database.pool.execute("UPDATE plans SET stripe_product_id = 'prod_gone'")
    changed = replace(wanted, price=Money(4000, "USD"))
    with pytest.raises(InvalidState):
        await catalogue.tell(changed)
    assert (await catalogue.offered(plan)).id == before.id
    assert [price.id for price in await catalogue.prices(plan)] == [before.id]
    assert await Operation.filter(status=OperationStatus.FAILED).count() == 1
    await catalogue.services.database.pool.execute(
        "UPDATE plans SET stripe_product_id = $1", (await catalogue.products_at_stripe(plan))[0]["id"]
    )
    await catalogue.tell(changed)
    await catalogue.check(changed)
