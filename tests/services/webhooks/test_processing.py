"""Handling what is in the inbox: once, by one worker, again where it failed, and parked where it keeps failing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from models.audit import AuditEntry
from models.base import new_id
from models.webhook_events import WebhookEvent, WebhookEventStatus
from services.errors import Forbidden, InvalidState, NotFound
from services.jobs import InboxWorker, run_worker
from services.pages import PageRequest
from services.stripe_gateway import StripeNotSent, StripeUnknownOutcome
from services.viewer import Role, Viewer
from services.webhooks.admin import list_webhook_events, replay_webhook_event
from services.webhooks.inbox import EventSource
from services.webhooks.processing import by_object, claim_due, process_due, process_event
from tests.services.webhooks.conftest import Clock, ScriptedStripe, make_event
from tests.services.webhooks.test_inbox import deliver

if TYPE_CHECKING:
    from services.core import Services

ADMIN = Viewer(Role.ADMIN, "root")
BROKEN: dict[str, Any] = {"object": "payment_intent"}  # has no id: its handler fails
AWAY = StripeNotSent("no connection to Stripe", retry_after_s=1)


async def row_of(id_: str = "evt_1") -> WebhookEvent:
    return await WebhookEvent.get(stripe_event_id=id_)


async def test_what_was_received_is_processed(services: Services) -> None:
    await deliver(services, make_event())
    assert await process_due(services) == 1
    row = await row_of()
    assert (row.status, row.attempts, row.last_error) == (WebhookEventStatus.PROCESSED, 1, None)
    assert row.processed_at == services.clock()
    assert await process_due(services) == 0


async def test_a_failure_is_tried_again_ever_later_and_parked_after_the_last_try(
    services: Services, clock: Clock
) -> None:
    await deliver(services, make_event(object_=BROKEN))
    waits = []
    for attempt in (1, 2):
        assert await process_due(services) == 1
        row = await row_of()
        assert (row.status, row.attempts, row.last_error) == (WebhookEventStatus.RECEIVED, attempt, "KeyError: 'id'")
        assert row.next_attempt_at is not None
        waits.append((row.next_attempt_at - clock.now).total_seconds())
        assert await process_due(services) == 0
        clock.now = row.next_attempt_at
    assert 1.5 <= waits[0] <= 2.5
    assert 4.5 <= waits[1] <= 7.5
    assert await process_due(services) == 1
    row = await row_of()
    assert (row.status, row.attempts, row.last_error) == (WebhookEventStatus.FAILED, 3, "KeyError: 'id'")
    clock.pass_(days=1)
    assert await process_due(services) == 0


async def test_stripe_being_away_uses_up_no_tries_for_a_day(
    services: Services, clock: Clock, scripted: ScriptedStripe
) -> None:
    scripted.answers["/v1/payment_intents/pi_of_nobody"] = [AWAY]
    await deliver(services, make_event(api_version="2020-08-27"))
    for _ in range(10):
        assert await process_due(services) == 1
        row = await row_of()
        assert (row.status, row.attempts) == (WebhookEventStatus.RECEIVED, 0)
        assert row.last_error == "StripeNotSent: no connection to Stripe"
        assert row.next_attempt_at is not None
        clock.now = row.next_attempt_at
    clock.pass_(days=1)
    for _ in range(3):
        assert await process_due(services) == 1
        clock.pass_(hours=2)
    assert (await row_of()).status is WebhookEventStatus.FAILED


async def test_one_bad_event_does_not_hold_up_the_others(services: Services, scripted: ScriptedStripe) -> None:
    scripted.answers["/v1/refunds/re_1"] = [StripeUnknownOutcome("no answer from Stripe")]
    await deliver(services, make_event("evt_bad", object_=BROKEN))
    await deliver(
        services,
        make_event("evt_away", "refund.updated", api_version="x", object_={"id": "re_1", "object": "refund"}),
    )
    for i in range(5):
        await deliver(services, make_event(f"evt_{i}"))
    await process_due(services)
    done = await WebhookEvent.filter(status=WebhookEventStatus.PROCESSED).count()
    assert done == 5
    assert {(await row_of("evt_bad")).status, (await row_of("evt_away")).status} == {WebhookEventStatus.RECEIVED}


async def test_an_object_of_another_api_version_is_fetched_in_ours(
    services: Services, scripted: ScriptedStripe
) -> None:
    ours = {"id": "pi_1", "object": "payment_intent", "metadata": {}}
    scripted.answers["/v1/payment_intents/pi_1"] = [ours]
    old = {"id": "pi_1", "object": "payment_intent"}  # has no metadata: the handler would fail over it
    await deliver(services, make_event(api_version="2015-10-16", object_=old))
    await process_due(services)
    row = await row_of()
    assert (row.status, row.payload["data"]["object"]) == (WebhookEventStatus.PROCESSED, old)
    assert [request.path for request in scripted.requests] == ["/v1/payment_intents/pi_1"]


async def test_workers_share_the_work_and_no_event_is_claimed_twice(services: Services) -> None:
    for i in range(40):
        await deliver(services, make_event(f"evt_{i}"))
    claims = await asyncio.gather(*(claim_due(services, 10) for _ in range(6)))
    ids = [event.id for claim in claims for event in claim]
    assert len(ids) == len(set(ids)) == 40


async def test_a_claim_that_ran_out_is_taken_over_and_the_late_worker_changes_nothing(
    services: Services, clock: Clock
) -> None:
    await deliver(services, make_event(object_=BROKEN))
    [late] = await claim_due(services, 1)
    assert await claim_due(services, 1) == []
    await WebhookEvent.filter(id=late.id).update(payload=make_event())  # what failed then works by now
    clock.pass_(seconds=2 * services.settings.lease_s + 1)
    [taken] = await claim_due(services, 1)
    assert taken.attempts == 2
    clock.pass_(seconds=-10)
    await process_event(services, late)
    assert (await row_of()).last_error is None
    await process_event(services, taken)
    assert (await row_of()).status is WebhookEventStatus.PROCESSED


async def test_an_event_that_ends_its_process_each_time_is_parked(services: Services, clock: Clock) -> None:
    await deliver(services, make_event())
    for _ in range(3):
        assert len(await claim_due(services, 1)) == 1  # and the process dies
        clock.pass_(minutes=10)
    await process_due(services)
    row = await row_of()
    assert (row.status, row.last_error) == (WebhookEventStatus.FAILED, "No try came to an end.")


async def test_what_went_wrong_is_kept_without_secrets_and_bounded(
    services: Services, scripted: ScriptedStripe
) -> None:
    leak = "pi_1_secret_abc sk_live_51abc rk_test_99 whsec_zz " + "x" * 5000
    scripted.answers["/v1/payment_intents/pi_of_nobody"] = [StripeNotSent(leak, retry_after_s=1)]
    await deliver(services, make_event(api_version="x"))
    await process_due(services)
    error = (await row_of()).last_error
    assert error is not None
    assert len(error) <= 1000
    for secret in ("abc", "51abc", "99", "zz"):
        assert secret not in error


async def test_events_of_one_thing_are_handled_in_turn(services: Services) -> None:
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1"}
    await deliver(services, make_event("evt_a", "charge.succeeded", object_=charge, created=2))
    await deliver(services, make_event("evt_b", object_={"id": "pi_1"}, created=1))
    await deliver(services, make_event("evt_c", object_={"id": "pi_2"}, created=3))
    groups = by_object(await claim_due(services, 10))
    assert [[event.stripe_event_id for event in group] for group in groups] == [["evt_b", "evt_a"], ["evt_c"]]


@pytest.mark.parametrize("broken", [{"object": {}}, {"object": []}, {"metadata": 5}, {"metadata": "x"}])
async def test_an_event_of_whatever_it_may_be_keeps_no_other_from_being_handled(
    services: Services, broken: dict[str, Any]
) -> None:
    thing = {"id": "pi_1", "object": "charge", "customer": {"id": 1}, **broken}
    await deliver(services, make_event("evt_a", object_=thing, created=1))
    await deliver(services, make_event("evt_b", object_={"id": "pi_2", **broken}, created=2))
    groups = by_object(await claim_due(services, 10))
    assert [[event.stripe_event_id for event in group] for group in groups] == [["evt_a"], ["evt_b"]]


async def test_a_parked_event_is_replayed_by_an_admin_and_it_is_on_record(services: Services, clock: Clock) -> None:
    await deliver(services, make_event(object_=BROKEN))
    for _ in range(3):
        await process_due(services)
        clock.pass_(minutes=10)
    parked = await row_of()
    assert parked.status is WebhookEventStatus.FAILED
    await WebhookEvent.filter(id=parked.id).update(payload=make_event())
    replayed = await replay_webhook_event(services, viewer=ADMIN, event_id=parked.id)
    assert (replayed.status, replayed.attempts, replayed.last_error) == (WebhookEventStatus.RECEIVED, 0, None)
    [entry] = await AuditEntry.filter(subject_id=parked.id)
    assert (entry.actor, entry.action) == ("admin:root", "webhook_event.replayed")
    assert entry.before == {"status": "FAILED", "attempts": 3, "last_error": "KeyError: 'id'"}
    await process_due(services)
    assert (await row_of()).status is WebhookEventStatus.PROCESSED


async def test_only_admins_replay_and_list(services: Services) -> None:
    await deliver(services, make_event())
    row = await row_of()
    for role in (Role.USER, Role.SERVICE):
        viewer = Viewer(role, "x")
        with pytest.raises(Forbidden):
            _ = await replay_webhook_event(services, viewer=viewer, event_id=row.id)
        with pytest.raises(Forbidden):
            await list_webhook_events(services, viewer=viewer, status=None, page=PageRequest.of())
    with pytest.raises(NotFound):
        _ = await replay_webhook_event(services, viewer=ADMIN, event_id=new_id())
    assert await AuditEntry.all().count() == 0


async def test_an_event_that_is_being_handled_is_not_replayed(services: Services, clock: Clock) -> None:
    await deliver(services, make_event())
    [claimed] = await claim_due(services, 1)
    with pytest.raises(InvalidState):
        _ = await replay_webhook_event(services, viewer=ADMIN, event_id=claimed.id)
    assert (await row_of()).attempts == 1
    clock.pass_(minutes=10)  # its worker is gone
    assert (await replay_webhook_event(services, viewer=ADMIN, event_id=claimed.id)).attempts == 0


async def test_events_are_listed_newest_first_by_status_and_page(services: Services) -> None:
    for i in range(5):
        await deliver(services, make_event(f"evt_{i}"))
    await deliver(services, make_event("evt_other", "customer.created"))
    page = await list_webhook_events(
        services, viewer=ADMIN, status=WebhookEventStatus.RECEIVED, page=PageRequest.of(first=3)
    )
    assert [event.stripe_event_id for event in page.items] == ["evt_4", "evt_3", "evt_2"]
    assert page.has_next
    next_page = PageRequest.of(first=3, after=page.items[-1].id)
    rest = await list_webhook_events(services, viewer=ADMIN, status=WebhookEventStatus.RECEIVED, page=next_page)
    assert [event.stripe_event_id for event in rest.items] == ["evt_1", "evt_0"]
    assert not rest.has_next
    everything = await list_webhook_events(services, viewer=ADMIN, status=None, page=PageRequest.of())
    assert len(everything.items) == 6


async def _processed(count: int) -> None:
    async with asyncio.timeout(10):
        while await WebhookEvent.filter(status=WebhookEventStatus.PROCESSED).count() < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_worker_is_told_of_events_and_stops_when_it_should(services: Services) -> None:
    patient = services.settings.model_copy(update={"inbox_every_s": 60.0})
    object.__setattr__(services, "settings", patient)
    stop = asyncio.Event()
    worker = asyncio.create_task(InboxWorker(services).run(stop))
    await deliver(services, make_event("evt_0"))
    await _processed(1)
    for i in range(1, 60):
        await deliver(services, make_event(f"evt_{i}"))
    await _processed(60)
    stop.set()
    await asyncio.wait_for(worker, 5)


async def test_a_worker_finds_what_nobody_told_it_of_and_survives_the_loss_of_its_connections(
    services: Services,
) -> None:
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(services, stop))
    await deliver(services, make_event("evt_0"))
    await _processed(1)
    async with services.database.pool.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        await connection.execute(
            "INSERT INTO webhook_events (id, stripe_event_id, account, stripe_created_at, type, payload)"
            " VALUES ($1, 'evt_1', '', now(), 'payment_intent.succeeded', $2)",
            new_id(), '{"data": {"object": {"id": "pi_1", "object": "x", "metadata": {}}}}',
        )  # fmt: skip
    await _processed(2)
    stop.set()
    await asyncio.wait_for(worker, 5)


async def test_connect_events_of_what_only_the_platform_has_are_not_believed(services: Services) -> None:
    await deliver(services, make_event(type_="customer.updated", account="acct_1"), EventSource.CONNECT)
    assert (await row_of()).status is WebhookEventStatus.IGNORED
    assert await process_due(services) == 0


async def test_while_stripe_is_away_a_worker_takes_only_a_few(services: Services, scripted: ScriptedStripe) -> None:
    scripted.answers["/v1/payment_intents/pi_of_nobody"] = [AWAY]
    for i in range(50):
        await deliver(services, make_event(f"evt_{i}", api_version="x"))
    for _ in range(5):
        scripted.breaker.failed()
    stop = asyncio.Event()
    worker = asyncio.create_task(InboxWorker(services).run(stop))
    async with asyncio.timeout(10):
        while not await WebhookEvent.filter(last_error__isnull=False).count():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(worker, 5)
    assert await WebhookEvent.filter(last_error__isnull=False).count() <= 8
    assert len(scripted.requests) <= 8
