"""What the use cases depend on, in one value that `server.py` and `manage.py` build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from redis.asyncio import Redis

    from models.audit import AuditEntry
    from services.batching import Batcher
    from services.completion import Operations
    from services.database import Database
    from services.live import LiveUpdates
    from services.metrics import Metrics
    from services.payments.reservation import PaymentReservation, ReservedPayment
    from services.payments.settlement import IntentSettlement, SettledPayment
    from services.stripe_gateway import StripeGateway
    from services.webhooks.inbox import IncomingEvent
    from settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that every use case may need; a use case takes it as its first argument."""

    settings: Settings
    database: Database
    redis: Redis
    stripe: StripeGateway
    operations: Operations
    live: LiveUpdates
    reservations: Batcher[PaymentReservation, ReservedPayment]
    settlements: Batcher[IntentSettlement, SettledPayment]
    inbox: Batcher[IncomingEvent, bool]
    admin_reads: Batcher[AuditEntry, None]
    metrics: Metrics
    clock: Callable[[], datetime]
