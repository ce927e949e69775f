"""Ending tasks, also those whose client swallows a cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from services.cancellation import end_tasks


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            swallowed += 1
            if swallowed == 3:
                await asyncio.sleep(60)

    async def failing() -> None:
        raise ValueError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert all(task.done() for task in tasks)


async def test_no_tasks_are_nothing_to_wait_for() -> None:
    await end_tasks([])
