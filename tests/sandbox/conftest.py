"""A sandbox of its own for these tests, driven over HTTP by the real `stripe` client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sandbox.driver import Driver, Listener, Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROJECT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Process]:
    """`python -m sandbox` as a child, until the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--port", "0", "--data-dir", str(folder), "--async-delay", "0.05", *options,
        stdout=asyncio.subprocess.PIPE, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().split()
    assert line[:1] == ["ready"], line
    try:
        yield Process(process, line[1])
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@pytest.fixture(scope="session")
async def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Process]:
    """One sandbox for all tests here; each uses objects of its own."""
    async with running(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
async def stripe_api(sandbox_process: Process) -> AsyncIterator[Driver]:
    """The client, and what people do; no fault and no endpoint outlives its test."""
    async with Driver.open(os.environ.get("SANDBOX_PROXY") or sandbox_process.url) as driver:
        yield driver
        await driver.control("DELETE", "faults")
        await driver.control("POST", "webhooks/resume")
        for endpoint in (await driver.v1.webhook_endpoints.list_async({"limit": 100})).data:
            await driver.v1.webhook_endpoints.delete_async(endpoint.id)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """An endpoint that keeps the events that it gets."""
    async with Listener.open() as listener:
        yield listener


@pytest.fixture
async def by_hand(stripe_api: Driver) -> AsyncIterator[Driver]:
    """The client, where payouts go on only as the test says."""
    await stripe_api.control("POST", "payouts", progress=False)
    yield stripe_api
    await stripe_api.control("POST", "payouts", progress=True)
