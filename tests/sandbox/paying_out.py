"""What the tests of payouts share: hosts with money, where it goes, and what they have."""

from __future__ import annotations

BANK = {"object": "bank_account", "country": "US", "currency": "usd"}


async def funded(stripe_api, amount=10_000, *, bank=None, country="US", settled=True):
    """A host with money, and where it goes."""
    host = await stripe_api.host(country)
    if bank is not None:
        await add_bank(stripe_api, host, bank)
    if amount:
        await stripe_api.pay(amount=amount, transfer_data={"destination": host})
    if settled:
        await stripe_api.control("POST", "balance/settle", account=host)
    return host


async def add_bank(stripe_api, host, number, **fields):
    return await stripe_api.v1.accounts.external_accounts.create_async(
        host, {"external_account": {**BANK, "account_number": number, **fields}, "default_for_currency": True}
    )


async def pay_out(stripe_api, host, amount=4_000, **params):
    return await stripe_api.v1.payouts.create_async(
        {"amount": amount, "currency": "usd", **params}, {"stripe_account": host} if host else {}
    )


async def payout_of(stripe_api, host, id_, **params):
    return await stripe_api.v1.payouts.retrieve_async(id_, params, {"stripe_account": host})


async def has(stripe_api, host=None, currency="usd"):
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": host} if host else {})
    available = {entry.currency: entry.amount for entry in balance.available}
    pending = {entry.currency: entry.amount for entry in balance.pending}
    return available.get(currency, 0), pending.get(currency, 0)


async def told(stripe_api, host, *ids):
    return [event.type for event in await stripe_api.events_of(*ids, account=host)]


async def contents(stripe_api, host, payout):
    page = await stripe_api.v1.balance_transactions.list_async(
        {"payout": payout, "limit": 100, "expand": ["data.source"]}, {"stripe_account": host}
    )
    return page.data
