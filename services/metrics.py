"""What one process counts, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self.registry = registry
        self.webhooks = Counter(
            "paydesk_webhooks", "Webhook requests.", ["source", "outcome"], registry=registry
        )
        self.webhook_events = Counter(
            "paydesk_webhook_events", "Events taken from the inbox.", ["type", "outcome"], registry=registry
        )
        self.webhook_seconds = Histogram(
            "paydesk_webhook_handling_seconds", "Handling one event.", ["type"], buckets=_SECONDS, registry=registry
        )
        self.inbox_waiting = Gauge("paydesk_inbox_waiting", "Events that wait to be handled.", registry=registry)
        self.inbox_oldest_s = Gauge(
            "paydesk_inbox_oldest_seconds", "Age of the oldest event that is due.", registry=registry
        )
        self.swept = Counter(
            "paydesk_swept_events", "Events that no webhook brought, found in Stripe's lists.", registry=registry
        )
        self.stripe_seconds = Histogram(
            "paydesk_stripe_call_seconds", "Each try of a call to Stripe.", ["resource", "outcome"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.batch_items = Histogram(
            "paydesk_batch_items", "Items in one transaction.", ["batch"], buckets=_ITEMS, registry=registry
        )
        self.batch_seconds = Histogram(
            "paydesk_batch_seconds", "One transaction, without its commit.", ["batch"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.operations_unfinished = Gauge(
            "paydesk_operations_unfinished", "Operations under way or left by a process that died.", registry=registry
        )
        self.operations_parked = Gauge(
            "paydesk_operations_parked", "Operations that only a person can settle.", registry=registry
        )
        self.recovered = Counter("paydesk_recovered_operations", "Operations taken over.", registry=registry)
        self.expired = Counter("paydesk_expired_holds", "Holds of seats that ran out.", registry=registry)
        self.dunning = Counter(
            "paydesk_dunning", "Failed renewals: begun, and how each ended.", ["outcome"], registry=registry
        )
        self.setup_failures = Counter(
            "paydesk_setup_failures", "Payment methods that could not be saved.", registry=registry
        )
        self.expiring_cards = Counter(
            "paydesk_expiring_cards", "Saved cards that were noted to be about to expire.", registry=registry
        )
        self.audit_sealed = Counter("paydesk_audit_sealed", "Audit entries that were sealed.", registry=registry)
        self.audit_unsealed = Gauge(
            "paydesk_audit_unsealed", "Audit entries that are not sealed yet; counted up to 100,000.", registry=registry
        )
        self.audit_oldest_s = Gauge(
            "paydesk_audit_unsealed_oldest_seconds", "Age of the oldest audit entry that is not sealed.",
            registry=registry,
        )  # fmt: skip
        self.billing_review_total = Gauge(
            "paydesk_billing_review_total", "Subscriptions that the review of billing compares.", registry=registry
        )
        self.billing_review_checked = Gauge(
            "paydesk_billing_review_checked", "Of those, how many it has compared.", registry=registry
        )
        self.billing_review_repaired = Counter(
            "paydesk_billing_review_repaired", "Subscriptions that were not as Stripe had them.", registry=registry
        )
        self.billing_review_failed = Counter(
            "paydesk_billing_review_failed", "Subscriptions that could not be put right.", registry=registry
        )
        self.job_failures = Counter("paydesk_job_failures", "Runs of a job that failed.", ["job"], registry=registry)
        self.live_subscribers = Gauge("paydesk_live_subscribers", "Subscriptions followed now.", registry=registry)
        self.live_delivered = Gauge(
            "paydesk_live_delivered", "Changes handed to subscriptions since the start.", registry=registry
        )
        self._count_books(registry)
        self._count_what_waits(registry)

    def _count_books(self, registry: CollectorRegistry) -> None:
        """What is told of Stripe's books beside ours."""
        self.balance_mirrored = Counter(
            "paydesk_balance_transactions", "Balance transactions taken in from Stripe.", registry=registry
        )
        self.balance_unknown = Counter(
            "paydesk_balance_transactions_of_unknown_types", "Those of a type that is not known here.", ["type"],
            registry=registry,
        )  # fmt: skip
        self.balance_waiting = Gauge(
            "paydesk_balance_transactions_waiting", "Those that belong to nothing known here yet.", registry=registry
        )
        self.reconciled = Counter(
            "paydesk_reconciled_objects", "Objects at Stripe that were compared with ours.", registry=registry
        )
        self.drifts = Counter(
            "paydesk_drifts", "Differences that reconciliations found.", ["object", "kind"], registry=registry
        )

    def _count_what_waits(self, registry: CollectorRegistry) -> None:
        """What is told of money that hosts, guests and banks wait for."""
        self.transfers_overdue = Gauge(
            "paydesk_transfers_overdue", "Hosts' parts that are due and not looked at; counted up to 100,000.",
            registry=registry,
        )  # fmt: skip
        self.transfers_overdue_oldest_s = Gauge(
            "paydesk_transfers_overdue_oldest_seconds", "How long the first of them has been due.", registry=registry
        )
        self.transfers_refused = Gauge(
            "paydesk_transfers_refused", "Hosts' parts that Stripe refused to send, and that are tried again.",
            registry=registry,
        )  # fmt: skip
        self.indebted_hosts = Gauge(
            "paydesk_indebted_hosts", "Hosts who owe the platform.", ["currency"], registry=registry
        )
        self.host_debts_minor = Gauge(
            "paydesk_host_debts_minor_units", "What they owe, in minor units.", ["currency"], registry=registry
        )
        self.disputes_unanswered = Gauge(
            "paydesk_disputes_unanswered", "Disputes that wait for evidence, by whether their deadline is near.",
            ["deadline"], registry=registry,
        )  # fmt: skip
        self.cancellation_items_failed = Gauge(
            "paydesk_cancellation_items_failed",
            "Guests of activities that were called off who could not be refunded; counted up to 100,000.",
            registry=registry,
        )  # fmt: skip

    def stripe_call(self, resource: str, outcome: str, seconds: float) -> None:
        """Count a try of a call to Stripe; the gateway's `on_call`."""
        self.stripe_seconds.labels(resource, outcome).observe(seconds)

    def measured(
        self, batch: str, flush: Callable[[Any, Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]]
    ) -> _Measured[Item, Outcome]:
        """A batch's flush that also says how large its batches are and how long they take."""
        return _Measured(flush, self.batch_items.labels(batch), self.batch_seconds.labels(batch))

    def watch_live(self, subscribers: Callable[[], float], delivered: Callable[[], float]) -> None:
        """Ask these when Prometheus asks."""
        self.live_subscribers.set_function(subscribers)
        self.live_delivered.set_function(delivered)


class _Measured(Generic[Item, Outcome]):
    def __init__(
        self,
        flush: Callable[[Any, Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        items: Histogram,
        seconds: Histogram,
    ) -> None:
        self._flush = flush
        self._items = items
        self._seconds = seconds

    async def __call__(self, connection: Any, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        started = time.perf_counter()
        outcomes = await self._flush(connection, items)
        self._items.observe(len(items))
        self._seconds.observe(time.perf_counter() - started)
        return outcomes
