"""What Stripe's events say of payouts ("Types of events": payout.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from models.connect_accounts import ConnectAccount
from models.payouts import Payout
from services.balances.mirror import mirror_payout
from services.payout_requests import retrieve_payout
from services.payouts.facts import PayoutFacts
from services.payouts.settlement import settle_payout
from services.stripe_gateway import Priority, StripeInvalidRequest

if TYPE_CHECKING:
    from models.webhook_events import WebhookEvent
    from services.core import Services

log = structlog.get_logger("payouts.events")


async def payout_changed(services: Services, event: WebhookEvent) -> None:
    """Settle a payout as Stripe has it now, of a connected account or of the platform.

    What a schedule made, or somebody in a dashboard, comes in this way. Once Stripe tells what an automatic one is made
    of, and when money came back, its balance transactions are taken in.
    """
    seen = PayoutFacts.parse(event.payload["data"]["object"])
    account: ConnectAccount | None = None
    if event.account:
        account = await ConnectAccount.get_or_none(stripe_account_id=event.account)
        if account is None:
            log.info("payouts.event_of_no_account", account=event.account, payout=seen.id)
            return
    known = await Payout.get_or_none(stripe_payout_id=seen.id, stripe_account=event.account)
    if known is not None and _tells_nothing_new(known, seen):
        return
    # Events overtake one another, and a payout that was paid can still fail: ask for its state of now.
    request = retrieve_payout(seen.id, account=event.account or None)
    try:
        body = (await services.stripe.send(request, priority=Priority.BACKGROUND)).body
    except StripeInvalidRequest as error:
        # The host has cut the platform off: what was on its way is none of the platform's business any more.
        log.info("payouts.out_of_reach", account=event.account, payout=seen.id, code=error.code)
        return
    facts = PayoutFacts.parse(body)
    payout = await settle_payout(services, account, facts, actor=event.actor)
    came_back = facts.failed_at is not None and (known is None or known.failure_balance_transaction_id is None)
    if came_back or (facts.contents_known and not payout.contents_known):
        await mirror_payout(services, payout)


def _tells_nothing_new(known: Payout, seen: PayoutFacts) -> bool:
    return (
        known.status is seen.status
        and known.arrival_date == seen.arrival_date
        and known.destination is not None
        and known.contents_known >= seen.contents_known
    )
