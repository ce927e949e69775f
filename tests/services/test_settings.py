"""Settings: every bad value named, everything that production lacks named at once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from settings import ConfigurationError, Environment, Settings, load_settings, variable_of

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTION = {
    "PAYDESK_ENV": "production",
    "DATABASE_URL": "postgresql://paydesk:x@db/paydesk",
    "REDIS_URL": "redis://cache",
    "STRIPE_SECRET_KEY": "sk_live_x",
    "STRIPE_WEBHOOK_SECRET": "whsec_a",
    "STRIPE_CONNECT_WEBHOOK_SECRET": "whsec_b",
    "PAYDESK_JWT_SECRET": "0123456789abcdef" * 4,
    "PAYDESK_RETURN_URLS": "https://example.com/",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting but those of the test; no `.env` either."""
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.chdir(tmp_path)


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_nothing_configured_is_a_development_laptop() -> None:
    settings = load_settings()
    assert settings.env is Environment.DEVELOPMENT
    assert (settings.host, settings.port, str(settings.data_dir)) == ("127.0.0.1", 8000, ".data")
    assert settings.fee_percent > 0
    assert settings.hold_s == 900
    assert settings.return_prefixes == ("http://localhost:3000",)
    assert settings.database_url is settings.redis_url is settings.stripe_secret_key is None
    assert not settings.livemode


def test_settings_come_from_the_environment_under_their_documented_names(monkeypatch: pytest.MonkeyPatch) -> None:
    given(
        monkeypatch,
        PAYDESK_PORT="9000", PAYDESK_FEE_PERCENT="2.5", PAYDESK_FEE_FIXED_MINOR='{"EUR": 30}',
        PAYDESK_FEE_OVERRIDES='{"host_1": {"percent": "0", "minimum_minor": {"USD": 5}}}',
        PAYDESK_JWT_SECRET=f"{'a' * 32}, {'b' * 32},", STRIPE_WEBHOOK_SECRET="whsec_1,whsec_2",
        PAYDESK_RETURN_URLS="https://a.example, https://b.example/x", DATABASE_URL="postgresql://h/d",
    )  # fmt: skip
    settings = load_settings()
    assert settings.port == 9000
    assert settings.fee_percent == Decimal("2.5")
    assert settings.fee_fixed_minor == {"EUR": 30}
    assert settings.fee_overrides["host_1"].percent == 0
    assert [secret.get_secret_value() for secret in settings.jwt_secret] == ["a" * 32, "b" * 32]
    assert [secret.get_secret_value() for secret in settings.stripe_webhook_secret] == ["whsec_1", "whsec_2"]
    assert settings.return_prefixes == ("https://a.example", "https://b.example/x")
    assert settings.database_url is not None


def test_a_file_beside_the_program_counts_less_than_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PAYDESK_PORT=1111\nPAYDESK_HOST=0.0.0.0\nOTHER=ignored\n")
    given(monkeypatch, PAYDESK_PORT="2222")
    settings = load_settings()
    assert (settings.port, settings.host) == (2222, "0.0.0.0")


def test_what_a_caller_says_counts_most(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, PAYDESK_PORT="2222")
    assert load_settings(port=3333).port == 3333


BAD = {
    "PAYDESK_ENV": "staging",
    "PAYDESK_PORT": "65536",
    "PAYDESK_SHUTDOWN_S": "0",
    "PAYDESK_DATABASE_POOL": "0",
    "PAYDESK_FEE_PERCENT": "101",
    "PAYDESK_HOLD_S": "-1",
    "PAYDESK_PLATFORM_COUNTRY": "USA",
    "PAYDESK_STRIPE_RATE": "fast",
    "PAYDESK_BODY_LIMIT": "1",
    "PAYDESK_INTROSPECTION": "perhaps",
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    given(monkeypatch, **{name: BAD[name]})
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **BAD)
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert {line.split(":")[0] for line in str(error.value).splitlines()} == set(BAD)


def test_a_value_of_json_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, PAYDESK_FEE_FIXED_MINOR="{EUR: 30}")
    with pytest.raises(ConfigurationError, match=r"(?i)fee_fixed_minor"):
        load_settings()


@pytest.mark.parametrize("overrides", [{"fee_fixed_minor": {"euro": 5}}, {"fee_fixed_minor": {"EUR": -5}}])
def test_fees_in_no_currency_or_below_zero_are_named(overrides: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="PAYDESK_FEE_FIXED_MINOR"):
        load_settings(**overrides)


def test_a_short_secret_is_unsafe_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, PAYDESK_JWT_SECRET=f"{'a' * 32},short")
    with pytest.raises(ConfigurationError, match="PAYDESK_JWT_SECRET: secret 2") as error:
        load_settings()
    assert "short" not in str(error.value)


def test_production_with_everything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **PRODUCTION)
    settings = load_settings()
    assert settings.is_production
    assert settings.livemode


def test_production_names_everything_that_is_missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, PAYDESK_ENV="production")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    for name in set(PRODUCTION) - {"PAYDESK_ENV"}:
        assert name in str(error.value)


@pytest.mark.parametrize("name", sorted(set(PRODUCTION) - {"PAYDESK_ENV"}))
@pytest.mark.parametrize("value", [None, "", " "])
def test_production_does_not_start_without_each(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    given(monkeypatch, **PRODUCTION)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_API_BASE", "http://127.0.0.1:12111"), ("PAYDESK_JWT_SECRET", "a-development-secret-of-32-bytes!"),
        ("PAYDESK_RETURN_URLS", "http://example.com/"), ("PAYDESK_JWT_SECRET", "0" * 64),
    ],
)  # fmt: skip
def test_production_does_not_start_with_what_is_unsafe(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    given(monkeypatch, **{**PRODUCTION, name: value})
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_keys_from_a_jwks_url_need_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **PRODUCTION, PAYDESK_JWKS_URL="https://example.com/jwks.json")
    monkeypatch.delenv("PAYDESK_JWT_SECRET")
    assert load_settings().jwks_url == "https://example.com/jwks.json"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **PRODUCTION)
    shown = repr(load_settings()) + str(load_settings().model_dump())
    for name in ("DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "PAYDESK_JWT_SECRET"):
        assert PRODUCTION[name] not in shown


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is(field: str) -> None:
    description = Settings.model_fields[field].description
    assert description
    assert description.endswith(".")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://h/d"), ("REDIS_URL", "localhost:6379"), ("STRIPE_SECRET_KEY", "pk_test_x"),
        ("STRIPE_API_BASE", "api.stripe.com"), ("PAYDESK_JWKS_URL", "example.com/keys"),
    ],
)  # fmt: skip
def test_an_address_or_key_of_another_form_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    given(monkeypatch, **{variable: value})
    with pytest.raises(ConfigurationError, match=f"^{variable}: must begin with") as refusal:
        load_settings()
    assert value not in str(refusal.value)
