"""Runs of the reconciliation: begun by an admin or the night, gone through window by window, gone on with after a kill.

Each account is gone through kind by kind, and each kind from the newest second of the period back to the first. After
every window what was found is written together with how far the run is, so that whoever goes on begins with the next
window, and nothing is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from models.base import from_record, new_id
from models.connect_accounts import ConnectAccountType
from models.reconciliations import Drift, ReconciliationRun
from models.sets import insert_rows
from services.balances.mirror import mirror_now
from services.changes import ChangeSet
from services.errors import InvalidInput, InvalidState
from services.exclusive import exclusively
from services.reconciliation.comparing import compare, no_access, of_another_program
from services.reconciliation.idle import is_idle
from services.reconciliation.objects.catalogue import KINDS
from services.reconciliation.objects.kind import ComparedAccount
from services.reconciliation.windows import windows
from services.stripe_gateway import StripeInvalidRequest
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from services.core import Services
    from services.viewer import Viewer

log = structlog.get_logger("reconciliation")

ACTOR: Final = "system:reconciliation"
_ACCOUNTS_AT_ONCE: Final = 100
_BEGIN: Final = """
INSERT INTO reconciliation_runs (id, from_at, to_at, requested_by, checked, matched, progress)
VALUES ($1, $2, $3, $4, 0, 0, $5) ON CONFLICT DO NOTHING
RETURNING *, pg_current_xact_id()::text::bigint AS xid
"""
_UNDER_WAY: Final = "SELECT * FROM reconciliation_runs WHERE finished_at IS NULL"
_NOTE: Final = """
UPDATE reconciliation_runs SET checked = checked + $2, matched = matched + $3, progress = $4, finished_at = $5,
    updated_at = now() WHERE id = $1 RETURNING *, pg_current_xact_id()::text::bigint AS xid
"""
# The number that was told after an earlier window is replaced.
_TELL_OF_MORE: Final = r"""
UPDATE drifts SET detail = regexp_replace(detail, ' \d+ more objects? (is|are) of another program as well\.$', '') || $5
WHERE run_id = $1 AND object_type = $2 AND stripe_id = $3 AND stripe_account = $4
"""
_NEWEST: Final = "SELECT * FROM reconciliation_runs WHERE requested_by = $1 ORDER BY id DESC LIMIT 1"
_COUNT: Final = """
SELECT count(*) FROM connect_accounts WHERE stripe_account_id IS NOT NULL AND deauthorized_at IS NULL
"""
_ACCOUNT: Final = "SELECT stripe_account_id, type FROM connect_accounts WHERE stripe_account_id = $1"
_ACCOUNTS: Final = """
SELECT stripe_account_id, type FROM connect_accounts
WHERE stripe_account_id > $1 AND deauthorized_at IS NULL ORDER BY stripe_account_id LIMIT $2
"""


class RunUnderWayError(Exception):
    """Another process is at it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; the `progress` of its row."""

    end: int
    """The period's last second, exclusive: nothing younger was settled when the run began."""
    account: str = ""
    kind: str = ""
    """'' before the account's first."""
    until: int | None = None
    """What is left of the kind ends there; None: all of it."""
    foreign: str = ""
    """The object of this kind that tells of all that another program made there."""
    more_foreign: int = 0
    """How many more of those there are."""
    accounts: int = 1
    accounts_done: int = 0
    done: bool = False
    """Whether the account is among those."""
    accounts_skipped: int = 0
    """Of those that are done: nothing had moved on them."""

    @classmethod
    def of(cls, run: ReconciliationRun) -> Progress:
        """From a run's row."""
        return cls(**run.progress)

    def as_json(self) -> str:
        """As the row keeps it."""
        return orjson.dumps(self).decode()


