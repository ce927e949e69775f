from __future__ import annotations

import pytest
import stripe

from tests.sandbox.shapes import missing


async def balances(stripe_api, account=None, currency="usd"):
    """Available and pending."""
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": account} if account else {})
    return tuple(
        sum(one.amount for one in part if one.currency == currency) for part in (balance.available, balance.pending)
    )


async def transferred(stripe_api, host, amount=None, currency="usd", **params):
    wanted = {"currency": currency, "destination": host, **({"amount": amount} if amount else {}), **params}
    return await stripe_api.v1.transfers.create_async(wanted)


async def movement_of(stripe_api, payment, host):
    found = await stripe_api.v1.charges.retrieve_async(
        payment, {"expand": ["balance_transaction"]}, {"stripe_account": host}
    )
    return found.balance_transaction


async def test_a_transfer_of_a_charge_waits_for_the_charge(stripe_api):
    host = await stripe_api.host()
    intent = await stripe_api.pay(transfer_group="DIVE", expand=["latest_charge.balance_transaction"])
    charge = intent.latest_charge
    transfer = await transferred(stripe_api, host, 7_000, source_transaction=charge.id)
    assert missing(transfer.to_dict()) == []
    assert (transfer.transfer_group, transfer.source_transaction) == ("DIVE", charge.id)
    assert await balances(stripe_api, host) == (0, 7_000)
    theirs = await movement_of(stripe_api, transfer.destination_payment, host)
    ours = await stripe_api.v1.balance_transactions.retrieve_async(transfer.balance_transaction)
    assert {one.available_on for one in (theirs, ours)} == {charge.balance_transaction.available_on}
    assert {one.status for one in (theirs, ours)} == {"pending"}
    assert (ours.type, ours.amount, theirs.type, theirs.amount) == ("transfer", -7_000, "payment", 7_000)
    await stripe_api.control("POST", "balance/settle", account=host)
    assert await balances(stripe_api, host) == (7_000, 0)
    assert (await movement_of(stripe_api, transfer.destination_payment, host)).status == "available"


async def test_transfers_of_a_charge_never_exceed_it_and_belong_to_its_group(stripe_api):
    hosts = [await stripe_api.host() for _ in range(3)]
    charge = (await stripe_api.pay(transfer_group="A")).latest_charge
    for host, amount in zip(hosts, (3_333, 3_333, 3_334), strict=True):
        await transferred(stripe_api, host, amount, source_transaction=charge)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await transferred(stripe_api, hosts[0], 1, source_transaction=charge)
    assert refusal.value.code == "source_transaction_amount_exceeded"
    other = (await stripe_api.pay(transfer_group="A")).latest_charge
    with pytest.raises(stripe.InvalidRequestError, match="transfer group"):
        await transferred(stripe_api, hosts[0], 1, source_transaction=other, transfer_group="B")
    listed = (await stripe_api.v1.transfers.list_async({"transfer_group": "A", "destination": hosts[0]})).data
    assert [one.amount for one in listed] == [3_333]
    assert await balances(stripe_api, hosts[0]) == (0, 3_333)


async def test_what_was_reversed_can_be_transferred_again(stripe_api):
    host, other = await stripe_api.host(), await stripe_api.host()
    charge = (await stripe_api.pay()).latest_charge
    transfer = await transferred(stripe_api, host, source_transaction=charge)
    assert transfer.amount == 10_000
    for amount in (2_500, 500):
        reversal = await stripe_api.v1.transfers.reversals.create_async(transfer.id, {"amount": amount})
        assert missing(reversal.to_dict()) == []
    left = await stripe_api.v1.transfers.retrieve_async(transfer.id)
    assert (left.amount_reversed, left.reversed, len(left.reversals.data)) == (3_000, False, 2)
    assert sum(await balances(stripe_api, host)) == 7_000
    assert (await transferred(stripe_api, other, source_transaction=charge)).amount == 3_000
    for amount in (7_001, 0):
        with pytest.raises(stripe.InvalidRequestError):
            await stripe_api.v1.transfers.reversals.create_async(transfer.id, {"amount": amount})
    await stripe_api.v1.transfers.reversals.create_async(transfer.id)
    assert (await stripe_api.v1.transfers.retrieve_async(transfer.id)).reversed
    assert sum(await balances(stripe_api, host)) == 0


