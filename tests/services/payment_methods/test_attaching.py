"""Saving a method: once, as the first the default, and never somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.audit import AuditEntry
from models.operations import Operation, OperationStatus
from models.users import User
from services.errors import CardDeclined, DomainError, InvalidInput, InvalidState
from services.payment_methods.attaching import attach_payment_method
from tests.support.shop import SERVICE

if TYPE_CHECKING:
    from tests.support.wallet import Wallet


async def test_the_first_method_makes_a_customer_and_becomes_the_default_here_and_at_stripe(wallet: Wallet) -> None:
    method = await wallet.attach()
    assert (method.brand, method.last4, method.exp_month, method.exp_year) == ("visa", "4242", 8, 2034)
    assert (method.is_default, method.is_attached, method.country, method.type) == (True, True, "US", "card")
    assert method.stripe_customer_id == await wallet.customer()
    assert await wallet.default_at_stripe() == method.stripe_payment_method_id
    assert [row.id for row in await wallet.methods()] == [method.id]
    await wallet.check()


async def test_further_methods_leave_the_default_alone_unless_that_is_wanted(wallet: Wallet) -> None:
    first = await wallet.attach()
    second = await wallet.attach("pm_card_mastercard")
    assert not second.is_default
    assert [row.id for row in await wallet.methods()] == [first.id, second.id]
    third = await wallet.attach("pm_card_amex", default=True)
    assert third.is_default
    assert [row.id for row in await wallet.methods()] == [third.id, second.id, first.id]
    await wallet.check()


async def test_attaching_twice_answers_the_same_without_asking_stripe(wallet: Wallet) -> None:
    id_ = await wallet.made()
    first = await wallet.attach(id_)
    before = len(await wallet.sandbox.requests_to("/v1/"))
    assert (await wallet.attach(id_)).id == first.id
    assert len(await wallet.sandbox.requests_to("/v1/")) == before
    other = await wallet.attach("pm_card_mastercard", default=True)
    again = await wallet.attach(id_, default=True)
    assert (again.id, again.is_default) == (first.id, True)
    assert [row.id for row in await wallet.methods()] == [first.id, other.id]
    await wallet.check()


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("chargeDeclined", "generic_decline", True),
        ("chargeDeclinedInsufficientFunds", "insufficient_funds", True),
        ("chargeDeclinedLostCard", "lost_card", False),
        ("chargeDeclinedIncorrectCvc", "incorrect_cvc", True),
    ],
)
async def test_a_decline_says_why_and_saves_nothing(wallet: Wallet, kind: str, code: str, retryable: bool) -> None:
    with pytest.raises(CardDeclined) as refusal:
        await wallet.attach(f"pm_card_{kind}")
    assert (refusal.value.decline_code, refusal.value.retryable) == (code, retryable)
    assert await wallet.methods() == []
    assert await wallet.sandbox.every(f"/v1/customers/{await wallet.customer()}/payment_methods") == []
    # It may be tried again: the bank is asked anew.
    with pytest.raises(CardDeclined):
        await wallet.attach(f"pm_card_{kind}")
    operations = await Operation.filter(kind="attach_payment_method")
    assert [operation.status for operation in operations] == [OperationStatus.FAILED] * 2


async def refusal_of(wallet: Wallet, method: str) -> DomainError:
    with pytest.raises(InvalidInput) as refusal:
        await wallet.attach(method)
    assert await wallet.methods() == []
    return refusal.value


async def test_somebody_elses_is_refused_in_the_words_of_one_that_is_not_there(wallet: Wallet) -> None:
    other = await wallet.another()
    theirs = await other.attach()
    taken = await refusal_of(wallet, theirs.stripe_payment_method_id)
    unknown = await refusal_of(wallet, "pm_1NoSuchMethod")
    assert taken.to_record() == unknown.to_record()
    assert taken.path == ["input", "stripePaymentMethodId"]
    assert [row.id for row in await other.methods()] == [theirs.id]
    await other.check()


async def test_one_that_was_removed_cannot_be_saved_again(wallet: Wallet) -> None:
    first = await wallet.attach()
    await wallet.detach(first)
    with pytest.raises(InvalidInput):
        await wallet.attach(first.stripe_payment_method_id)
    assert await wallet.methods() == []
    await wallet.check()


@pytest.mark.parametrize(
    "text", ["", "4242424242424242", "pm_4242424242424242", "pm_1/detach", "card_1", "pm_" + "x" * 300]
)
async def test_what_is_no_method_is_refused_before_anything_is_made(wallet: Wallet, text: str) -> None:
    refusal = await refusal_of(wallet, text)
    assert text not in str(refusal) or not text
    assert (await User.get(id=wallet.guest.id)).stripe_customer_id is None
    assert await Operation.all().count() == 0


async def test_only_people_save_methods(wallet: Wallet) -> None:
    with pytest.raises(DomainError) as refusal:
        await attach_payment_method(
            wallet.services, viewer=SERVICE, stripe_payment_method_id="pm_card_visa", make_it_default=False
        )
    assert refusal.value.code == "FORBIDDEN"
    assert await Operation.all().count() == 0


async def test_a_customer_that_is_gone_is_made_again_with_the_next_try(wallet: Wallet) -> None:
    method = await wallet.attach()
    gone = await wallet.customer()
    await wallet.sandbox.delete(f"/v1/customers/{gone}")
    with pytest.raises(InvalidState) as refusal:
        await wallet.attach("pm_card_mastercard")
    assert refusal.value.state == "CUSTOMER_GONE"
    assert await wallet.methods() == []
    again = await wallet.attach("pm_card_mastercard")
    assert await wallet.customer() != gone
    assert [row.id for row in await wallet.methods()] == [again.id]
    assert method.id != again.id
    await wallet.check()


async def test_what_happens_to_a_method_stands_in_the_audit_trail_under_who_did_it(wallet: Wallet) -> None:
    first = await wallet.attach()
    await wallet.attach("pm_card_mastercard", default=True)
    await wallet.detach(first)
    entries = await AuditEntry.filter(subject_type="PAYMENT_METHOD", subject_id=first.id).order_by("id")
    caller = f"user:{wallet.guest.external_id}"
    assert {entry.actor for entry in entries} == {caller}
    assert entries[0].action == "payment_method.attached"
    assert entries[-1].action == "payment_method.detached"
    assert entries[-1].before is not None
    assert entries[-1].before["is_attached"]
    assert "4242424242424242" not in str([entry.after for entry in entries])
