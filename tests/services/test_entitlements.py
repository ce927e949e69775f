"""Which features a guest has, to the second: a table of all that a subscription can be, and the two queries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from models.base import new_row
from models.plans import Plan
from models.subscriptions import BillingSubscription, BillingSubscriptionStatus
from services import entitlements
from services.entitlements import entitled_until, is_entitled, list_entitlements
from services.errors import Forbidden
from services.viewer import Role, Viewer
from tests.support.rows import add_plan, add_subscription, add_user

if TYPE_CHECKING:
    from models.plans import PlanPrice
    from models.sets import AnyConnection
    from models.users import User
    from services.core import Services

START = datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)
END = datetime(2026, 4, 1, 10, 20, 30, tzinfo=UTC)
GRACE = timedelta(seconds=259_200)
SECOND = timedelta(seconds=1)
BEFORE, AMID = START - timedelta(days=40), START + timedelta(days=10)

Status = BillingSubscriptionStatus
PLATFORM = Viewer(Role.SERVICE, "shop")


def subscription(status: Status, **values: Any) -> BillingSubscription:
    given: dict[str, Any] = {"status": status, "current_period_start": START, "current_period_end": END, **values}
    return new_row(BillingSubscription, **given)


@pytest.mark.parametrize(
    ("status", "values", "expected"),
    [
        (Status.INCOMPLETE, {}, None),
        (Status.INCOMPLETE_EXPIRED, {}, None),
        (Status.CANCELED, {"canceled_at": AMID, "ended_at": AMID}, None),
        (Status.UNPAID, {"unpaid_since": AMID, "past_due_since": START}, None),
        (Status.TRIALING, {"trial_end": END}, END + GRACE),
        (Status.ACTIVE, {}, END + GRACE),
        (Status.ACTIVE, {"trial_end": START}, END + GRACE),
        (Status.PAST_DUE, {"past_due_since": START}, START + GRACE),
        (Status.PAST_DUE, {"past_due_since": BEFORE}, BEFORE + GRACE),
        (Status.PAST_DUE, {}, START + GRACE),
        # What was given up grants no more than its grace, though Stripe goes on with it.
        (Status.ACTIVE, {"past_due_since": START}, START + GRACE),
        # What is to end ends at that very second.
        (Status.ACTIVE, {"cancel_at_period_end": True, "canceled_at": AMID}, END),
        (Status.ACTIVE, {"cancel_at_period_end": True, "cancel_at": END}, END),
        (Status.ACTIVE, {"cancel_at": AMID}, AMID),
        (Status.ACTIVE, {"cancel_at": END + SECOND}, END + SECOND),
        (Status.ACTIVE, {"cancel_at": END + timedelta(days=60)}, END + GRACE),
        (Status.TRIALING, {"cancel_at_period_end": True, "trial_end": END}, END),
        (Status.PAST_DUE, {"past_due_since": START, "cancel_at": START + SECOND}, START + SECOND),
        (Status.PAST_DUE, {"past_due_since": START, "cancel_at_period_end": True}, START + GRACE),
        # A paused one keeps what was paid for, and no more.
        (Status.PAUSED, {"paused_at": AMID}, END),
        (Status.PAUSED, {"paused_at": START}, END),
        (Status.PAUSED, {"paused_at": BEFORE}, START),
        (Status.PAUSED, {"paused_at": AMID, "cancel_at_period_end": True}, END),
        (Status.PAUSED, {"paused_at": AMID, "cancel_at": AMID + SECOND}, AMID + SECOND),
        (Status.PAUSED, {"paused_at": AMID, "past_due_since": START}, START),
        (Status.PAUSED, {"paused_at": AMID, "past_due_since": BEFORE}, BEFORE),
        # Stripe has not said yet when it ends.
        (Status.ACTIVE, {"current_period_start": None, "current_period_end": None}, None),
        (Status.PAST_DUE, {"current_period_start": None, "current_period_end": None}, None),
        (Status.PAUSED, {"current_period_start": None, "current_period_end": None}, None),
    ],
)
def test_features_end_at_this_second_unless_something_happens_before(status, values, expected):
    assert entitled_until(subscription(status, **values), GRACE) == expected


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("values", [{}, {"cancel_at": AMID}, {"cancel_at_period_end": True}])
def test_without_grace_features_never_outlast_the_period(status, values):
    until = entitled_until(subscription(status, past_due_since=START, **values), timedelta())
    assert until is None or until <= END


@pytest.mark.parametrize("status", list(Status))
def test_what_grants_nothing_says_so_by_itself(status):
    assert status.entitles or entitled_until(subscription(status), GRACE) is None


class Granted:
    """A guest, and what is asked about its features at a moment."""

    def __init__(self, services: Services, connection: AnyConnection, guest: User) -> None:
        self.services = services
        self.connection = connection
        self.guest = guest

    async def plan(self, *features: str) -> PlanPrice:
        price = await add_plan(self.connection)
        await Plan.filter(id=price.plan_id).update(features=list(features))
        return price

    async def subscribe(self, *features: str, until: datetime | None = END, **values: Any) -> BillingSubscription:
        return await add_subscription(
            self.connection, self.guest, await self.plan(*features), entitled_until=until, **values
        )

    async def at(self, moment: datetime) -> dict[str, datetime | None]:
        services = replace(self.services, clock=lambda: moment)
        found = await list_entitlements(services, viewer=PLATFORM, external_id=self.guest.external_id)
        assert [entry.feature for entry in found] == sorted({entry.feature for entry in found})
        for entry in found:
            assert await self.has(entry.feature, moment)
            assert entry.subscription.user_id == self.guest.id
        return {entry.feature: entry.expires_at for entry in found}

    async def has(self, feature: str, moment: datetime) -> bool:
        services = replace(self.services, clock=lambda: moment)
        return await is_entitled(
            services, viewer=PLATFORM, external_id=self.guest.external_id, feature=feature
        )


@pytest.fixture
async def granted(services: Services, connection: AnyConnection) -> Granted:
    return Granted(services, connection, await add_user(connection))


async def test_features_are_there_until_the_second_and_gone_at_it(granted: Granted) -> None:
    await granted.subscribe("priority", "early_access")
    assert await granted.at(END - timedelta(microseconds=1)) == {"early_access": END, "priority": END}
    assert await granted.at(END) == {}
    assert not await granted.has("priority", END)
    assert not await granted.has("lounge", START)


async def test_a_feature_of_two_plans_is_listed_once_by_the_one_that_grants_it_longest(granted: Granted) -> None:
    short = await granted.subscribe("priority", "lounge", until=END)
    long = await granted.subscribe("priority", until=END + SECOND)
    found = await list_entitlements(granted.services, viewer=PLATFORM, external_id=granted.guest.external_id)
    services = replace(granted.services, clock=lambda: START)
    found = await list_entitlements(services, viewer=PLATFORM, external_id=granted.guest.external_id)
    assert {(entry.feature, entry.subscription.id) for entry in found} == {("priority", long.id), ("lounge", short.id)}
    assert await granted.at(END) == {"priority": END + SECOND}


@pytest.mark.parametrize("status", list(Status))
async def test_only_what_entitles_is_asked_about(granted: Granted, status: Status) -> None:
    await granted.subscribe("priority", status=status)
    assert await granted.has("priority", START) == status.entitles
    assert bool(await granted.at(START)) == status.entitles


async def test_what_never_began_and_whoever_is_not_known_has_nothing(granted: Granted) -> None:
    await granted.subscribe("priority", until=None)
    assert await granted.at(START) == {}
    services = granted.services
    assert await list_entitlements(services, viewer=PLATFORM, external_id="nobody") == []
    for nobody, nothing in (("nobody", "priority"), ("no\x00body", "priority"), ("nobody", "prio\x00rity")):
        assert not await is_entitled(services, viewer=PLATFORM, external_id=nobody, feature=nothing)
    assert await list_entitlements(services, viewer=PLATFORM, external_id="no\x00body") == []


async def test_guests_see_their_own_features_and_only_the_platform_those_of_others(granted: Granted) -> None:
    services, guest = granted.services, granted.guest
    await granted.subscribe("priority", until=datetime.now(UTC) + timedelta(days=1))
    themselves = Viewer(Role.USER, guest.external_id)
    own = await list_entitlements(services, viewer=themselves, external_id=guest.external_id)
    assert [entry.feature for entry in own] == ["priority"]
    for stranger in (Viewer(Role.USER, "stranger"), themselves):
        with pytest.raises(Forbidden):
            await is_entitled(services, viewer=stranger, external_id=guest.external_id, feature="priority")
    with pytest.raises(Forbidden):
        await list_entitlements(services, viewer=Viewer(Role.USER, "stranger"), external_id=guest.external_id)
    admin = Viewer(Role.ADMIN, "root")
    assert await is_entitled(services, viewer=admin, external_id=guest.external_id, feature="priority")


async def test_the_question_of_each_request_is_answered_by_indexes(connection: AnyConnection) -> None:
    await connection.execute("SET enable_seqscan = off")
    plan = "\n".join(
        record[0]
        for record in await connection.fetch(
            f"EXPLAIN {entitlements._IS_GRANTED}".replace("$1", "'gustav'").replace("$2", "now()").replace("$3", "'x'")
        )
    )
    # Which of the indexes, and in what order, is a matter of how many rows there are.
    assert "Seq Scan" not in plan