async def start_reconciliation(
    services: Services, *, viewer: Viewer, from_at: datetime, to_at: datetime
) -> ReconciliationRun:
    """Have a period compared by the next process that looks for work. Admins only.

    Asked for the period of the run that is under way it answers that run.

    Raises: Forbidden; InvalidInput naming `from` or `to`; InvalidState while a run of another period is under way.
    """
    viewer.require(Role.ADMIN)
    if from_at >= to_at:
        raise InvalidInput("to", "The period must end after it begins.")
    if from_at >= services.clock():
        raise InvalidInput("from", "The period must begin in the past.")
    begun = await begin(services, from_at, to_at, requested_by=viewer.caller)
    if begun is not None:
        return begun
    running = await _under_way(services)
    if running is not None and (running.from_at, running.to_at) == (from_at, to_at):
        return running
    raise InvalidState("Another period is being reconciled. Start this one when that has finished.", state="RUNNING")


async def begin(
    services: Services, from_at: datetime, to_at: datetime, *, requested_by: str
) -> ReconciliationRun | None:
    """Begin a run; None where one is under way."""
    settled = services.clock() - timedelta(seconds=services.settings.reconcile_settle_s)
    async with services.database.transaction() as connection:
        end = max(from_at, min(to_at, settled))
        accounts = 1 + await connection.fetchval(_COUNT)
        progress = Progress(end=int(end.timestamp()), accounts=accounts).as_json()
        record = await connection.fetchrow(_BEGIN, new_id(), from_at, to_at, requested_by, progress)
        if record is None:
            return None
        run = _run(record)
        changes = ChangeSet(requested_by, record["xid"])
        changes.audit("reconciliation.started", "RECONCILIATION_RUN", run.id, before=None, after=_summary(run))
        await changes.write(connection)
    return run


async def reconcile_if_due(services: Services) -> ReconciliationRun | None:
    """Go on with the run that is under way, or begin the night's where it is due.

    Returns: the finished run; None where nothing was to be done, or another process is at it.
    Raises: StripeError where Stripe cannot be reached: the next call goes on.
    """
    if await _under_way(services) is None:
        now = services.clock()
        record = await services.database.pool.fetchrow(_NEWEST, ACTOR)
        every = timedelta(seconds=services.settings.reconcile_every_s)
        if record is not None and now - record["created_at"] < every:
            return None
        period = timedelta(days=services.settings.reconcile_days)
        await begin(services, now - period, now, requested_by=ACTOR)
    try:
        return await reconcile(services)
    except RunUnderWayError:
        return None


async def reconcile(
    services: Services, *, progress: Callable[[ReconciliationRun], None] = lambda run: None
) -> ReconciliationRun | None:
    """Go through with the run that is under way.

    Args:
        progress: told of the run after each window.

    Returns: the finished run; None where none was under way.
    Raises: RunUnderWayError; StripeError where Stripe cannot be reached: the next call goes on where this one ended.
    """
    async with exclusively(services.database, "paydesk:reconciliation") as mine:
        if not mine:
            raise RunUnderWayError
        run = await _under_way(services)
        if run is None:
            return None
        async for account in _accounts(services, Progress.of(run).account):
            run = await _go_through(services, run, account, progress)
        run = await _note(services, run, Progress.of(run), finished=True)
        progress(run)
        log.info(
            "reconciliation.finished", run=str(run.id), checked=run.checked, matched=run.matched,
            accounts_skipped=Progress.of(run).accounts_skipped,
        )  # fmt: skip
        return run


