"""Real PostgreSQL, real Valkey and the sandbox, started as children where nothing else is configured."""

from __future__ import annotations

from services.embedded.parts import EmbeddedParts, embedded_parts
from services.embedded.postgres import postgres
from services.embedded.sandbox import SECRET_KEY, WebhookEndpoint, sandbox
from services.embedded.valkey import valkey

__all__ = ["SECRET_KEY", "EmbeddedParts", "WebhookEndpoint", "embedded_parts", "postgres", "sandbox", "valkey"]