async def test_a_host_in_another_currency_gets_what_it_is_worth_and_gives_back_as_much(stripe_api):
    host = await stripe_api.host("GB")
    charge = (await stripe_api.pay(amount=9_997)).latest_charge
    transfer = await transferred(stripe_api, host, source_transaction=charge)
    movement = await movement_of(stripe_api, transfer.destination_payment, host)
    assert (movement.currency, movement.amount, movement.exchange_rate) == ("gbp", 7_898, 0.79)
    for amount in (3_333, 3_331, 3_333):
        await stripe_api.v1.transfers.reversals.create_async(transfer.id, {"amount": amount})
    assert sum(await balances(stripe_api, host, "gbp")) == 0


async def test_a_transfer_without_a_charge_needs_money_that_is_there(stripe_api):
    host = await stripe_api.host()
    await stripe_api.pay("pm_card_bypassPending", amount=9_000_000)  # others draw on the same balance
    before = await balances(stripe_api)
    await transferred(stripe_api, host, 5_000)
    assert (await balances(stripe_api))[0] == before[0] - 5_000
    assert await balances(stripe_api, host) == (5_000, 0)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await transferred(stripe_api, host, 99_999_999)
    assert refusal.value.code == "balance_insufficient"
    assert await balances(stripe_api, host) == (5_000, 0)


async def test_a_host_that_owes_is_helped_by_what_comes_next(stripe_api):
    host = await stripe_api.host()
    charge = (await stripe_api.pay()).latest_charge
    transfer = await transferred(stripe_api, host, 6_000, source_transaction=charge)
    await stripe_api.control("POST", "balance/settle", account=host)
    await stripe_api.v1.payouts.create_async({"amount": 6_000, "currency": "usd"}, {"stripe_account": host})
    await stripe_api.v1.transfers.reversals.create_async(transfer.id)
    assert await balances(stripe_api, host) == (-6_000, 0)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.payouts.create_async({"amount": 1, "currency": "usd"}, {"stripe_account": host})
    assert refusal.value.code == "balance_insufficient"
    other = (await stripe_api.pay()).latest_charge
    await transferred(stripe_api, host, 8_000, source_transaction=other)
    await stripe_api.control("POST", "balance/settle", account=host)
    assert await balances(stripe_api, host) == (2_000, 0)


async def test_a_host_for_whom_stripe_answers_is_never_left_owing(stripe_api):
    account = await stripe_api.v1.accounts.create_async({"type": "standard", "country": "US", "email": "h@example.com"})
    await stripe_api.control("POST", f"accounts/{account.id}/onboard")
    charge = (await stripe_api.pay()).latest_charge
    transfer = await transferred(stripe_api, account.id, 6_000, source_transaction=charge)
    await stripe_api.control("POST", "balance/settle", account=account.id)
    await stripe_api.v1.payouts.create_async({"amount": 5_000, "currency": "usd"}, {"stripe_account": account.id})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.transfers.reversals.create_async(transfer.id, {"amount": 1_001})
    assert refusal.value.code == "balance_insufficient"
    assert sum(await balances(stripe_api, account.id)) == 1_000
    await stripe_api.v1.transfers.reversals.create_async(transfer.id, {"amount": 1_000})
    assert sum(await balances(stripe_api, account.id)) == 0


async def test_a_host_without_the_capability_gets_nothing(stripe_api):
    host = await stripe_api.host()
    charge = (await stripe_api.pay()).latest_charge
    await stripe_api.control("POST", f"accounts/{host}/restrict")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await transferred(stripe_api, host, 1_000, source_transaction=charge)
    assert refusal.value.code == "insufficient_capabilities_for_transfer"
    assert await balances(stripe_api, host) == (0, 0)
    await stripe_api.control("POST", f"accounts/{host}/enable")
    assert (await transferred(stripe_api, host, 1_000, source_transaction=charge)).amount == 1_000


async def test_movements_are_listed_by_type_currency_source_and_time(stripe_api):
    host = await stripe_api.host()
    charge = (await stripe_api.pay()).latest_charge
    transfer = await transferred(stripe_api, host, 1_000, source_transaction=charge)
    listed = stripe_api.v1.balance_transactions.list_async
    assert [one.type for one in (await listed({"source": charge})).data] == ["charge"]
    assert [one.id for one in (await listed({"source": transfer.id})).data] == [transfer.balance_transaction]
    assert {one.type for one in (await listed({"type": "transfer", "limit": 5})).data} == {"transfer"}
    assert (await listed({"type": "tithe"})).data == []
    theirs = {"stripe_account": host}
    assert len((await listed({"currency": "usd"}, theirs)).data) == 1
    assert (await listed({"currency": "eur"}, theirs)).data == []
    made = (await listed({}, theirs)).data[0]
    assert missing(made.to_dict()) == []
    assert (await listed({"created": {"gt": made.created}}, theirs)).data == []
