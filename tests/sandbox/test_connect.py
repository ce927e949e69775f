from __future__ import annotations

import asyncio
import time

import pytest
import stripe

from tests.sandbox.driver import CAPABILITIES, EXPRESS


async def onboarding_link(stripe_api, account):
    return await stripe_api.v1.account_links.create_async(
        {
            "account": account, "type": "account_onboarding", "return_url": "https://example.com/done",
            "refresh_url": "https://example.com/again",
        }
    )  # fmt: skip


async def new_account(stripe_api, **params):
    return await stripe_api.v1.accounts.create_async(
        {"country": "US", "controller": EXPRESS, "capabilities": CAPABILITIES, **params}
    )


async def test_the_onboarding_page_makes_a_host_payable(stripe_api):
    account = await new_account(stripe_api)
    assert (account.charges_enabled, account.details_submitted) == (False, False)
    assert "external_account" in account.requirements.currently_due
    link = await onboarding_link(stripe_api, account.id)
    async with stripe_api.http.get(link.url) as response:
        assert "Agree and submit" in await response.text()

    async with stripe_api.http.post(
        link.url, data={"first_name": "Ada", "last_name": "Lovelace", "outcome": "submit"}, allow_redirects=False
    ) as response:
        assert response.headers["Location"] == "https://example.com/done"

    account = await stripe_api.v1.accounts.retrieve_async(account.id)
    assert (account.charges_enabled, account.payouts_enabled, account.details_submitted) == (True, True, True)
    assert account.capabilities.transfers == "active"
    assert account.requirements.currently_due == []
    people = await stripe_api.v1.accounts.persons.list_async(account.id)
    assert [person.first_name for person in people.data] == ["Ada"]
    theirs = {"stripe_account": account.id}
    kinds = {event.type for event in (await stripe_api.v1.events.list_async({}, theirs)).data}
    assert {"account.updated", "capability.updated", "person.created", "account.application.authorized"} <= kinds


async def test_an_onboarding_link_is_opened_once(stripe_api):
    account = await new_account(stripe_api)
    link = await onboarding_link(stripe_api, account.id)
    async with stripe_api.http.get(link.url) as response:
        assert response.status == 200
    async with stripe_api.http.get(link.url, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "https://example.com/again")
    async with stripe_api.http.get(link.url[:-2]) as response:
        assert response.status == 404


async def test_saving_for_later_leaves_the_requirements(stripe_api):
    account = await new_account(stripe_api)
    link = await onboarding_link(stripe_api, account.id)
    async with stripe_api.http.get(link.url):
        pass
    async with stripe_api.http.post(link.url, data={"outcome": "later"}, allow_redirects=False) as response:
        assert response.headers["Location"] == "https://example.com/done"
    assert not (await stripe_api.v1.accounts.retrieve_async(account.id)).details_submitted


async def test_only_the_express_dashboard_has_login_links(stripe_api):
    host = await stripe_api.host()
    link = await stripe_api.v1.accounts.login_links.create_async(host)
    async with stripe_api.http.get(link.url) as response:
        assert "Express dashboard" in await response.text()
    standard = await stripe_api.v1.accounts.create_async({"type": "standard", "country": "US"})
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.accounts.login_links.create_async(standard.id)


async def test_a_custom_account_is_completed_through_the_api(stripe_api):
    account = await stripe_api.v1.accounts.create_async(
        {"type": "custom", "country": "FR", "capabilities": CAPABILITIES, "business_type": "individual"}
    )
    assert account.controller.requirement_collection == "application"
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.pay(transfer_data={"destination": account.id})

    account = await stripe_api.v1.accounts.update_async(
        account.id,
        {
            "business_profile": {"mcc": "7999", "url": "https://example.com"},
            "individual": {
                "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "phone": "+33600000000",
                "dob": {"day": 1, "month": 1, "year": 1990},
                "address": {"line1": "1 rue", "city": "Paris", "postal_code": "75001"},
            },
            "tos_acceptance": {"date": 1_700_000_000, "ip": "127.0.0.1"},
            "external_account": {
                "object": "bank_account", "country": "FR", "currency": "eur",
                "account_number": "FR1420041010050500013M02606"
            },
        },
    )  # fmt: skip

    assert account.requirements.currently_due == []
    assert (account.capabilities.transfers, account.payouts_enabled) == ("active", True)
    assert account.external_accounts.data[0].last4 == "2606"


async def test_terms_cannot_be_accepted_for_a_host_whom_stripe_asks_itself(stripe_api):
    account = await new_account(stripe_api)
    with pytest.raises(stripe.InvalidRequestError, match="Terms of Service"):
        await stripe_api.v1.accounts.update_async(account.id, {"tos_acceptance": {"date": 1, "ip": "127.0.0.1"}})


async def test_a_country_without_stripe_is_refused(stripe_api):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await new_account(stripe_api, country="KP")
    assert (refusal.value.code, refusal.value.param) == ("country_unsupported", "country")


