"""Faults on demand: what goes wrong, how often, and the same way again for the same seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.errors import ApiError

_SHARES: Final = ("rate_429", "rate_500", "reset_before", "reset_after")
_WEBHOOK_SHARES: Final = ("duplicate", "drop")
_P95: Final = 1.6449
_SHUFFLED_OVER_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one request.

    Attributes:
        error_after: a 500 whose request took effect all the same; with `error`, one that did not.
    """

    latency_s: float = 0.0
    limited: bool = False
    error: bool = False
    error_after: bool = False
    reset_before: bool = False
    reset_after: bool = False


@dataclass(frozen=True, slots=True)
class WebhookFate:
    """What happens to one delivery: seconds after which it is sent, once for each; never where there are none."""

    delays_s: tuple[float, ...] = (0.0,)


_FINE: Final = Fate()
_DELIVERED: Final = WebhookFate()


@dataclass(slots=True)
class Faults:
    """The faults that are set now. Requests and webhooks draw from a row of their own each, in order of arrival."""

    config: dict[str, Any] = field(default_factory=dict)
    _requests: random.Random = field(default_factory=random.Random)
    _webhooks: random.Random = field(default_factory=random.Random)

    def set(self, config: Any) -> None:
        """Replace what was set.

        Raises: ApiError for what is no setting, or out of range.
        """
        _check(config)
        self.config = config
        seed = config.get("seed", 0)
        self._requests = random.Random(f"requests {seed}")  # noqa: S311 -- dice, not secrets
        self._webhooks = random.Random(f"webhooks {seed}")  # noqa: S311 -- dice, not secrets

    def clear(self) -> None:
        """Let all go well."""
        self.config = {}

    def draw(self) -> Fate:
        """The fate of the next request. All is drawn each time, so that one rate does not change another's row."""
        if not self.config:
            return _FINE
        latency = self._latency(self._requests.gauss(0, 1))
        limited, error, before, after, took_effect = (self._requests.random() for _ in range(5))
        failed = error < self.config.get("rate_500", 0)
        return Fate(
            latency_s=latency,
            limited=limited < self.config.get("rate_429", 0),
            error=failed and took_effect < 0.5,
            error_after=failed and took_effect >= 0.5,
            reset_before=before < self.config.get("reset_before", 0),
            reset_after=after < self.config.get("reset_after", 0),
        )

    def _latency(self, normal: float) -> float:
        """Log-normal, by its median and 95th percentile."""
        wanted = self.config.get("latency_ms")
        if not wanted:
            return 0.0
        median = float(wanted.get("p50", 0))
        if median <= 0:
            return 0.0
        spread = math.log(max(float(wanted.get("p95", median)), median) / median) / _P95
        return median * math.exp(spread * normal) / 1000

    def draw_webhook(self) -> WebhookFate:
        """The fate of the next delivery."""
        webhooks = self.config.get("webhooks")
        if not webhooks:
            return _DELIVERED
        dropped, doubled, *places = (self._webhooks.random() for _ in range(6))
        if dropped < webhooks.get("drop", 0):
            return WebhookFate(())
        low, high = webhooks.get("delay_ms", (0, 0))
        copies = 2 if doubled < webhooks.get("duplicate", 0) else 1
        delays = []
        for copy in range(copies):
            delay = (low + (high - low) * places[2 * copy]) / 1000
            if webhooks.get("shuffle"):
                delay += _SHUFFLED_OVER_S * places[2 * copy + 1]
            delays.append(delay)
        return WebhookFate(tuple(delays))


def _check(config: Any) -> None:
    if not isinstance(config, dict):
        raise _refused("Faults are a JSON object.")
    known = {"seed", "latency_ms", "webhooks", *_SHARES}
    for name in config:
        if name not in known:
            raise _refused(f"There is no fault {name!r}; there are {', '.join(sorted(known))}.")
    for name in _SHARES:
        _check_share(config.get(name, 0), name)
    latency = config.get("latency_ms", {})
    if not isinstance(latency, dict) or any(
        name not in ("p50", "p95") or not _is_number(value) or value < 0 for name, value in latency.items()
    ):
        raise _refused('latency_ms is {"p50": ms, "p95": ms}.')
    webhooks = config.get("webhooks", {})
    if not isinstance(webhooks, dict) or set(webhooks) - {*_WEBHOOK_SHARES, "delay_ms", "shuffle"}:
        raise _refused('webhooks is {"duplicate": share, "drop": share, "delay_ms": [low, high], "shuffle": bool}.')
    for name in _WEBHOOK_SHARES:
        _check_share(webhooks.get(name, 0), f"webhooks.{name}")
    delay = webhooks.get("delay_ms", [0, 0])
    if not isinstance(delay, list) or len(delay) != 2 or not all(_is_number(ms) and ms >= 0 for ms in delay):
        raise _refused("webhooks.delay_ms is [low, high] in milliseconds.")


def _check_share(value: Any, name: str) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        raise _refused(f"{name} is a share of requests, from 0 to 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(message: str) -> ApiError:
    return ApiError(message, is_saved=False)


def rate_limited() -> ApiError:
    """429, as Stripe limits an account."""
    return ApiError(
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
        status=429, code="rate_limit", is_saved=False,
        headers=(("Retry-After", "1"), ("Stripe-Rate-Limited-Reason", "global-rate")),
    )  # fmt: skip


def server_error() -> ApiError:
    """500, which belongs to its idempotency key and is replayed."""
    return ApiError("An unknown error occurred", status=500, type_="api_error")
