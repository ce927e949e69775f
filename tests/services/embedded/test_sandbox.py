from __future__ import annotations

from pathlib import Path

import aiohttp

from services.embedded import SECRET_KEY, WebhookEndpoint, sandbox
from tests.services.embedded.processes import processes_of, wait_until_gone

HEADERS = {"Authorization": f"Bearer {SECRET_KEY}"}


async def test_a_second_start_finds_the_state_of_the_first_at_the_same_address(tmp_path: Path) -> None:
    async with (
        sandbox(tmp_path) as first,
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.post(f"{first}/v1/customers", data={"email": "kept@example.com"}) as response,
    ):
        customer = await response.json()
    assert processes_of(tmp_path) == {}
    async with sandbox(tmp_path) as second, aiohttp.ClientSession(headers=HEADERS) as http:
        assert second == first
        async with http.get(f"{second}/v1/customers/{customer['id']}") as response:
            assert (await response.json())["email"] == "kept@example.com"
    wait_until_gone(tmp_path)


async def test_events_go_to_the_endpoints_that_it_is_started_with(tmp_path: Path) -> None:
    platform = WebhookEndpoint("http://127.0.0.1:9/webhooks/stripe", "whsec_platform")
    connect = WebhookEndpoint("http://127.0.0.1:9/webhooks/stripe/connect", "whsec_connect")
    async with (
        sandbox(tmp_path, platform=platform, connect=connect) as url,
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.get(f"{url}/v1/webhook_endpoints") as response,
    ):
        listed = (await response.json())["data"]
    assert {endpoint["url"] for endpoint in listed} == {platform.url, connect.url}
    wait_until_gone(tmp_path)
