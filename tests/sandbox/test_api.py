from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
import stripe


async def test_only_keys_of_test_form_open_it(stripe_api):
    for header, message in (
        ("", "You did not provide an API key"),
        ("Bearer sk_live_abcdefgh", "Invalid API Key provided"),
        ("Bearer nonsense", "Invalid API Key provided"),
        ("Bearer pk_test_abcdef", "publishable"),
    ):
        status, body, _ = await stripe_api.raw("GET", "/v1/balance", Authorization=header)
        assert (status, body["error"]["type"]) == (401, "invalid_request_error")
        assert message in body["error"]["message"]
    for header in ("Bearer rk_test_abcdef", "Basic c2tfdGVzdF9hYmNkZWY6"):
        status, _, headers = await stripe_api.raw("GET", "/v1/balance", Authorization=header)
        assert status == 200
        assert headers["Request-Id"].startswith("req_")


async def test_an_unknown_url_says_so_as_stripe_does(stripe_api):
    status, body, _ = await stripe_api.raw("GET", "/v1/foos")
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    assert body["error"]["message"].startswith("Unrecognized request URL (GET: /v1/foos)")
    assert "request_log_url" in body["error"]


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("amount=100&currency=usd&colour=red", "parameter_unknown", "colour"),
        ("amount=100&currency=usd&transfer_data[colour]=red", "parameter_unknown", "transfer_data[colour]"),
        ("amount=1.5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=abc&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=100", "parameter_missing", "currency"),
        ("amount=100&currency=usd&description[a]=b", None, "description"),
        ("amount=100&currency=usd&confirm=maybe", None, "confirm"),
        ("amount=100&currency=", "parameter_invalid_empty", "currency"),
        ("amount=100&currency=usd&transfer_data=x", None, "transfer_data"),
        ("amount=100&currency=usd&payment_method_types[]=card", "parameter_unknown", "payment_method_types"),
        ("amount=100&currency=usd&metadata[" + "k" * 41 + "]=v", None, "metadata"),
        ("amount=100&currency=usd&metadata[k]=" + "v" * 501, None, "metadata[k]"),
    ],
)
async def test_parameters_are_checked_against_what_the_package_ships(stripe_api, form, code, param):
    status, body, _ = await stripe_api.raw("POST", "/v1/payment_intents", form, Stripe_Version="2026-10-28.endive")
    assert status == 400
    assert (body["error"].get("code"), body["error"]["param"]) == (code, param)


async def test_an_older_version_still_has_its_parameters(stripe_api):
    status, body, headers = await stripe_api.raw(
        "POST", "/v1/payment_intents", "amount=100&currency=usd&payment_method_types[]=card",
        Stripe_Version="2026-05-27.dahlia"
    )
    assert (status, body["payment_method_types"]) == (200, ["card"])
    assert headers["Stripe-Version"] == "2026-05-27.dahlia"
    status, _, _ = await stripe_api.raw("GET", "/v1/balance", Stripe_Version="yesterday")
    assert status == 400


async def test_the_same_key_answers_the_same_and_other_parameters_are_refused(stripe_api):
    key, form = str(uuid4()), "email=a%40example.com"
    status, first, _ = await stripe_api.raw("POST", "/v1/customers", form, Idempotency_Key=key)
    again, second, headers = await stripe_api.raw("POST", "/v1/customers", form, Idempotency_Key=key)
    assert (status, again, first) == (200, 200, second)
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Idempotency-Key"] == key

    for path, other in (("/v1/customers", "email=b%40example.com"), ("/v1/refunds", "charge=ch_x")):
        status, body, _ = await stripe_api.raw("POST", path, other, Idempotency_Key=key)
        assert (status, body["error"]["type"]) == (400, "idempotency_error")


async def test_a_decline_is_replayed_and_charges_nothing_again(stripe_api):
    key = str(uuid4())
    ids = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refusal:
            await stripe_api.pay("pm_card_chargeDeclined", key=key)
        ids.append(refusal.value.error.payment_intent.id)
    assert ids[0] == ids[1]
    assert len((await stripe_api.v1.charges.list_async({"payment_intent": ids[0]})).data) == 1


async def test_refused_parameters_do_not_use_a_key_up(stripe_api):
    key = str(uuid4())
    status, _, _ = await stripe_api.raw("POST", "/v1/customers", "colour=red", Idempotency_Key=key)
    assert status == 400
    status, _, _ = await stripe_api.raw("POST", "/v1/customers", "name=red", Idempotency_Key=key)
    assert status == 200


