"""The chapters in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from demo.hosts import HostChapter
from demo.payments import PaymentChapter
from demo.people import DemoError
from demo.stage import Stage
from demo.subscriptions import SubscriberChapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


async def run_demo(endpoints: Mapping[str, Any], console: Console) -> None:
    """Walk through it.

    Args:
        endpoints: what `endpoints.json` of the running system says.

    Raises: DemoError where a step does not do what it should.
    """
    if endpoints["sandbox"] is None:
        raise DemoError("the demo needs the sandbox: with real Stripe, people have to click through its pages")
    async with aiohttp.ClientSession() as http:
        stage = Stage(endpoints, http, console)
        await PaymentChapter(stage).run()
        await HostChapter(stage).run()
        await SubscriberChapter(stage).run()
