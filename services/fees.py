"""The platform's fee: a percentage and a fixed part, with a minimum, of a host or of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.activities import Activity
from models.currencies import currency
from models.money import Money
from services.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from models.payments import Payment
    from services.core import Services
    from services.refunds.disputed import Lost
    from settings import Settings

QUANTITY_MAX = 1_000


@dataclass(frozen=True, slots=True)
class FeeBreakdown:
    """Who gets what of an amount."""

    amount: Money
    platform_fee: Money
    host_amount: Money


def platform_fee(settings: Settings, amount: Money, host_external_id: str) -> Money:
    """The platform's part of an amount, by the host's own rule or everybody's; never more than the amount."""
    own = settings.fee_overrides.get(host_external_id)
    percent = settings.fee_percent if own is None else own.percent
    fixed = settings.fee_fixed_minor if own is None else own.fixed_minor
    minimum = settings.fee_minimum_minor if own is None else own.minimum_minor
    fee = amount.percent(percent).minor + fixed.get(amount.currency, 0)
    return Money(min(max(fee, minimum.get(amount.currency, 0)), amount.minor), amount.currency)


def fee_for_capture(payment: Payment, captured: Money) -> Money:
    """The fee of what was captured: the agreed fee in proportion, so that later changes of the rule do not matter.

    Where there is a fee it is one step at least: a capture cannot name a fee of nothing, and one that names none takes
    the whole fee that was agreed ("Capture a PaymentIntent").
    """
    step = currency(payment.currency).step_minor
    fee = payment.platform_fee.proportion(captured, payment.amount).minor
    least = min(step, payment.platform_fee_minor, captured.minor)
    return Money(max(fee - fee % step, least), payment.currency)


def refund_parts(payment: Payment, amount: Money, lost: Lost) -> tuple[Money, Money]:
    """What the platform (its fee) and the host give back of a refund, before it is counted in the payment.

    The fee given back is cumulative over the payment's refunds and what lost disputes took, so that partial refunds of
    a whole payment give back exactly the whole fee, as Stripe does ("Create a refund", refund_application_fee).
    """
    before = payment.refunded + Money(payment.refund_pending_minor, payment.currency) + lost.amount
    fee_before = Money(payment.fee_refunded_minor, payment.currency) + lost.fee
    return refund_parts_after(payment, before, fee_before, amount)


def refund_parts_after(payment: Payment, before: Money, fee_before: Money, amount: Money) -> tuple[Money, Money]:
    """As `refund_parts`, after refunds of `before` that gave back `fee_before` of the fee."""
    due = payment.platform_fee.proportion(before + amount, payment.captured)
    fee = Money(min(max(due.minor - fee_before.minor, 0), amount.minor), payment.currency)
    return fee, amount - fee


def check_quantity(quantity: int, *, path: list[str]) -> None:
    """Refuse a number of seats that nobody can pay for at once; `path` names the input.

    Raises: InvalidInput.
    """
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidInput(path=path, message=f"Between 1 and {QUANTITY_MAX} seats can be paid for at once.")


async def fee_preview(
    services: Services, *, activity_id: UUID, quantity: int, currency_code: str | None
) -> FeeBreakdown:
    """Who would get what of a payment for these seats.

    Raises: NotFound, InvalidInput.
    """
    check_quantity(quantity, path=["quantity"])
    activity = await Activity.get_or_none(id=activity_id).select_related("host")
    if activity is None:
        raise NotFound("There is no such activity.", path=["activityId"])
    if currency_code is not None and currency_code != activity.currency:
        raise InvalidInput(path=["currency"], message=f"This activity is paid for in {activity.currency}.")
    amount = activity.price * quantity
    fee = platform_fee(services.settings, amount, activity.host.external_id)
    return FeeBreakdown(amount, fee, amount - fee)
