from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from services.embedded import valkey
from tests.services.embedded.processes import processes_of, wait_until_gone


async def test_a_second_start_finds_the_data_of_the_first_at_the_same_address(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and spaces'
    async with valkey(folder) as first, Redis.from_url(first) as client:
        await client.set("word", "kept")
    assert processes_of(tmp_path) == {}
    async with valkey(folder) as second, Redis.from_url(second) as client:
        assert second == first
        assert await client.get("word") == b"kept"
    wait_until_gone(tmp_path)


async def test_only_the_password_opens_it_and_no_command_line_shows_it(tmp_path: Path) -> None:
    async with valkey(tmp_path) as url:
        password = (tmp_path / "password").read_text()
        assert password in url
        assert not any(password in command for command in processes_of(tmp_path).values())
        async with Redis.from_url(url.replace(password, "guessed")) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()
    assert (tmp_path / "valkey.conf").stat().st_mode & 0o077 == 0
