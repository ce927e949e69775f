"""What Stripe's events say of connected accounts ("Types of events": account.*, capability.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from models.connect_accounts import ConnectAccount
from services.connect.facts import AccountFacts
from services.connect.settlement import apply_facts, deauthorize, lock_account
from services.payments.facts import instant
from services.stripe_gateway import Priority, StripeInvalidRequest
from services.stripe_requests import retrieve_account
from services.transfers.times import look_at_host

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("connect.events")

# How often an account may change while it is looked up before the event is left to its next try.
_TRIES = 5


class AccountNotKnownYetError(Exception):
    """An event of an account that is just being opened: its next try finds it."""


async def account_changed(services: Services, event: WebhookEvent) -> None:
    """Settle an account as Stripe has it now: its capabilities, requirements and what it may do.

    Raises: AccountNotKnownYetError while an account is being opened, which may be this one.
    """
    account_id = event.account or str(event.payload["data"]["object"]["id"])
    account = await ConnectAccount.get_or_none(stripe_account_id=account_id)
    if account is None:
        if await ConnectAccount.filter(stripe_account_id=None).exists():
            raise AccountNotKnownYetError(account_id)
        log.info("connect.event_of_no_account", account=account_id)
        return
    for _ in range(_TRIES):
        if account.deauthorized_at is not None:
            return
        try:
            response = await services.stripe.send(retrieve_account(account_id), priority=Priority.BACKGROUND)
        except StripeInvalidRequest as error:
            # The platform has been cut off: the event that says so is on its way, or has been here.
            log.info("connect.account_out_of_reach", account=account_id, code=error.code)
            return
        facts = AccountFacts.parse(response.body)
        async with services.database.transaction() as connection:
            now, xid = await lock_account(connection, account.id)
            fresh = now.version == account.version
            if fresh:
                await apply_facts(
                    connection, now, xid, facts, platform_country=services.settings.platform_country,
                    actor=event.actor,
                )  # fmt: skip
        if fresh:
            services.live.wake()
            if not now.transfer_hindrances():
                await look_at_host(services, now.user_id)
            return
        account = now
    raise RuntimeError(f"account {account_id} kept changing while it was settled")


async def account_deauthorized(services: Services, event: WebhookEvent) -> None:
    """Note that a host has cut the platform off; the object of this event is the application, not the account."""
    account = await ConnectAccount.get_or_none(stripe_account_id=event.account)
    if account is None:
        log.info("connect.event_of_no_account", account=event.account)
        return
    async with services.database.transaction() as connection:
        now, xid = await lock_account(connection, account.id)
        at = instant(int(event.payload["created"]))
        await deauthorize(
            connection, now, xid, at, platform_country=services.settings.platform_country,
            actor=event.actor,
        )  # fmt: skip
    services.live.wake()
