"""What a plan is to be, and what of it cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.currencies import currency
from models.money import WIRE_AMOUNT_MAX, Money
from models.plans import PlanInterval
from services.errors import InvalidInput
from services.text import check_text

if TYPE_CHECKING:
    from models.plans import Plan, PlanPrice

# "The Product object": its name, its marketing features and how long each may be.
NAME_MAX = 250
FEATURES_MAX = 15
FEATURE_LENGTH_MAX = 80
# "Create a price": an interval is three years at most.
INTERVAL_COUNT_MAX = {PlanInterval.DAY: 1095, PlanInterval.WEEK: 156, PlanInterval.MONTH: 36, PlanInterval.YEAR: 3}
# "Create a subscription": a trial is two years at most.
TRIAL_DAYS_MAX = 730


@dataclass(frozen=True, slots=True)
class PlanContents:
    """All that the platform says of a plan. `prices` are the same price in other currencies than `price`'s."""

    external_id: str
    name: str
    price: Money
    prices: tuple[Money, ...]
    interval: PlanInterval
    interval_count: int
    trial_days: int
    features: tuple[str, ...]
    active: bool

    def check(self) -> None:
        """Refuse what neither Stripe nor Paydesk can have.

        Raises: InvalidInput naming the field.
        """
        check_text("externalId", self.external_id, length_max=255)
        check_text("name", self.name, length_max=NAME_MAX)
        _check_amount("price", self.price)
        for price in self.prices:
            _check_amount("prices", price)
        codes = [self.price.currency, *(price.currency for price in self.prices)]
        for code in codes:
            if codes.count(code) > 1:
                raise InvalidInput("prices", f"There is more than one price in {code}.")
        longest = INTERVAL_COUNT_MAX[self.interval]
        if not 1 <= self.interval_count <= longest:
            unit = self.interval.value.lower()
            raise InvalidInput("intervalCount", f"From 1 to {longest} where the interval is a {unit}: three years.")
        if not 0 <= self.trial_days <= TRIAL_DAYS_MAX:
            raise InvalidInput("trialDays", f"A trial has 0 to {TRIAL_DAYS_MAX} days.")
        if len(self.features) > FEATURES_MAX:
            raise InvalidInput("features", f"A plan has at most {FEATURES_MAX} features.")
        for feature in self.features:
            check_text("features", feature, length_max=FEATURE_LENGTH_MAX)
        if len(set(self.features)) < len(self.features):
            raise InvalidInput("features", "A feature is named once.")

    @property
    def options(self) -> dict[str, int]:
        """The other currencies as `PlanPrice.currency_options` has them."""
        return {price.currency: price.minor for price in self.prices}

    def is_plan(self, plan: Plan) -> bool:
        """Whether the plan says all this already, but for its price."""
        return (self.name, list(self.features), self.trial_days, self.active) == (
            plan.name, list(plan.features), plan.trial_days, plan.active,
        )  # fmt: skip

    def is_price(self, price: PlanPrice) -> bool:
        """Whether this is the price already."""
        return (self.price, self.options, self.interval, self.interval_count) == (
            price.amount, dict(price.currency_options), price.interval, price.interval_count,
        )  # fmt: skip


def plan_facts(plan: Plan, price: PlanPrice) -> dict[str, Any]:
    """What of a plan the audit keeps: amounts in minor units."""
    return {
        "external_id": plan.external_id,
        "name": plan.name,
        "features": list(plan.features),
        "trial_days": plan.trial_days,
        "active": plan.active,
        "currency": price.currency,
        "amount_minor": price.amount_minor,
        "currency_options": dict(price.currency_options),
        "interval": price.interval.value,
        "interval_count": price.interval_count,
    }


def _check_amount(field: str, price: Money) -> None:
    """Nothing, or at least what can be charged; a free plan costs nothing."""
    least = Money(currency(price.currency).minimum_charge_minor, price.currency)
    if price.minor and price < least:
        raise InvalidInput(field, f"Stripe takes no less than {least}; a free plan costs nothing at all.")
    if price.wire > WIRE_AMOUNT_MAX:
        raise InvalidInput(field, "This is more than one payment can be.")