async def test_of_two_requests_with_one_key_at_once_one_is_told_to_wait(stripe_api):
    await stripe_api.control("POST", "faults", latency_ms={"p50": 200, "p95": 200})
    key = str(uuid4())
    answers = await asyncio.gather(
        *(stripe_api.raw("POST", "/v1/customers", "name=x", Idempotency_Key=key) for _ in range(8))
    )
    statuses = sorted(status for status, _, _ in answers)
    assert statuses == [200, *[409] * 7]
    assert {body["error"]["code"] for status, body, _ in answers if status == 409} == {"idempotency_key_in_use"}


async def test_a_key_belongs_to_one_account(stripe_api):
    host, key = await stripe_api.host(), str(uuid4())
    _, mine, _ = await stripe_api.raw("POST", "/v1/customers", "name=x", Idempotency_Key=key)
    _, theirs, _ = await stripe_api.raw("POST", "/v1/customers", "name=x", Idempotency_Key=key, Stripe_Account=host)
    assert mine["id"] != theirs["id"]


async def test_another_platforms_or_no_account_is_forbidden(stripe_api):
    status, body, _ = await stripe_api.raw("GET", "/v1/balance", Stripe_Account="acct_none")
    assert (status, body["error"]["code"]) == (403, "account_invalid")


async def test_lists_go_by_cursor_both_ways_and_take_filters(stripe_api):
    customer = await stripe_api.customer()
    made = [(await stripe_api.pay(customer=customer)).id for _ in range(5)]
    newest_first = made[::-1]
    listed = stripe_api.v1.payment_intents.list_async

    page = await listed({"customer": customer, "limit": 2})
    assert ([i.id for i in page.data], page.has_more) == (newest_first[:2], True)
    page = await listed({"customer": customer, "limit": 3, "starting_after": newest_first[1]})
    assert ([i.id for i in page.data], page.has_more) == (newest_first[2:], False)
    page = await listed({"customer": customer, "limit": 2, "ending_before": newest_first[3]})
    assert ([i.id for i in page.data], page.has_more) == (newest_first[1:3], True)
    created = page.data[0].created
    assert (await listed({"customer": customer, "created": {"gt": created + 60}})).data == []
    assert len((await listed({"customer": customer, "created": {"gte": created - 60}})).data) == 5
    with pytest.raises(stripe.InvalidRequestError):
        await listed({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError):
        await listed({"starting_after": "pi_none"})


async def test_expand_goes_deep_and_into_lists_and_refuses_what_it_cannot(stripe_api):
    customer = await stripe_api.customer()
    await stripe_api.pay(customer=customer)
    page = await stripe_api.v1.payment_intents.list_async(
        {"customer": customer, "expand": ["data.latest_charge.balance_transaction", "data.customer"]}
    )
    assert page.data[0].latest_charge.balance_transaction.object == "balance_transaction"
    assert page.data[0].customer.email == "guest@example.com"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await stripe_api.v1.payment_intents.list_async({"expand": ["data.amount"]})


async def test_metadata_is_merged_and_emptied(stripe_api):
    customer = await stripe_api.v1.customers.create_async({"metadata": {"a": "1", "b": "2"}})
    changed = await stripe_api.v1.customers.update_async(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    changed = await stripe_api.v1.customers.update_async(customer.id, {"metadata": ""})
    assert changed.metadata.to_dict() == {}


async def test_a_deleted_customer_says_so_and_is_listed_no_more(stripe_api):
    customer = await stripe_api.customer()
    assert (await stripe_api.v1.customers.delete_async(customer)).deleted
    assert (await stripe_api.v1.customers.retrieve_async(customer)).deleted
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.pay(customer=customer)
    newest = (await stripe_api.v1.customers.list_async({"limit": 100})).data
    assert customer not in [other.id for other in newest]


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241", "exp_month": 1, "exp_year": 2040}, "incorrect_number"),
        ({"number": "4242424242424242", "exp_month": 13, "exp_year": 2040}, "invalid_expiry_month"),
        ({"number": "4242424242424242", "exp_month": 1, "exp_year": 2020}, "invalid_expiry_year"),
        ({"number": "4242424242424242", "exp_month": 1, "exp_year": 2040, "cvc": "1"}, "invalid_cvc"),
        ({"number": "4000000000000010", "exp_month": 1, "exp_year": 2040}, "card_declined"),
    ],
)
async def test_card_numbers_are_checked(stripe_api, card, code):
    with pytest.raises(stripe.CardError) as refusal:
        await stripe_api.v1.payment_methods.create_async({"type": "card", "card": card})
    assert refusal.value.code == code


async def test_a_card_number_makes_a_payment_method_that_pays(stripe_api):
    method = await stripe_api.v1.payment_methods.create_async(
        {"type": "card", "card": {"number": "4000056655665556", "exp_month": 3, "exp_year": 2041, "cvc": "123"}}
    )
    assert (method.card.last4, method.card.funding, method.card.exp_year) == ("5556", "debit", 2041)
    assert (await stripe_api.pay(method.id)).status == "succeeded"
