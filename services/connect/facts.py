"""What Stripe says of a connected account, read once into our own terms ("The Account object")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.connect_accounts import RequirementUrgency
from services.payments.facts import instant

if TYPE_CHECKING:
    from models.connect_accounts import ConnectAccount

# The most pressing first: Stripe lists what is past due among what is currently due, too.
_URGENCIES = (
    ("past_due", RequirementUrgency.PAST_DUE),
    ("currently_due", RequirementUrgency.CURRENTLY_DUE),
    ("pending_verification", RequirementUrgency.PENDING_VERIFICATION),
    ("eventually_due", RequirementUrgency.EVENTUALLY_DUE),
)


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One state of a connected account."""

    id: str
    country: str
    default_currency: str
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    capabilities: dict[str, str]
    requirements: list[dict[str, Any]]
    disabled_reason: str | None
    payout_schedule: dict[str, Any] | None
    """As `schedule_of` has it; None where the account does not tell."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> AccountFacts:
        """From an Account."""
        requirements = body.get("requirements") or {}
        return cls(
            id=body["id"],
            country=body["country"],
            default_currency=body["default_currency"].upper(),
            details_submitted=body["details_submitted"],
            charges_enabled=body["charges_enabled"],
            payouts_enabled=body["payouts_enabled"],
            capabilities=dict(body.get("capabilities") or {}),
            requirements=_requirements(requirements, body.get("future_requirements") or {}),
            disabled_reason=requirements.get("disabled_reason"),
            payout_schedule=_schedule(body),
        )

    def apply(self, account: ConnectAccount) -> None:
        """Write them to the row."""
        account.stripe_account_id = self.id
        account.country = self.country
        account.default_currency = self.default_currency
        account.details_submitted = self.details_submitted
        account.stripe_charges_enabled = self.charges_enabled
        account.payouts_enabled = self.payouts_enabled
        account.capabilities = self.capabilities
        account.requirements = self.requirements
        account.disabled_reason = self.disabled_reason
        if self.payout_schedule is not None:
            account.payout_schedule = self.payout_schedule


def schedule_of(schedule: dict[str, Any], delay_days: int | None) -> dict[str, Any]:
    """When an account is paid out by itself, as its row keeps it: {interval, weekly_days, monthly_days, delay_days}.

    Args:
        schedule: of an Account's settings, or of its Balance Settings.
        delay_days: for how many days its money waits before it can be paid out.
    """
    return {
        "interval": schedule["interval"],
        "weekly_days": list(schedule.get("weekly_payout_days") or []),
        "monthly_days": list(schedule.get("monthly_payout_days") or []),
        "delay_days": delay_days,
    }


def _schedule(body: dict[str, Any]) -> dict[str, Any] | None:
    schedule = ((body.get("settings") or {}).get("payouts") or {}).get("schedule")
    return None if not schedule else schedule_of(schedule, schedule.get("delay_days"))


def _requirements(now: dict[str, Any], future: dict[str, Any]) -> list[dict[str, Any]]:
    """Each requirement once, with how soon it is wanted, what was wrong with it, and until when."""
    found: dict[str, dict[str, Any]] = {}
    errors = {entry["requirement"]: entry["reason"] for entry in now.get("errors") or []}
    for name, urgency in _URGENCIES:
        pressing = urgency in {RequirementUrgency.PAST_DUE, RequirementUrgency.CURRENTLY_DUE}
        deadline = now.get("current_deadline") if pressing else None
        for field in now.get(name) or []:
            found.setdefault(field, _entry(field, urgency, errors.get(field), deadline))
    for field in future.get("currently_due") or []:
        found.setdefault(field, _entry(field, RequirementUrgency.EVENTUALLY_DUE, None, future.get("current_deadline")))
    return list(found.values())


def _entry(field: str, urgency: RequirementUrgency, error: str | None, deadline: int | None) -> dict[str, Any]:
    return {
        "field": field,
        "urgency": urgency.value,
        "error": error,
        "deadline": None if deadline is None else instant(deadline).isoformat(),
    }
