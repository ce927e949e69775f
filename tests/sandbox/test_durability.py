from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from tests.sandbox.conftest import running
from tests.sandbox.driver import Driver


async def test_what_was_answered_survives_a_kill(tmp_path, listener):
    made, keys = [], [str(uuid4()) for _ in range(30)]
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        host = await driver.host()
        registered = await driver.v1.webhook_endpoints.create_async(
            {"url": listener.url, "enabled_events": ["payment_intent.succeeded"]}
        )
        await driver.control("POST", "webhooks/pause")

        async def pay(key):
            intent = await driver.pay(key=key, transfer_data={"destination": host}, application_fee_amount=100)
            made.append((key, intent.id))

        await asyncio.gather(*(pay(key) for key in keys))
        await process.kill()
    assert listener.received == []

    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        for key, id_ in made:
            intent = await driver.pay(key=key, transfer_data={"destination": host}, application_fee_amount=100)
            assert intent.id == id_
        assert len((await driver.v1.payment_intents.list_async({"limit": 100})).data) == 30
        balance = await driver.v1.balance.retrieve_async({}, {"stripe_account": host})
        assert balance.pending[0].amount == 30 * 9_900
        got = await listener.wait_for(30)
        assert {event["data"]["object"]["id"] for event in got} == {id_ for _, id_ in made}
        assert (await driver.v1.webhook_endpoints.retrieve_async(registered.id)).url == listener.url


async def test_a_kill_in_the_midst_leaves_each_request_whole_or_undone(tmp_path):
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        host = await driver.host()
        tasks = [
            asyncio.create_task(driver.pay(transfer_data={"destination": host}, application_fee_amount=100))
            for _ in range(200)
        ]
        for answered in asyncio.as_completed(tasks[:20]):
            await answered
        await process.kill()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        made = [answer.id for answer in answers if not isinstance(answer, BaseException)]

    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        there = [
            intent async for intent in (await driver.v1.payment_intents.list_async({"limit": 100})).auto_paging_iter()
        ]
        assert set(made) <= {intent.id for intent in there}
        assert {intent.status for intent in there} == {"succeeded"}
        transfers = [tr async for tr in (await driver.v1.transfers.list_async({"limit": 100})).auto_paging_iter()]
        assert {tr.source_transaction for tr in transfers} == {intent.latest_charge for intent in there}
        balance = await driver.v1.balance.retrieve_async({}, {"stripe_account": host})
        assert balance.pending[0].amount == len(there) * 9_900


async def test_what_was_to_happen_later_still_happens_after_a_restart(tmp_path, listener):
    async with running(tmp_path, "--async-delay", "1.5") as process, Driver.open(process.url) as driver:
        intent = await driver.pay("pm_usBankAccount_success")
        assert intent.status == "processing"
        await process.kill()
    async with running(tmp_path, "--webhook", listener.url, "--webhook-secret", "whsec_x") as process:
        events = await listener.wait_for(1, about=intent.id)
        assert events[-1]["type"] == "payment_intent.succeeded"
        assert process.child.returncode is None


async def test_a_second_sandbox_on_the_same_folder_does_not_start(tmp_path):
    async with running(tmp_path):
        with pytest.raises(AssertionError):
            async with running(tmp_path):
                pass


async def test_sigterm_ends_it_cleanly(tmp_path):
    async with running(tmp_path) as process:
        process.child.terminate()
        assert await process.child.wait() == 0


async def test_each_key_opens_an_account_of_its_own_where_asked(tmp_path):
    async with (
        running(tmp_path, "--accounts-by-key") as process,
        Driver.open(process.url, "sk_test_one111") as one,
        Driver.open(process.url, "sk_test_two222") as two,
    ):
        customer = await one.customer()
        assert [c.id for c in (await one.v1.customers.list_async()).data] == [customer]
        assert (await two.v1.customers.list_async()).data == []
