"""Every setting, with its type, default and unit. In the environment: `PAYDESK_` and the field, unless aliased."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, NonNegativeInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

SECRET_LENGTH = 32
_STRIPE_API = "https://api.stripe.com"
_STRIPE_FILES = "https://files.stripe.com"
_PAGE_HEAD = """\
# Settings

They come from the environment, or from a file `.env` in the folder that Paydesk is started in; the environment wins.
Lists are separated by commas, amounts by currency are JSON. This page is what
`.venv/bin/python manage.py settings --markdown` prints.

| variable | default | meaning |
|---|---|---|"""


class DunningEnd(StrEnum):
    """What becomes of a subscription when the last try at its invoice has failed."""

    CANCEL = "cancel"
    UNPAID = "unpaid"
    PAUSE = "pause"


class Environment(StrEnum):
    """Development starts what is missing; production never does."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class ConfigurationError(Exception):
    """Settings that Paydesk cannot start with; the text names each one."""


AmountsByCurrency = dict[Annotated[str, Field(pattern="^[A-Z]{3}$")], NonNegativeInt]


class FeeRule(BaseModel):
    """A host's own platform fee."""

    percent: Decimal = Field(ge=0, le=100)
    fixed_minor: AmountsByCurrency = {}
    minimum_minor: AmountsByCurrency = {}