async def test_a_restricted_host_says_what_is_due_and_what_changed(stripe_api):
    host = await stripe_api.host()
    await stripe_api.control("POST", f"accounts/{host}/restrict", requirements=["individual.verification.document"])
    account = await stripe_api.v1.accounts.retrieve_async(host)
    assert account.requirements.currently_due == ["individual.verification.document"]
    assert account.requirements.disabled_reason == "requirements.past_due"
    assert (account.charges_enabled, account.capabilities.transfers) == (False, "inactive")
    events = (await stripe_api.v1.events.list_async({"type": "account.updated"}, {"stripe_account": host})).data
    assert events[0].data.previous_attributes["charges_enabled"] is True
    assert events[0].account == host
    capability = await stripe_api.v1.accounts.capabilities.retrieve_async(host, "transfers")
    assert (capability.status, capability.requirements.currently_due) == (
        "inactive",
        ["individual.verification.document"],
    )


async def test_until_its_deadline_a_host_is_paid_though_something_is_due(stripe_api):
    host, document = await stripe_api.host(), "individual.verification.document"
    deadline = int(time.time()) + 3_600
    await stripe_api.control("POST", f"accounts/{host}/restrict", requirements=[document], current_deadline=deadline)
    account = await stripe_api.v1.accounts.retrieve_async(host)
    assert (account.requirements.currently_due, account.requirements.past_due) == ([document], [])
    assert account.requirements.current_deadline == deadline
    assert (account.charges_enabled, account.requirements.disabled_reason) == (True, None)

    await stripe_api.control(
        "POST", f"accounts/{host}/restrict", requirements=[document], current_deadline=int(time.time()) + 1
    )

    async def stopped() -> bool:
        return not (await stripe_api.v1.accounts.retrieve_async(host)).charges_enabled

    for _ in range(100):
        if await stopped():
            break
        await asyncio.sleep(0.1)
    account = await stripe_api.v1.accounts.retrieve_async(host)
    assert (account.charges_enabled, account.requirements.past_due) == (False, [document])


async def test_a_host_who_leaves_is_out_of_reach(stripe_api, listener):
    host = await stripe_api.host()
    await stripe_api.v1.webhook_endpoints.create_async(
        {"url": listener.url, "enabled_events": ["account.application.deauthorized"], "connect": True}
    )

    await stripe_api.control("POST", f"accounts/{host}/deauthorize")

    event = (await listener.wait_for(1))[0]
    assert (event["account"], event["data"]["object"]["object"]) == (host, "application")
    with pytest.raises(stripe.PermissionError) as refusal:
        await stripe_api.v1.accounts.retrieve_async(host)
    assert refusal.value.error.code == "account_invalid"
    with pytest.raises(stripe.PermissionError):
        await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.pay(transfer_data={"destination": host})


async def test_transfers_come_from_a_charge_and_never_exceed_it(stripe_api):
    hosts = [await stripe_api.host(), await stripe_api.host()]
    intent = await stripe_api.pay(transfer_group="ORDER-1-" + hosts[0])
    charge = intent.latest_charge
    made = [
        await stripe_api.v1.transfers.create_async(
            {"amount": amount, "currency": "usd", "destination": host, "source_transaction": charge}
        )
        for host, amount in zip(hosts, (6_000, 3_000), strict=True)
    ]
    with pytest.raises(stripe.InvalidRequestError, match="exceeds"):
        await stripe_api.v1.transfers.create_async(
            {"amount": 1_001, "currency": "usd", "destination": hosts[0], "source_transaction": charge}
        )

    listed = await stripe_api.v1.transfers.list_async({"transfer_group": intent.transfer_group})
    assert [transfer.id for transfer in listed.data] == [made[1].id, made[0].id]
    reversal = await stripe_api.v1.transfers.reversals.create_async(made[0].id, {"amount": 2_500})
    transfer = await stripe_api.v1.transfers.retrieve_async(made[0].id)
    assert (transfer.amount_reversed, transfer.reversals.data[0].id) == (2_500, reversal.id)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unreversed"):
        await stripe_api.v1.transfers.reversals.create_async(made[0].id, {"amount": 3_501})
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": hosts[0]})
    assert balance.available[0].amount + balance.pending[0].amount == 3_500


async def test_a_transfer_needs_money_that_is_available(stripe_api):
    host = await stripe_api.host("GB")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.transfers.create_async({"amount": 99_999_999, "currency": "usd", "destination": host})
    assert refusal.value.code == "balance_insufficient"
    await stripe_api.pay("pm_card_bypassPending", amount=1_000_000)
    transfer = await stripe_api.v1.transfers.create_async({"amount": 100, "currency": "usd", "destination": host})
    assert transfer.source_transaction is None


async def test_an_application_fee_refund_credits_the_host(stripe_api):
    host = await stripe_api.host()
    intent = await stripe_api.pay(
        application_fee_amount=1_000, transfer_data={"destination": host}, expand=["latest_charge"]
    )
    fee = intent.latest_charge.application_fee
    await stripe_api.v1.application_fees.refunds.create_async(fee, {"amount": 400})
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.application_fees.refunds.create_async(fee, {"amount": 601})
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host})
    assert balance.available[0].amount + balance.pending[0].amount == 9_400
