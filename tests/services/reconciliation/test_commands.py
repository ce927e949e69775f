"""What operators and accountants run: their words, their exit codes."""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.reconciliation.test_charges import change

if TYPE_CHECKING:
    from tests.support.shop import Shop

ROOT = Path(__file__).parents[3]


async def operate(shop: Shop, *arguments: str) -> tuple[int, str]:
    """The exit code of a command of manage.py, and what it says."""
    settings = shop.services.settings
    secrets = {
        "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ, **{name: secret.get_secret_value() for name, secret in secrets.items() if secret},
            "STRIPE_API_BASE": settings.stripe_api_base, "PAYDESK_RECONCILE_SETTLE_S": "0",
            "PAYDESK_LOG_LEVEL": "ERROR",
        },
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, said.decode()


async def test_an_operator_finds_and_repairs(shop: Shop) -> None:
    payment = await shop.paid()
    await change(shop, payment, "status = 'PARTIALLY_REFUNDED'")
    code, said = await operate(shop, "reconcile")
    assert code == 1
    assert f"STATUS_DIFFERS charge {payment.stripe_charge_id} (platform): It is partially refunded here" in said
    assert "1 drifts are left" in said
    code, said = await operate(shop, "reconcile", "--repair")
    assert (code, "It was repaired: both sides agree." in said) == (0, True)
    code, said = await operate(shop, "reconcile")
    assert code == 0, said
    assert "0 drifts are left" in said


async def test_an_accountant_gets_the_ledger_as_csv(shop: Shop) -> None:
    payment = await shop.paid()
    code, said = await operate(shop, "ledger", "export")
    assert code == 0
    lines = list(csv.DictReader(said.splitlines()))
    assert len(lines) == await shop.services.database.pool.fetchval("SELECT count(*) FROM ledger_postings")
    assert {line["payment"] for line in lines} == {str(payment.id)}
    assert (await operate(shop, "ledger", "export", "--from", "2999-01-01"))[1].count("\n") == 1