def _setting(default: Any, description: str, *, name: str | None = None, **constraints: Any) -> Any:
    alias = AliasChoices(name) if name else None
    return Field(default=default, description=description, validation_alias=alias, **constraints)


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="PAYDESK_", env_file=".env", extra="ignore", populate_by_name=True, frozen=True
    )

    env: Environment = _setting(Environment.DEVELOPMENT, "development or production.")
    host: str = _setting("127.0.0.1", "The address to listen on.")
    port: int = _setting(8000, "The port to listen on.", ge=0, le=65535)
    data_dir: Path = _setting(Path(".data"), "Where embedded parts keep their data.")
    shutdown_s: float = _setting(30.0, "Seconds to finish what is in flight after SIGTERM.", gt=0)
    worker: bool = _setting(True, "Run background jobs inside the API process.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("INFO", "The least level that is logged.")

    database_url: SecretStr | None = _setting(
        None, "postgresql://… of PostgreSQL 15 or newer; embedded where unset.", name="DATABASE_URL"
    )
    redis_url: SecretStr | None = _setting(
        None, "redis://… of Redis or Valkey; embedded where unset.", name="REDIS_URL"
    )
    database_pool: int = _setting(12, "Connections for hand-written SQL.", ge=1)
    orm_pool: int = _setting(6, "Connections of the ORM.", ge=1)
    batch_lanes: int = _setting(2, "Connections that each batch of payments writes with.", ge=1)
    batch_max: int = _setting(256, "Rows that one batch takes at most.", ge=1)

    stripe_secret_key: SecretStr | None = _setting(
        None, "Stripe's secret key; the sandbox where unset.", name="STRIPE_SECRET_KEY"
    )
    stripe_api_base: str = _setting(_STRIPE_API, "Where Stripe's API is.", name="STRIPE_API_BASE")
    stripe_webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        (), "Signing secrets of the platform's endpoint, comma-separated.", name="STRIPE_WEBHOOK_SECRET"
    )
    stripe_connect_webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        (), "Signing secrets of the Connect endpoint, comma-separated.", name="STRIPE_CONNECT_WEBHOOK_SECRET"
    )
    stripe_timeout_s: float = _setting(15.0, "Seconds that one try of a call to Stripe may take.", gt=0)
    stripe_deadline_s: float = _setting(35.0, "Seconds that all tries of a call may take.", gt=0)
    stripe_rate: float = _setting(80.0, "Calls to Stripe a second, of all processes together.", gt=0)
    stripe_queue_s: float = _setting(5.0, "Seconds that a call waits for its turn.", gt=0)
    stripe_connections: int = _setting(2000, "Connections to Stripe at most.", ge=1)
    breaker_failures: int = _setting(10, "Failures in a row that open the circuit to Stripe.", ge=1)
    breaker_open_s: float = _setting(5.0, "Seconds until an open circuit lets a call through.", gt=0)
    webhook_tolerance_s: int = _setting(300, "Age in seconds of a webhook's signature at most.", gt=0)
    webhook_attempts: int = _setting(8, "Tries before an event is parked as FAILED.", ge=1)

    jwt_secret: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        (), "HS256 secrets of tokens, comma-separated; at least 32 bytes each. Made in development where unset."
    )
    jwks_url: str | None = _setting(None, "Where the public keys of RS256 and ES256 tokens are.")
    jwt_issuer: str | None = _setting(None, "The `iss` that tokens must have, if set.")
    jwt_audience: str | None = _setting(None, "The `aud` that tokens must have, if set.")

    return_urls: Annotated[tuple[str, ...], NoDecode] = _setting(
        (),
        "URL prefixes that people may be sent back to, comma-separated. http://localhost:3000 in development.",
    )
    return_url: str | None = _setting(
        None, "Where a guest comes back to, if the front end does not say; else the first prefix."
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = _setting(
        (),
        "Origins of browsers that may open websockets and call the API, comma-separated; the server's own always may.",
    )

    platform_country: str = _setting("US", "The platform's own country, ISO 3166 alpha-2.", min_length=2, max_length=2)
    fee_percent: Decimal = _setting(Decimal(10), "The platform's fee, in percent of the price.", ge=0, le=100)
    fee_fixed_minor: AmountsByCurrency = _setting({}, 'Added to the fee, minor units per currency: {"EUR": 30}.')
    fee_minimum_minor: AmountsByCurrency = _setting({}, 'The least fee, minor units per currency: {"EUR": 50}.')
    fee_overrides: dict[str, FeeRule] = _setting({}, "Fees of single hosts, by their external id.")
    hold_s: int = _setting(900, "Seconds that seats are held for a payment.", gt=0)
    release_after_s: int = _setting(
        86_400, "Seconds after an activity's end that hosts who are paid then are sent their part.", ge=0
    )
    off_session_hold_s: int = _setting(
        86_400, "Seconds that seats are held for a guest who has to come back to confirm a payment.", gt=0
    )
    off_session_retry_hours: Annotated[tuple[int, ...], NoDecode] = _setting(
        (2, 6, 12),
        "Hours until each next try at a payment that was declined while its guest was away, comma-separated, counted"
        " from the try before; none is made once the seats are not held any more.",
    )

    dunning_by: Literal["paydesk", "stripe"] = _setting(
        "paydesk", "Who tries failed invoices again: paydesk by the schedule below, or stripe by its own settings."
    )
    dunning_days: Annotated[tuple[int, ...], NoDecode] = _setting(
        (2, 5, 7, 7), "Days until each next try at a failed invoice, comma-separated, counted from the try before."
    )
    dunning_end: DunningEnd = _setting(
        DunningEnd.CANCEL, "What becomes of a subscription after the last try: cancel, unpaid or pause."
    )
    grace_s: int = _setting(
        259_200, "Seconds that a plan's features outlast what was paid for, unless it was canceled.", ge=0
    )
    card_expiry_notice_days: int = _setting(30, "Days before a saved card expires that it is made known.", ge=1)

    refund_policy: str | None = _setting(
        None, "What guests are told of refunds before they pay, word for word; it goes into the evidence of disputes."
    )
    refund_policy_url: str | None = _setting(None, "Where they read it; it goes into the evidence, too.")
    refund_fraud_warnings: Literal["never", "actionable"] = _setting(
        "never",
        "Whether a payment that its bank warns of as fraud is refunded by itself: never, or where it is actionable.",
    )
    refund_fraud_maximum_minor: AmountsByCurrency = _setting(
        {}, 'The most that is refunded so, minor units per currency; others without limit: {"EUR": 10000}.'
    )

    lease_s: float = _setting(45.0, "Seconds after which a silent process's operation is taken over.", gt=0)
    duplicate_wait_s: float = _setting(20.0, "Seconds that a duplicate waits for the first.", gt=0)
    recover_every_s: float = _setting(5.0, "Seconds between looks for unfinished operations.", gt=0)
    expire_every_s: float = _setting(5.0, "Seconds between looks for holds that ran out.", gt=0)
    inbox_every_s: float = _setting(2.0, "Seconds between looks for webhook events that were missed.", gt=0)
    release_every_s: float = _setting(10.0, "Seconds between looks for hosts' parts that can be sent.", gt=0)
    recover_debts: bool = _setting(
        True, "Keep what hosts owe, since it was taken back after they had been paid, from what they are paid next."
    )
    recover_debts_every_s: float = _setting(
        3_600.0, "Seconds between looks for what hosts in debt were sent since; each of it is tried once.", gt=0
    )
    cancellation_every_s: float = _setting(
        2.0, "Seconds between looks for guests of cancelled activities who have not got their money back.", gt=0
    )
    cancellation_at_once: int = _setting(
        8, "Guests of cancelled activities whom one process deals with at the same time.", ge=1
    )
    off_session_retry_every_s: float = _setting(
        60.0, "Seconds between looks for payments of guests who are away that are due to be tried again.", gt=0
    )
    dunning_every_s: float = _setting(60.0, "Seconds between looks for invoices that are due to be tried again.", gt=0)
    billing_review_every_s: float = _setting(
        86_400.0, "Seconds between reviews that compare every live subscription with Stripe.", gt=0
    )
    balance_every_s: float = _setting(
        300.0, "Seconds between looks at the platform's balance transactions at Stripe.", gt=0
    )
    balance_hosts_every_s: float = _setting(
        21_600.0, "Seconds until a host's balance transactions are looked at after something moved there.", gt=0
    )
    balance_idle_s: float = _setting(
        604_800.0, "Seconds between looks at the balance transactions of hosts where nothing moved.", gt=0
    )
    balance_wait_s: float = _setting(
        172_800.0, "Seconds that a balance transaction waits for what it belongs to before it counts as nobody's.", gt=0
    )
    reconcile_every_s: float = _setting(
        86_400.0, "Seconds between reconciliations that compare Stripe's books with ours by themselves.", gt=0
    )
    reconcile_days: float = _setting(3.0, "Days that such a reconciliation looks back.", gt=0)
    reconcile_settle_s: float = _setting(
        3_600.0, "Seconds that things at Stripe have to be old to be reconciled: younger ones may be on the way.", ge=0
    )
    audit_seal_every_s: float = _setting(60.0, "Seconds between seals of the audit trail.", gt=0)
    gap_every_s: float = _setting(300.0, "Seconds between passes over Stripe's list of events.", gt=0)

    body_limit: int = _setting(1_048_576, "Bytes of a request body at most.", ge=1024)
    evidence_body_limit: int = _setting(
        8_388_608, "The same of a signed-in request that names `submitDisputeEvidence`, for its files.", ge=1024
    )
    query_depth: int = _setting(15, "Levels of nesting in a GraphQL document.", ge=1)
    query_aliases: int = _setting(30, "Aliases in a GraphQL document.", ge=0)
    query_tokens: int = _setting(2_000, "Tokens of a GraphQL document.", ge=10)
    query_cost: int = _setting(5_000, "Fields, times the lists that they are in, of a GraphQL operation.", ge=10)
    introspection: bool = _setting(True, "Whether the schema may be asked for.")
    graphiql: bool = _setting(True, "Whether a browser gets GraphiQL.")
    socket_subscriptions: int = _setting(100, "Subscriptions that one websocket may have.", ge=1)
    socket_init_s: float = _setting(10.0, "Seconds until a websocket must have said who it is.", gt=0)

    @field_validator(
        "stripe_webhook_secret", "stripe_connect_webhook_secret", "jwt_secret", "return_urls", "allowed_origins",
        "dunning_days", "off_session_retry_hours", mode="before",
    )  # fmt: skip
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("dunning_days")
    @classmethod
    def _days_go_by(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if any(day < 1 for day in days):
            raise ValueError("each is a day or more")
        return days

    @field_validator("off_session_retry_hours")
    @classmethod
    def _hours_go_by(cls, hours: tuple[int, ...]) -> tuple[int, ...]:
        if any(hour < 1 for hour in hours):
            raise ValueError("each is an hour or more")
        return hours

    @field_validator("database_url", "redis_url", "stripe_secret_key", "jwks_url", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: Any) -> Any:
        return (value.strip() or None) if isinstance(value, str) else value

    @property
    def is_production(self) -> bool:
        """Whether nothing may be started or made up."""
        return self.env is Environment.PRODUCTION

    @property
    def livemode(self) -> bool:
        """Whether Stripe's key is a live one."""
        key = self.stripe_secret_key
        return key is not None and "_live_" in key.get_secret_value()

    @property
    def stripe_files_base(self) -> str:
        """Where Stripe takes files: a host of its own, while whatever stands in for Stripe has one for all."""
        return _STRIPE_FILES if self.stripe_api_base == _STRIPE_API else self.stripe_api_base

    @property
    def return_prefixes(self) -> tuple[str, ...]:
        """The allow-list, with its development default."""
        return self.return_urls or (() if self.is_production else ("http://localhost:3000",))


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment and `.env`, checked.

    Raises: ConfigurationError naming every setting that is wrong, missing or unsafe.
    """
    try:
        settings = Settings(**overrides)
    except SettingsError as error:  # what should be JSON is none
        field = re.search(r'field "(\w+)"', str(error))
        raise ConfigurationError(f"{variable_of(field[1]) if field else 'settings'}: {error}") from None
    except ValidationError as error:
        lines = [f"{variable_of(str(entry['loc'][0]))}: {entry['msg']}" for entry in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None
    problems = [*_unsafe_always(settings), *(_unsafe_in_production(settings) if settings.is_production else ())]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    info = Settings.model_fields.get(field)
    if info is not None and isinstance(info.validation_alias, AliasChoices):
        return str(info.validation_alias.choices[0])
    return field if info is None else f"PAYDESK_{field.upper()}"


def setting_rows() -> list[tuple[str, str, str]]:
    """Each setting's variable, default as one writes it in the environment, and meaning."""
    return [
        (variable_of(name), _written(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def settings_page() -> str:
    """docs/settings.md."""
    rows = [
        f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning.replace('|', chr(92) + '|')} |"
        for variable, default, meaning in setting_rows()
    ]
    return "\n".join([_PAGE_HEAD, *rows, ""])


def _written(default: Any) -> str:
    if default is None or default in ((), {}):
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _unsafe_always(settings: Settings) -> list[str]:
    short = [
        f"PAYDESK_JWT_SECRET: secret {i} has fewer than {SECRET_LENGTH} bytes."
        for i, secret in enumerate(settings.jwt_secret, 1)
        if len(secret.get_secret_value().encode()) < SECRET_LENGTH
    ]
    return [*short, *_malformed(settings)]


def _malformed(settings: Settings) -> list[str]:
    """Addresses and keys of another form than they have; what is wrong with them is not shown, as it may be secret."""
    forms = {
        "DATABASE_URL": (settings.database_url, ("postgresql://", "postgres://")),
        "REDIS_URL": (settings.redis_url, ("redis://", "rediss://", "unix://")),
        "STRIPE_SECRET_KEY": (settings.stripe_secret_key, ("sk_", "rk_")),
        "STRIPE_API_BASE": (settings.stripe_api_base, ("https://", "http://")),
        "PAYDESK_JWKS_URL": (settings.jwks_url, ("https://", "http://")),
    }
    return [
        f"{name}: must begin with {' or '.join(beginnings)}."
        for name, (value, beginnings) in forms.items()
        if value is not None
        and not (value.get_secret_value() if isinstance(value, SecretStr) else value).startswith(beginnings)
    ]


def _unsafe_in_production(settings: Settings) -> list[str]:
    required = {
        "DATABASE_URL": settings.database_url and settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url and settings.redis_url.get_secret_value(),
        "STRIPE_SECRET_KEY": settings.stripe_secret_key and settings.stripe_secret_key.get_secret_value(),
        "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret,
        "STRIPE_CONNECT_WEBHOOK_SECRET": settings.stripe_connect_webhook_secret,
        "PAYDESK_RETURN_URLS": settings.return_urls,
        "PAYDESK_JWT_SECRET or PAYDESK_JWKS_URL": settings.jwt_secret or settings.jwks_url,
    }
    problems = [f"{name}: must be set in production." for name, value in required.items() if not value]
    if not settings.stripe_api_base.startswith("https://"):
        problems.append("STRIPE_API_BASE: must be https in production; a sandbox takes no real money.")
    if any(not url.startswith("https://") for url in settings.return_urls):
        problems.append("PAYDESK_RETURN_URLS: must be https in production.")
    if any(_is_guessable(secret.get_secret_value()) for secret in settings.jwt_secret):
        problems.append("PAYDESK_JWT_SECRET: looks like a default; make one with `openssl rand -hex 32`.")
    return problems


def _is_guessable(secret: str) -> bool:
    return "secret" in secret.lower() or len(set(secret)) < SECRET_LENGTH // 4
