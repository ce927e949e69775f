"""The changes of the database's tables, oldest first; `.venv/bin/tortoise makemigrations` writes the next one."""

from __future__ import annotations

from typing import Final

from models import tortoise_config

TORTOISE_ORM: Final = tortoise_config("asyncpg://127.0.0.1:5432/paydesk")
"""What the `tortoise` command reads, which compares models with migrations and needs no database for it."""