async def _go_through(
    services: Services, run: ReconciliationRun, account: ComparedAccount, progress: Callable[[ReconciliationRun], None]
) -> ReconciliationRun:
    """Compare one account, or what is left of it; one on which nothing moved costs its mirror alone."""
    at = Progress.of(run)
    if at.account != account.id:
        at = replace(at, account=account.id, kind="", until=None, done=False, foreign="", more_foreign=0)
    elif at.done:
        return run
    begun = [kind.name for kind in KINDS].index(at.kind) if at.kind else 0
    first = int(run.from_at.timestamp())
    try:
        # What was only not looked at yet is no drift.
        await mirror_now(services, account.id)
        if account.id and not at.kind and await is_idle(services, account.id, run.from_at):
            return await _note(services, run, _done(at, first, skipped=1))
        for kind in KINDS[begun:]:
            if not kind.is_on(account):
                continue
            if at.kind != kind.name:
                at = replace(at, kind=kind.name, until=None, foreign="", more_foreign=0)
            until = at.end if at.until is None else at.until
            if until <= first:
                continue
            listing = partial(kind.listing, account.id)
            async for window in windows(services.stripe, listing, first, until):
                compared = await compare(services, kind, account.id, window, foreign=at.foreign)
                more = at.more_foreign + compared.more_foreign
                at = replace(at, until=window.first, foreign=compared.foreign, more_foreign=more)
                drifts = compared.drifts(run.id, kind, account.id)
                run = await _note(services, run, at, drifts, checked=compared.checked, matched=compared.matched)
                progress(run)
    except StripeInvalidRequest as error:
        if not account.id:
            raise
        log.warning("reconciliation.account_refused", account=account.id, code=error.code)
        run = await _note(services, run, at, [no_access(run.id, account.id, error.code or "refused")])
    return await _note(services, run, _done(at, first))


def _done(at: Progress, first: int, *, skipped: int = 0) -> Progress:
    """With the account that it is at."""
    return replace(
        at, kind=KINDS[-1].name, until=first, accounts_done=at.accounts_done + 1, done=True,
        accounts_skipped=at.accounts_skipped + skipped,
    )  # fmt: skip


async def _accounts(services: Services, begun: str) -> AsyncIterator[ComparedAccount]:
    """The platform, then the hosts' accounts in the order of their ids, from the one that was begun."""
    after = begun
    if not begun:
        yield ComparedAccount("")
    records = await services.database.pool.fetch(_ACCOUNT, begun)
    while True:
        for record in records:
            after = record["stripe_account_id"]
            yield ComparedAccount(after, ConnectAccountType(record["type"]))
        records = await services.database.pool.fetch(_ACCOUNTS, after, _ACCOUNTS_AT_ONCE)
        if not records:
            return


async def _note(
    services: Services, run: ReconciliationRun, at: Progress, drifts: Sequence[Drift] = (), *, checked: int = 0,
    matched: int = 0, finished: bool = False,
) -> ReconciliationRun:  # fmt: skip
    """Keep what was found and how far the run is, in one transaction."""
    finished_at = services.clock() if finished else None
    async with services.database.transaction() as connection:
        record = await connection.fetchrow(_NOTE, run.id, checked, matched, at.as_json(), finished_at)
        if record is None:
            raise RuntimeError(f"run {run.id} is gone")
        await insert_rows(connection, Drift, drifts, conflict="ON CONFLICT DO NOTHING")
        if at.more_foreign:
            words = of_another_program(at.more_foreign)
            await connection.execute(_TELL_OF_MORE, run.id, at.kind, at.foreign, at.account, words)
        noted = _run(record)
        if finished:
            found = await connection.fetchval("SELECT count(*) FROM drifts WHERE run_id = $1", run.id)
            changes = ChangeSet(run.requested_by, record["xid"])
            changes.audit(
                "reconciliation.finished", "RECONCILIATION_RUN", run.id, before=None,
                after={**_summary(noted), "drifts": found},
            )  # fmt: skip
            await changes.write(connection)
    services.metrics.reconciled.inc(checked)
    for drift in drifts:
        services.metrics.drifts.labels(drift.object_type, drift.kind.value).inc()
    return noted


async def _under_way(services: Services) -> ReconciliationRun | None:
    record = await services.database.pool.fetchrow(_UNDER_WAY)
    return None if record is None else _run(record)


def _run(record: Mapping[str, Any]) -> ReconciliationRun:
    return from_record(ReconciliationRun, {name: value for name, value in record.items() if name != "xid"})


def _summary(run: ReconciliationRun) -> dict[str, Any]:
    return {
        "from": run.from_at.isoformat(), "to": run.to_at.isoformat(), "checked": run.checked, "matched": run.matched,
    }  # fmt: skip
