"""When a host is paid out without asking ("Manage payout schedule")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.payouts import PayoutInterval, Weekday
from services.connect.facts import schedule_of
from services.connect.own import own_account
from services.connect.settlement import apply_schedule, lock_account
from services.errors import DomainError, InvalidInput, InvalidState
from services.operations import (
    Answers,
    Intent,
    PlannedAtReserve,
    PlannedStep,
    Refusal,
    finish,
    known_operation,
    record_answers,
    reserve,
)
from services.payout_requests import retrieve_balance_settings
from services.payout_requests import set_payout_schedule as set_schedule_request
from services.stripe_gateway import Priority

if TYPE_CHECKING:
    from models.operations import Operation, OperationStep
    from models.sets import AnyConnection
    from services.core import Services
    from services.viewer import Viewer

KIND: Final = "set_payout_schedule"
_DAYS_OF_A_MONTH: Final = 31


@dataclass(frozen=True, slots=True)
class PayoutSchedule:
    """On which days an account is paid out by itself; of a MANUAL one, on none."""

    interval: PayoutInterval
    weekly_days: tuple[Weekday, ...] = ()
    monthly_days: tuple[int, ...] = ()
    delay_days: int | None = None
    """For how many days its money waits before it can be paid out; Stripe's and the platform's to say."""

    @classmethod
    def of(cls, account: ConnectAccount) -> PayoutSchedule | None:
        """From an account's row; None where Stripe has not told yet."""
        kept = account.payout_schedule
        if kept is None:
            return None
        return cls(
            PayoutInterval(kept["interval"].upper()),
            # Accounts may have weekends from before Stripe took working days only.
            tuple(Weekday(day.upper()) for day in kept["weekly_days"] if day.upper() in Weekday.__members__),
            tuple(kept["monthly_days"]),
            kept["delay_days"],
        )

    def check(self) -> None:
        """Refuse days that do not belong to the interval, and those that there are none of.

        Raises: InvalidInput.
        """
        weekly, monthly = self.interval is PayoutInterval.WEEKLY, self.interval is PayoutInterval.MONTHLY
        if weekly != bool(self.weekly_days):
            raise InvalidInput("weeklyDays", "Give the days of the week for WEEKLY, and only then.")
        if monthly != bool(self.monthly_days):
            raise InvalidInput("monthlyDays", "Give the days of the month for MONTHLY, and only then.")
        if len(set(self.weekly_days)) < len(self.weekly_days):
            raise InvalidInput("weeklyDays", "Give each day once.")
        if len(set(self.monthly_days)) < len(self.monthly_days):
            raise InvalidInput("monthlyDays", "Give each day once.")
        if not all(1 <= day <= _DAYS_OF_A_MONTH for day in self.monthly_days):
            raise InvalidInput("monthlyDays", "Days of the month are 1 to 31; what a month lacks is its last day.")


async def set_payout_schedule(
    services: Services, *, viewer: Viewer, schedule: PayoutSchedule, idempotency_key: str
) -> ConnectAccount:
    """Set when the viewer is paid out by itself, at Stripe and here.

    STANDARD hosts do so in Stripe's dashboard, where the platform has no say.

    Raises: Forbidden; InvalidInput; InvalidState for STANDARD, without an account, and where Stripe refuses;
        IdempotencyKeyReused; OperationInProgress; StripeUnavailable.
    """
    schedule.check()
    wanted = {
        "interval": schedule.interval.lower(),
        "weekly_days": [day.lower() for day in schedule.weekly_days],
        "monthly_days": list(schedule.monthly_days),
    }
    intent = Intent(viewer.caller, idempotency_key, KIND, wanted)

    reserved = await known_operation(services, intent)
    if reserved is None:
        account = await own_account(viewer)

        async def plan(connection: AnyConnection, _operation: Operation) -> list[PlannedStep]:
            now, _ = await lock_account(connection, account.id)
            return [_plan(now, wanted)]

        reserved = await reserve(services, intent, plan, subject_id=account.id, arguments=wanted)
    operation = await services.operations.answer(services, reserved)
    return await ConnectAccount.get(id=operation.subject_id)


def _plan(account: ConnectAccount, wanted: dict[str, Any]) -> PlannedStep:
    if account.type is ConnectAccountType.STANDARD:
        raise InvalidState(
            "You manage your payouts in Stripe's own dashboard: log in there to change when they are made.",
            state=account.type.value,
        )
    if account.stripe_account_id is None or account.deauthorized_at is not None:
        raise InvalidState("Your account is no longer connected.", state="DEAUTHORIZED")
    request = set_schedule_request(
        account.stripe_account_id, interval=wanted["interval"], weekly_days=wanted["weekly_days"],
        monthly_days=wanted["monthly_days"],
    )  # fmt: skip
    return PlannedStep(KIND, request)


class SetPayoutSchedule(PlannedAtReserve):
    """How setting a schedule goes on: one call, planned at reserve."""

    name = KIND

    async def settle(self, services: Services, operation: Operation, answers: Answers) -> None:
        """Keep the schedule that Stripe answered with."""
        answer = answers.by_step[KIND]
        error: DomainError | None = None
        async with services.database.transaction() as connection:
            if isinstance(answer, Refusal):
                code: str = getattr(answer.error, "code", None) or "refused"
                error = InvalidState("Stripe does not take this schedule for your account.", state=code.upper())
            else:
                account, xid = await lock_account(connection, operation.subject_id)
                await apply_schedule(
                    connection, account, xid, _schedule(answer.body), actor=operation.caller,
                    platform_country=services.settings.platform_country,
                )  # fmt: skip
            await record_answers(connection, [(operation.id, KIND, answer)])
            await finish(connection, [operation.id], errors={operation.id: error} if error else None)
        services.live.wake()

    async def find(self, services: Services, operation: Operation, step: OperationStep) -> dict[str, Any] | None:
        """The settings as they are, where they are what was asked for."""
        assert step.stripe_account is not None
        request = retrieve_balance_settings(step.stripe_account)
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
        found = _schedule(body)
        return body if {**found, "delay_days": None} == {**operation.arguments, "delay_days": None} else None


def _schedule(body: dict[str, Any]) -> dict[str, Any]:
    """From Balance Settings."""
    payments = body["payments"]
    return schedule_of(payments["payouts"]["schedule"], payments["settlement_timing"]["delay_days"])
