"""Building `Services` from settings, and taking it down again in order."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.audit.reads import StoreEntries
from services.batching import Batcher
from services.circuit_breaker import CircuitBreaker
from services.completion import Operations
from services.connect.accounts import CreateConnectAccount
from services.core import Services
from services.customers import CreateCustomer
from services.database import Database
from services.disputes.acceptance import AcceptDispute
from services.disputes.hosts import SettleLostDispute
from services.disputes.submission import SubmitDisputeEvidence
from services.dunning.ending import EndDunning, LiftUnpaid
from services.dunning.paying import PayInvoice
from services.dunning.taking_over import StopRetries
from services.live import LiveUpdates
from services.metrics import Metrics
from services.payment_methods.attaching import AttachPaymentMethod
from services.payment_methods.defaults import SetDefaultPaymentMethod
from services.payment_methods.detaching import DetachPaymentMethod
from services.payment_methods.setup_intents import CreateSetupIntent
from services.payments.actions import CANCEL_KIND, CAPTURE_KIND, RETRY_KIND
from services.payments.off_session import OFF_SESSION_RETRY_KIND
from services.payments.pay import PayForActivity
from services.payments.reservation import ReservePayments
from services.payments.settlement import SettleIntents
from services.payouts.creation import CreatePayout
from services.payouts.schedule import SetPayoutSchedule
from services.plans.syncing import SyncPlan
from services.rate_limiter import RateLimiter
from services.refunds.creation import RefundPayment
from services.refunds.taking_back import TakeBackRefund
from services.rsvps import CancelRsvp
from services.stripe_gateway import GatewayConfig, StripeGateway
from services.subscriptions.creation import CreateSubscription
from services.subscriptions.ending import (
    CANCEL_SUBSCRIPTION_KIND,
    PAUSE_SUBSCRIPTION_KIND,
    RESUME_SUBSCRIPTION_KIND,
)
from services.subscriptions.plan_changes import CHANGE_PLAN_KIND
from services.transfers.recovery import RecoverDebt
from services.transfers.release import SendTransfer
from services.webhooks.inbox import StoreEvents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.operations import OperationKind
    from settings import Settings

REDIS_TIMEOUT_S = 2.0


def operation_kinds() -> list[OperationKind]:
    """Every kind of operation: a new one is a row here."""
    return [
        PayForActivity(), RETRY_KIND, OFF_SESSION_RETRY_KIND, CAPTURE_KIND, CANCEL_KIND, RefundPayment(),
        TakeBackRefund(), CancelRsvp(),
        SendTransfer(), RecoverDebt(), CreateCustomer(),
        CreateConnectAccount(), SyncPlan(), CreateSubscription(), CHANGE_PLAN_KIND,
        CANCEL_SUBSCRIPTION_KIND, RESUME_SUBSCRIPTION_KIND, PAUSE_SUBSCRIPTION_KIND,
        CreateSetupIntent(), AttachPaymentMethod(), DetachPaymentMethod(), SetDefaultPaymentMethod(),
        PayInvoice(), StopRetries(), EndDunning(), LiftUnpaid(),
        SettleLostDispute(), SubmitDisputeEvidence(), AcceptDispute(), CreatePayout(), SetPayoutSchedule(),
    ]  # fmt: skip


def utc_now() -> datetime:
    """The clock of a running system."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = utc_now,
    metrics: Metrics | None = None,
) -> AsyncIterator[Services]:
    """The parts of one process, connected; on leaving, what was submitted is finished and connections are closed.

    Args:
        settings: with the database, Redis and Stripe filled in.
        metrics: what this process counts with; its own where none are given.
    """
    database_url, redis_url, key = settings.database_url, settings.redis_url, settings.stripe_secret_key
    if database_url is None or redis_url is None or key is None:
        raise ValueError("the database, Redis and Stripe must be known before services are opened")
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(
                database_url.get_secret_value(), pool_size=settings.database_pool, orm_pool_size=settings.orm_pool
            )
        )
        redis = Redis.from_url(
            redis_url.get_secret_value(), socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1), health_check_interval=30,
        )  # fmt: skip
        stack.push_async_callback(redis.aclose)
        stripe = StripeGateway(
            GatewayConfig(
                secret_key=key.get_secret_value(), api_base=settings.stripe_api_base,
                timeout_s=settings.stripe_timeout_s, deadline_s=settings.stripe_deadline_s,
                connections=settings.stripe_connections, files_base=settings.stripe_files_base,
            ),
            limiter=RateLimiter(
                redis, key="paydesk:stripe:rate", rate=settings.stripe_rate, queue_s=settings.stripe_queue_s
            ),
            breaker=CircuitBreaker(failures=settings.breaker_failures, open_s=settings.breaker_open_s),
            on_call=metrics.stripe_call,
        )  # fmt: skip
        stack.push_async_callback(stripe.close)
        live = LiveUpdates(database, redis)
        await live.start()
        metrics.watch_live(lambda: live.subscribers, lambda: live.delivered)
        stack.push_async_callback(live.close)
        reservations = Batcher(
            "reservations", database.connect, metrics.measured("reservations", ReservePayments(settings)),
            lanes=settings.batch_lanes, batch_max=settings.batch_max,
        )  # fmt: skip
        stack.push_async_callback(reservations.close)
        settlements = Batcher(
            "settlements", database.connect, metrics.measured("settlements", SettleIntents(settings, clock)),
            lanes=settings.batch_lanes, batch_max=settings.batch_max,
        )  # fmt: skip
        stack.push_async_callback(settlements.close)
        inbox = Batcher(
            "inbox", database.connect, metrics.measured("inbox", StoreEvents()), lanes=1, batch_max=settings.batch_max
        )
        stack.push_async_callback(inbox.close)
        admin_reads = Batcher(
            "admin_reads", database.connect, metrics.measured("admin_reads", StoreEntries()), lanes=1,
            batch_max=settings.batch_max,
        )  # fmt: skip
        stack.push_async_callback(admin_reads.close)
        yield Services(
            settings=settings, database=database, redis=redis, stripe=stripe,
            operations=Operations(
                operation_kinds(), lease_s=settings.lease_s, duplicate_wait_s=settings.duplicate_wait_s
            ),
            live=live, reservations=reservations, settlements=settlements, inbox=inbox, admin_reads=admin_reads,
            metrics=metrics, clock=clock,
        )  # fmt: skip
