"""The job that keeps the mirror of Stripe's books up to date, at a cost that is known.

The platform's books are listed every `balance_every_s`, a hundred balance transactions a request, and those of the two
minutes before again: a destination charge makes three there, so that 50 payments a second cost 2.1 requests a second.
A host's books are listed once within `balance_hosts_every_s` after something moved there, and else once in
`balance_idle_s`: H hosts of whom A have moved money cost at most A/`balance_hosts_every_s` + H/`balance_idle_s`
requests a second, and one more for each hundred. By default 10,000 active hosts among 100,000 cost 0.46 + 0.17 of the
80 that `stripe_rate` allows, all of them behind what people wait for. In memory there is one page.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from services.balances.mirror import mirror_now
from services.balances.rollup import add_up_days
from services.balances.settlement import settle_nobodys, settle_waiting
from services.exclusive import exclusively
from services.stripe_gateway import StripeInvalidRequest

if TYPE_CHECKING:
    from services.core import Services

log = structlog.get_logger("balances")

_AT_ONCE: Final = 100
_LATE: Final = timedelta(days=35)
"""Stripe lists events for thirty days: what a webhook tells later than that comes by hand."""

_DUE: Final = """
SELECT stripe_account FROM balance_watermarks WHERE due_at <= $1 AND stripe_account <> ''
ORDER BY due_at, id LIMIT $2
"""
_WAITING: Final = """
SELECT stripe_account, count(*) AS number FROM balance_transactions
WHERE settles_id IS NULL AND (amount_minor <> 0 OR fee_minor <> 0) GROUP BY stripe_account ORDER BY stripe_account
"""
_NOT_SOON: Final = "UPDATE balance_watermarks SET due_at = NULL, updated_at = now() WHERE stripe_account = $1"


async def mirror_due(services: Services) -> int:
    """Take in what is new of the platform and of the hosts that are due; one process does it for all.

    Returns: how many balance transactions were new.
    Raises: StripeNotSent, StripeUnknownOutcome where Stripe is away; the next run goes on.
    """
    async with exclusively(services.database, "paydesk:balances") as mine:
        if not mine:
            return 0
        found = await mirror_now(services, "")
        looked_at = {""}
        until = services.clock() + timedelta(seconds=services.settings.balance_every_s)
        while accounts := await services.database.pool.fetch(_DUE, services.clock(), _AT_ONCE):
            for record in accounts:
                found += await _mirror_host(services, record["stripe_account"])
                looked_at.add(record["stripe_account"])
                if services.clock() > until:  # many hosts take their time: the platform's own books come first
                    return found
        for record in await services.database.pool.fetch(_WAITING):
            if record["stripe_account"] not in looked_at:
                await settle_waiting(services, record["stripe_account"])
        left = await services.database.pool.fetch(_WAITING)
        services.metrics.balance_waiting.set(sum(record["number"] for record in left))
        await add_up_days(services)
    return found


async def mirror_latecomers(services: Services) -> None:
    """Join what was posted as nobody's to movements that came late after all; once a night, in the database alone."""
    async with exclusively(services.database, "paydesk:balances") as mine:
        if mine:
            await settle_nobodys(services, since=services.clock() - _LATE)


async def _mirror_host(services: Services, account: str) -> int:
    try:
        return await mirror_now(services, account)
    except StripeInvalidRequest as error:
        # The host has cut the platform off: there is nothing more to be seen.
        log.warning("balances.account_refused", account=account, code=error.code)
        await services.database.pool.execute(_NOT_SOON, account)
        return 0
