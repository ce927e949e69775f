"""What a start says of itself, and to whom."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from services.endpoints import base_url, describe, development_secret, endpoints_file, introduce, read_endpoints
from settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "postgresql://paydesk:a-password-of-the-database@db.example.com:5432/paydesk_of_everybody"
GIVEN = {"database_url": DATABASE, "redis_url": "redis://:a-password-of-redis@cache", "stripe_secret_key": "sk_test_x"}


def said(settings: Settings) -> str:
    console = Console(file=io.StringIO(), width=40)
    introduce(describe(settings, "http://127.0.0.1:8000"), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_url_of_a_host_leads_back_to_it(host: str) -> None:
    parts = urlsplit(base_url(host, 8000))
    assert (parts.scheme, parts.hostname, parts.port) == ("http", host, 8000)


def test_addresses_can_be_copied_from_the_narrowest_terminal() -> None:
    assert DATABASE in said(Settings(**GIVEN, jwt_secret="s" * 32))


def test_production_says_no_password_and_makes_no_token() -> None:
    text = said(Settings(**GIVEN, jwt_secret="s" * 32, env="production"))
    assert "http://127.0.0.1:8000/graphql" in text
    assert "password" not in text
    assert "eyJ" not in text


def test_the_file_is_the_owners_alone_and_there_while_it_runs(tmp_path: Path) -> None:
    settings = development_secret(Settings(**GIVEN, data_dir=tmp_path / "data"))
    with endpoints_file(settings, describe(settings, "http://127.0.0.1:8000")):
        found = read_endpoints(settings.data_dir)
        assert found is not None
        assert set(found["tokens"]) >= {"service", "admin", "host", "guest"}
        assert (settings.data_dir / "endpoints.json").stat().st_mode & 0o077 == 0
    assert read_endpoints(settings.data_dir) is None


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="PAYDESK_DATA_DIR"):
        development_secret(Settings(data_dir=tmp_path / "file"))
