from __future__ import annotations

import os
import signal
from pathlib import Path

import asyncpg
import pytest

from services.embedded import postgres
from settings import ConfigurationError
from tests.services.embedded.processes import processes_of, wait_until_gone


async def _write(url: str, word: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
    await connection.execute("INSERT INTO words VALUES ($1)", word)
    await connection.close()


async def _read(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row["word"] for row in await connection.fetch("SELECT word FROM words ORDER BY word")]
    finally:
        await connection.close()


async def test_a_second_start_finds_the_data_of_the_first_at_the_same_address(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg", durable=False) as first:
        await _write(first, "kept")
    assert processes_of(tmp_path) == {}
    async with postgres(tmp_path / "pg", durable=False) as second:
        assert second == first
        assert await _read(second) == ["kept"]
    assert processes_of(tmp_path) == {}


async def test_only_the_password_opens_it_and_only_its_owner_can_read_the_password(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg", durable=False) as url:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password="guessed")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        await connection.close()
    assert (tmp_path / "pg" / "password").stat().st_mode & 0o077 == 0


async def test_it_starts_again_when_it_crashes_and_keeps_what_was_committed(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg") as url:
        await _write(url, "kept")
        before = (tmp_path / "pg" / "data" / "postmaster.pid").read_text().split("\n")[0]
        os.kill(int(before), signal.SIGKILL)
        while True:
            try:
                assert await _read(url) == ["kept"]
                break
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                continue
        assert (tmp_path / "pg" / "data" / "postmaster.pid").read_text().split("\n")[0] != before
    wait_until_gone(tmp_path)


async def test_data_that_were_half_made_are_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data.new" / "base").mkdir(parents=True)
    async with postgres(tmp_path / "pg", durable=False) as url:
        await _write(url, "made")
    assert not (tmp_path / "pg" / "data.new").exists()


async def test_the_mark_of_a_killed_server_whose_process_id_is_another_program_s_is_no_obstacle(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg", durable=False) as url:
        await _write(url, "kept")
    (tmp_path / "pg" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n1\n1\n\n\n  1 1\n\n")
    async with postgres(tmp_path / "pg", durable=False) as url:
        assert await _read(url) == ["kept"]


async def test_a_lost_password_is_said_to_be_lost(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg", durable=False):
        pass
    (tmp_path / "pg" / "password").unlink()
    with pytest.raises(ConfigurationError, match="password"):
        async with postgres(tmp_path / "pg", durable=False):
            pass
    wait_until_gone(tmp_path)


async def test_a_server_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="max_connections"):
        async with postgres(tmp_path / "pg", durable=False, settings={"max_connections": "none"}):
            pass
    wait_until_gone(tmp_path)
