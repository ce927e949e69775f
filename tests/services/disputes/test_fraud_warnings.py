"""Early fraud warnings: kept, and refunded by themselves where the settings say so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.disputes import FraudWarning
from models.refunds import Refund, RefundReason, RefundStatus
from services.webhooks.processing import process_due
from tests.support.shop import Shop

if TYPE_CHECKING:
    from models.payments import Payment


def with_settings(shop: Shop, **values: Any) -> Shop:
    """The same shop under other settings."""
    settings = shop.services.settings.model_copy(update=values)
    return replace(shop, services=replace(shop.services, settings=settings))


async def warned(shop: Shop, payment: Payment) -> FraudWarning:
    """The card's issuer reports it, and we hear of it."""
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/warn_of_fraud", fraud_type="made_with_stolen_card")
    await shop.deliver_all(payment)
    return await FraudWarning.get(payment_id=payment.id)


async def test_a_warning_is_kept_and_moves_nothing(shop: Shop) -> None:
    payment = await shop.paid()
    warning = await warned(shop, payment)
    assert (warning.fraud_type, warning.actionable, warning.refund_id) == ("made_with_stolen_card", True, None)
    assert await Refund.all().count() == 0
    assert await AuditEntry.filter(action="payment.warned_of_fraud", subject_id=payment.id).count() == 1
    await shop.deliver_all(payment)
    assert await FraudWarning.all().count() == 1
    await shop.check()


async def test_by_a_setting_its_payment_is_refunded_once(shop: Shop) -> None:
    shop = with_settings(shop, refund_fraud_warnings="actionable", refund_fraud_maximum_minor={"USD": 2000})
    payment = await shop.paid()
    warning = await warned(shop, payment)
    [refund] = await Refund.all()
    assert (refund.status, refund.amount_minor, refund.reason) == (
        RefundStatus.SUCCEEDED, 2000, RefundReason.FRAUDULENT,
    )  # fmt: skip
    assert warning.refund_id == refund.id
    await shop.deliver_all(payment)
    assert await Refund.all().count() == 1
    assert (await FraudWarning.get(id=warning.id)).actionable is False
    await shop.check()


async def test_what_is_above_the_maximum_or_of_no_use_is_not_refunded(shop: Shop) -> None:
    shop = with_settings(shop, refund_fraud_warnings="actionable", refund_fraud_maximum_minor={"USD": 1999})
    payment = await shop.paid()
    await warned(shop, payment)
    shop = with_settings(shop, refund_fraud_warnings="actionable", refund_fraud_maximum_minor={})
    disputed = await shop.paid()
    await shop.sandbox.act(f"charges/{disputed.stripe_charge_id}/dispute")
    warning = await warned(shop, disputed)
    assert warning.actionable is False
    assert await Refund.all().count() == 0


async def test_a_warning_that_is_heard_of_late_is_as_it_is_now(shop: Shop) -> None:
    shop = with_settings(shop, refund_fraud_warnings="actionable")
    payment = await shop.paid()
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/warn_of_fraud")
    await shop.refund(payment, 2000)
    await shop.deliver_all(payment)
    assert await Refund.all().count() == 1
    assert (await FraudWarning.get(payment_id=payment.id)).actionable is False


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
async def test_stripe_being_away_delays_the_refund_and_makes_no_second_one(shop: Shop, fault: str) -> None:
    shop = with_settings(shop, refund_fraud_warnings="actionable")
    payment = await shop.paid()
    known = len(await shop.events_of(payment))
    await shop.sandbox.act(f"charges/{payment.stripe_charge_id}/warn_of_fraud")
    events = (await shop.events_of(payment))[known:]
    await shop.sandbox.faults(**{fault: 1})
    with pytest.raises(AssertionError):
        await shop.deliver(events)
    await shop.sandbox.heal()
    shop.clock.forward(hours=1)
    await process_due(shop.services)
    await shop.recover()
    await shop.deliver_all(payment)
    [refund] = await Refund.all()
    assert (refund.status, refund.amount_minor) == (RefundStatus.SUCCEEDED, 2000)
    assert (await FraudWarning.get(payment_id=payment.id)).refund_id == refund.id
