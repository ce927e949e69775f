"""Payments that several hosts have parts in: who gets what, and what is refused."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from models.connect_accounts import ConnectAccountType
from models.operations import Operation
from models.payments import ChargeModel, Payment, PaymentAllocation, PaymentStatus
from models.transfers import Transfer
from services.errors import HostNotReady, IdempotencyKeyReused, InvalidInput
from services.payments.actions import cancel_payment, retry_payment
from services.payments.charging import Split
from tests.services.payments.test_actions import capture
from tests.support.hosts import shares
from tests.support.rows import add_account, add_user
from tests.support.shop import as_user

if TYPE_CHECKING:
    from tests.support.hosts import Hosts
    from tests.support.shop import Shop


async def test_the_hosts_part_is_shared_and_sent_at_once(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (others[0], "0.25"), (others[1], "0.25")))
    assert (payment.charge_model, payment.status) == (ChargeModel.SEPARATE, PaymentStatus.SUCCEEDED)
    assert (payment.platform_fee_minor, payment.host_amount_minor) == (200, 1800)
    assert await hosts.sent_to(payment, shop.host, *others) == [900, 450, 450]
    assert [(part.transferred_minor, part.owed_minor, part.release_at) for part in await hosts.parts(payment)] == [
        (900, 0, None), (450, 0, None), (450, 0, None)
    ]  # fmt: skip
    await hosts.check(payment)


async def test_the_charge_is_the_platforms_and_its_transfers_name_it(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.7"), (other, "0.3")))
    intent = await shop.intent(payment)
    assert (intent["transfer_data"], intent["application_fee_amount"]) == (None, None)
    assert intent["transfer_group"] == str(payment.id)
    transfers = await shop.sandbox.every("/v1/transfers", {"transfer_group": str(payment.id)})
    assert {transfer["source_transaction"] for transfer in transfers} == {payment.stripe_charge_id}
    assert {transfer["metadata"]["payment_id"] for transfer in transfers} == {str(payment.id)}
    rows = {str(row.id) for row in await Transfer.filter(payment_id=payment.id)}
    assert {transfer["metadata"]["transfer_id"] for transfer in transfers} == rows


async def test_the_largest_remainder_gets_the_unit_that_is_over(shop: Shop, hosts: Hosts) -> None:
    others = [await hosts.add() for _ in range(2)]
    third = "0.333333333333333333"
    payment = await shop.paid(
        splits=shares((shop.host, third), (others[0], third), (others[1], "0.333333333333333334")), quantity=1
    )
    assert [part.amount_minor for part in await hosts.parts(payment)] == [600, 600, 600]
    payment = await shop.paid(splits=shares((shop.host, "0.3335"), (others[0], "0.3335"), (others[1], "0.333")))
    assert [part.amount_minor for part in await hosts.parts(payment)] == [600, 600, 600]
    payment = await shop.paid(splits=shares((shop.host, "0.0005"), (others[0], "0.0001"), (others[1], "0.9994")))
    assert [part.amount_minor for part in await hosts.parts(payment)] == [1, 0, 1799]
    assert await hosts.sent_to(payment, shop.host, *others) == [1, 0, 1799]
    await hosts.check(payment)


async def test_the_activitys_host_need_not_have_a_part(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((other, "1")))
    assert payment.host_id == shop.host.id
    assert await hosts.sent_to(payment, shop.host, other) == [0, 1800]
    await hosts.check(payment)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([], ["input", "splits"]),
        ([("host", "0.5")], ["input", "splits"]),
        ([("host", "0.5"), ("other", "0.6")], ["input", "splits"]),
        ([("host", "0.5"), ("other", "0.4999999999999999999")], ["input", "splits", "1", "share"]),
        ([("host", "1"), ("other", "0")], ["input", "splits", "1", "share"]),
        ([("host", "1.5"), ("other", "-0.5")], ["input", "splits", "0", "share"]),
        ([("host", "NaN"), ("other", "0.5")], ["input", "splits", "0", "share"]),
        ([("host", "Infinity")], ["input", "splits", "0", "share"]),
        ([("host", "0.5"), ("host", "0.5")], ["input", "splits", "1", "hostExternalId"]),
        ([("host", "0.5"), ("nobody", "0.5")], ["input", "splits", "1", "hostExternalId"]),
        ([(f"h{i}", "0.04") for i in range(25)], ["input", "splits"]),
    ],
)
async def test_shares_that_cannot_be_are_refused_by_name_and_nothing_moves(
    shop: Shop, hosts: Hosts, given: list[tuple[str, str]], path: list[str]
) -> None:
    names = {"host": shop.host.external_id, "other": (await hosts.add()).external_id}
    splits = [Split(names.get(name, name), Decimal(share)) for name, share in given]
    before = len(await shop.sandbox.requests_to("/v1/"))
    with pytest.raises(InvalidInput) as error:
        await shop.pay(splits=splits)
    assert error.value.path == path
    assert len(await shop.sandbox.requests_to("/v1/")) == before
    assert await Operation.all().count() + await Payment.all().count() + await shop.seats_taken() == 0


async def test_a_host_for_whom_stripe_answers_can_have_no_part(shop: Shop, hosts: Hosts) -> None:
    async with shop.services.database.transaction() as connection:
        other = await add_user(connection)
        await add_account(connection, other, type=ConnectAccountType.STANDARD)
    with pytest.raises(HostNotReady) as error:
        await shop.pay(splits=shares((shop.host, "0.5"), (other, "0.5")))
    assert error.value.path == ["input", "splits", "1", "hostExternalId"]
    assert error.value.requirements == ["standard_accounts_need_direct_charges"]
    assert await Operation.all().count() + await Payment.all().count() + await shop.seats_taken() == 0


async def test_the_same_key_answers_the_same_and_other_shares_are_another_request(shop: Shop, hosts: Hosts) -> None:
    other, key = await hosts.add(), str(uuid4())
    splits = shares((shop.host, "0.5"), (other, "0.5"))
    results = await asyncio.gather(*(shop.pay(splits=splits, idempotency_key=key) for _ in range(3)))
    assert len({result.payment.id for result in results}) == 1
    with pytest.raises(IdempotencyKeyReused):
        await shop.pay(splits=shares((shop.host, "0.4"), (other, "0.6")), idempotency_key=key)
    with pytest.raises(IdempotencyKeyReused):
        await shop.pay(idempotency_key=key)
    assert await hosts.sent_to(results[0].payment, shop.host, other) == [900, 900]
    await hosts.check(results[0].payment)


async def test_a_declined_card_sends_nobody_anything_until_another_one_pays(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    declined = await shop.pay("pm_card_chargeDeclined", splits=shares((shop.host, "0.5"), (other, "0.5")))
    assert await hosts.sent(declined.payment) == {}
    await hosts.work(hours=1)
    result = await retry_payment(
        shop.services, viewer=as_user(shop.guest), payment_id=declined.payment.id, payment_method="pm_card_visa",
        return_url=None, idempotency_key="again",
    )  # fmt: skip
    assert result.error is None
    assert await hosts.sent_to(result.payment, shop.host, other) == [900, 900]
    await hosts.check(result.payment)


async def test_a_challenge_that_is_done_later_sends_the_parts_by_its_webhook(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = (await shop.pay("pm_card_authenticationRequired", splits=shares((other, "1")))).payment
    assert await hosts.sent(payment) == {}
    await shop.sandbox.authenticate(str(payment.stripe_payment_intent_id))
    await shop.deliver_all(payment)
    assert await hosts.sent_to(payment, other) == [1800]
    await hosts.check(payment)


@pytest.mark.parametrize(("minor", "parts"), [(None, [1080, 720]), (1001, [541, 360]), (2, [1, 0]), (999, [539, 360])])
async def test_what_is_captured_later_is_shared_as_it_was_captured(
    shop: Shop, hosts: Hosts, minor: int | None, parts: list[int]
) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.6"), (other, "0.4")), capture_later=True)
    assert payment.status is PaymentStatus.AUTHORIZED
    await hosts.work(hours=1)
    assert await hosts.sent(payment) == {}
    result = await capture(shop, payment, minor)
    assert result.error is None
    payment = result.payment
    assert payment.platform_fee_minor + payment.host_amount_minor == payment.captured_minor == (minor or 2000)
    assert [part.amount_minor for part in await hosts.parts(payment)] == parts
    assert await hosts.sent_to(payment, shop.host, other) == parts
    await hosts.check(payment)


async def test_a_part_that_was_captured_in_the_dashboard_is_shared_too(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((shop.host, "0.5"), (other, "0.5")), capture_later=True)
    await shop.sandbox.post(
        f"/v1/payment_intents/{payment.stripe_payment_intent_id}/capture", {"amount_to_capture": 1000}
    )
    await shop.deliver_all(payment)
    payment = await shop.now(payment)
    assert (payment.captured_minor, payment.platform_fee_minor) == (1000, 100)
    assert await hosts.sent_to(payment, shop.host, other) == [450, 450]
    await hosts.check(payment)


async def test_an_authorization_that_is_let_go_sends_nothing(shop: Shop, hosts: Hosts) -> None:
    other = await hosts.add()
    payment = await shop.paid(splits=shares((other, "1")), capture_later=True)
    await cancel_payment(shop.services, viewer=as_user(shop.host), payment_id=payment.id, idempotency_key="let go")
    await hosts.work(hours=48)
    assert await hosts.sent(payment) == {}
    assert await PaymentAllocation.filter(release_at__not_isnull=True).count() == 0
    await shop.check()


async def test_a_plain_payment_is_as_it_was(shop: Shop, hosts: Hosts) -> None:
    payment = await shop.paid()
    assert payment.charge_model is ChargeModel.DESTINATION
    intent = await shop.intent(payment)
    assert intent["transfer_data"]["destination"] == shop.account.stripe_account_id
    assert await Transfer.all().count() == 0
    await hosts.work(hours=48)
    assert await Transfer.all().count() == 0
    await hosts.check(payment)
