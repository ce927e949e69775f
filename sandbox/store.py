"""Everything the sandbox knows, in one SQLite file.

All reading and writing goes through one connection on the event loop; changes of requests that arrive together are
committed together, and no answer leaves before its commit. A killed process loses nothing that was answered.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import orjson

from sandbox.stored import Delivery, EventRow, Row, SavedAnswer, Timer
from sandbox.tables import ADDED, INDEXES, LINKS, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_CACHED: Final = 20_000
_PAGE: Final = 200


class Store:
    """The sandbox's memory."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sql = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self._sql.execute("PRAGMA journal_mode = WAL")
        # NORMAL waits for the disk at checkpoints only: enough for a killed process, not for a lost machine.
        self._sql.execute("PRAGMA synchronous = NORMAL")
        self._sql.execute("PRAGMA wal_autocheckpoint = 8000")
        self._sql.execute("PRAGMA cache_size = -65536")
        self._sql.executescript(SCHEMA)
        for table, column, type_ in ADDED:
            if column not in {record[1] for record in self._sql.execute(f"PRAGMA table_info({table})")}:
                self._sql.execute(f"ALTER TABLE {table} ADD COLUMN {column} {type_}")
        self._sql.executescript(INDEXES)
        # As long as Stripe keeps them: keys for a day, events for thirty.
        self._sql.execute("DELETE FROM answers WHERE created < unixepoch() - 86400")
        self._sql.execute("DELETE FROM events WHERE created < unixepoch() - 30 * 86400")
        self._cache: OrderedDict[str, Row] = OrderedDict()
        self._committing: asyncio.Future[None] | None = None
        # Written together before the next commit, or before they are read.
        self._new_events: list[EventRow] = []
        self._new_answers: dict[tuple[str, str], SavedAnswer] = {}
        self._new_credits: dict[tuple[str, str, int], int] = {}
        self._seq = self._last("objects", "seq")
        self._event_seq = self._last("events", "seq")
        self._delivery_id = self._last("deliveries", "id")
        self._timer_id = self._last("timers", "id")

    def _last(self, table: str, column: str) -> int:
        return int(self._sql.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0])

    # Commits

    def begin(self) -> None:
        """Open the transaction that the next commit ends, unless it is open."""
        if not self._sql.in_transaction:
            self._sql.execute("BEGIN IMMEDIATE")

    async def committed(self) -> None:
        """Wait until all that was written so far is on disk, together with what else is written in this turn."""
        if self._committing is None:
            loop = asyncio.get_running_loop()
            self._committing = loop.create_future()
            loop.call_soon(self._commit)
        await asyncio.shield(self._committing)

    def _commit(self) -> None:
        waiting, self._committing = self._committing, None
        try:
            self._flush()
            if self._sql.in_transaction:
                self._sql.execute("COMMIT")
        except sqlite3.Error as error:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
            return
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _flush(self) -> None:
        events, answers, credits_ = self._new_events, self._new_answers, self._new_credits
        if not (events or answers or credits_):
            return
        self.begin()
        self._new_events, self._new_answers, self._new_credits = [], {}, {}
        if events:
            first = self._event_seq - len(events) + 1
            self._sql.executemany(
                "INSERT INTO events (seq, id, account, type, created, body, clock_time) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(n, e.id, e.account, e.type, e.created, e.body, e.clock_time) for n, e in enumerate(events, first)],
            )
        if answers:
            self._sql.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*key, a.request, a.status, a.body, a.request_id, a.created) for key, a in answers.items()],
            )
        if credits_:
            self._sql.executemany(
                "INSERT INTO balances VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                [(*key, amount) for key, amount in credits_.items()],
            )

    def close(self) -> None:
        """Commit and close."""
        self._flush()
        if self._sql.in_transaction:
            self._sql.execute("COMMIT")
        self._sql.close()

    # Objects

    def next_seq(self) -> int:
        """The place of a new object among all."""
        self._seq += 1
        return self._seq

    def row(self, id_: str) -> Row | None:
        """An object by its id; its body must not be changed."""
        row = self._cache.get(id_)
        if row is not None:
            self._cache.move_to_end(id_)
            return row
        record = self._sql.execute(
            "SELECT seq, account, kind, created, listed, body FROM objects WHERE id = ?", (id_,)
        ).fetchone()
        if record is None:
            return None
        seq, account, kind, created, listed, body = record
        row = Row(seq, account, kind, created, bool(listed), orjson.loads(body))
        self._keep(id_, row)
        return row

    def write(self, rows: Sequence[tuple[str, Row, bool]]) -> None:
        """Write objects: id, row, whether it is new."""
        self.begin()
        links = []
        # Before the objects: what one was linked to until now may be on disk alone.
        for id_, row, is_new in rows:
            known = None if is_new else self.row(id_)
            for field in LINKS.get(row.kind, ()):
                value = row.body.get(field)
                if known is not None and known.body.get(field) != value:
                    self._sql.execute(
                        "DELETE FROM links WHERE account = ? AND field = ? AND value = ? AND seq = ?",
                        (row.account, f"{row.kind}.{field}", known.body.get(field) or "", row.seq),
                    )
                if isinstance(value, str) and (known is None or known.body.get(field) != value):
                    links.append((row.account, f"{row.kind}.{field}", value, row.seq))
        if links:
            self._sql.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", links)
        self._sql.executemany(
            "INSERT INTO objects (seq, id, account, kind, created, listed, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (seq) DO UPDATE SET listed = excluded.listed, body = excluded.body",
            [(r.seq, id_, r.account, r.kind, r.created, r.listed, orjson.dumps(r.body)) for id_, r, _ in rows],
        )
        for id_, row, _ in rows:
            self._keep(id_, row)

    def _keep(self, id_: str, row: Row) -> None:
        self._cache[id_] = row
        self._cache.move_to_end(id_)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    def rows(
        self, account: str, kind: str, *, link: tuple[str, str] | None = None, after: Row | None = None,
        newest_first: bool = True, created: tuple[int, int] = (0, 2**53),
    ) -> Iterator[Row]:  # fmt: skip
        """A kind's objects in order of creation, from beyond `after`.

        Args:
            link: a field of `LINKS` and its value.
            created: the first and the last second, both included.
        """
        before, order = ("<", "DESC") if newest_first else (">", "ASC")
        cursor = (after.created, after.seq) if after is not None else ((2**53, 0) if newest_first else (-1, 0))
        joined = (
            "JOIN links l ON l.seq = o.seq AND l.account = o.account AND l.field = ? AND l.value = ?" if link else ""
        )
        query = (
            f"SELECT o.id, o.seq, o.created FROM objects o {joined} WHERE o.account = ? AND o.kind = ? AND o.listed"
            f" AND o.created BETWEEN ? AND ? AND (o.created, o.seq) {before} (?, ?)"
            f" ORDER BY o.created {order}, o.seq {order} LIMIT {_PAGE}"
        )
        first = (f"{kind}.{link[0]}", link[1]) if link else ()
        while True:
            page = self._sql.execute(query, (*first, account, kind, *created, *cursor)).fetchall()
            for id_, seq, created_at in page:
                cursor = (created_at, seq)
                row = self.row(id_)
                if row is not None:
                    yield row
            if len(page) < _PAGE:
                return

    # Events, deliveries and timers

    def add_events(self, events: Iterable[EventRow]) -> None:
        """Keep events."""
        for event in events:
            self._event_seq += 1
            self._new_events.append(event)

    def event(self, id_: str) -> EventRow | None:
        """An event by its id."""
        self._flush()
        record = self._sql.execute(
            "SELECT id, account, type, created, body, clock_time FROM events WHERE id = ?", (id_,)
        ).fetchone()
        return EventRow(*record) if record else None

    def events(
        self, account: str, *, globs: Sequence[str] = (), after: str | None = None, newest_first: bool = True,
        created: tuple[int, int] = (0, 2**53), kept_since: int = 0, limit: int = 100,
    ) -> list[EventRow]:  # fmt: skip
        """An account's events in the order in which they happened, of types that match any of the patterns.

        Args:
            created: the first and the last second, both included, as the events themselves say.
            kept_since: in real time.
        """
        self._flush()
        before, order = ("<", "DESC") if newest_first else (">", "ASC")
        cursor: tuple[int, int] = (2**53, 0) if newest_first else (-1, 0)
        if after is not None:
            cursor = self._sql.execute("SELECT created, seq FROM events WHERE id = ?", (after,)).fetchone() or cursor
        matching = f"AND ({' OR '.join('type GLOB ?' for _ in globs)})" if globs else ""
        # Without clocks, as almost always, the two ranges are one, which the index finds.
        first, last, by_clock = max(created[0], kept_since), created[1], ""
        clock_range: tuple[int, ...] = ()
        if self._sql.execute("SELECT 1 FROM events WHERE clock_time IS NOT NULL LIMIT 1").fetchone():
            first, last, by_clock = kept_since, 2**53, "AND coalesce(clock_time, created) BETWEEN ? AND ?"
            clock_range = created
        records = self._sql.execute(
            "SELECT id, account, type, created, body, clock_time FROM events WHERE account = ?"
            f" AND created BETWEEN ? AND ? {by_clock} AND (created, seq) {before} (?, ?) {matching}"
            f" ORDER BY created {order}, seq {order} LIMIT ?",
            (account, first, last, *clock_range, *cursor, *globs, limit),
        )
        return [EventRow(*record) for record in records]

    def add_delivery(self, event: str, endpoint: str, due: float) -> Delivery:
        """Note that an endpoint is to get an event."""
        self.begin()
        self._delivery_id += 1
        delivery = Delivery(self._delivery_id, event, endpoint, 1, due)
        self._sql.execute("INSERT INTO deliveries VALUES (?, ?, ?, 1, ?)", (delivery.id, event, endpoint, due))
        return delivery

    def postpone(self, delivery: Delivery) -> None:
        """Keep a delivery's next attempt."""
        self.begin()
        self._sql.execute(
            "UPDATE deliveries SET attempt = ?, due = ? WHERE id = ?", (delivery.attempt, delivery.due, delivery.id)
        )

    def forget_delivery(self, id_: int) -> None:
        """It has arrived, or never will."""
        self.begin()
        self._sql.execute("DELETE FROM deliveries WHERE id = ?", (id_,))

    def deliveries(self) -> list[Delivery]:
        """All that is yet to be delivered."""
        return [Delivery(*record) for record in self._sql.execute("SELECT * FROM deliveries ORDER BY id")]

    def pending_deliveries(self, event: str) -> int:
        """How many endpoints have yet to get an event."""
        return int(self._sql.execute("SELECT count(*) FROM deliveries WHERE event = ?", (event,)).fetchone()[0])

    def add_timer(self, due: float, account: str, action: str, subject: str, clock: str | None = None) -> Timer:
        """Keep what is to happen later."""
        self.begin()
        self._timer_id += 1
        timer = Timer(self._timer_id, due, account, action, subject, clock)
        self._sql.execute(
            "INSERT INTO timers VALUES (?, ?, ?, ?, ?, ?)", (timer.id, due, account, action, subject, clock)
        )
        return timer

    def drop_timers(self, action: str, subject: str) -> None:
        """What was to happen at a date will not."""
        self.begin()
        self._sql.execute(
            "DELETE FROM timers WHERE subject = ? AND action = ? AND clock IS NOT NULL", (subject, action)
        )

    def has_timer(self, id_: int) -> bool:
        """Whether something is still to happen."""
        return self._sql.execute("SELECT 1 FROM timers WHERE id = ?", (id_,)).fetchone() is not None

    def is_planned(self, action: str, subject: str) -> bool:
        """Whether something is to happen at a date."""
        query = "SELECT 1 FROM timers WHERE subject = ? AND action = ? AND clock IS NOT NULL"
        return self._sql.execute(query, (subject, action)).fetchone() is not None

    def first_timer(self, clock: str, until: int) -> Timer | None:
        """What is to happen next by a test clock, if it is due by then."""
        record = self._sql.execute(
            "SELECT * FROM timers WHERE clock = ? AND due <= ? ORDER BY due, id LIMIT 1", (clock, until)
        ).fetchone()
        return Timer(*record) if record else None

    def clocks(self) -> list[str]:
        """The test clocks by which something is yet to happen."""
        return [clock for (clock,) in self._sql.execute("SELECT DISTINCT clock FROM timers WHERE clock > ''")]

    def forget_timer(self, id_: int) -> None:
        """It has happened."""
        self.begin()
        self._sql.execute("DELETE FROM timers WHERE id = ?", (id_,))

    def timers(self) -> list[Timer]:
        """What is yet to happen in real time."""
        query = "SELECT * FROM timers WHERE coalesce(clock, '') = '' ORDER BY id"
        return [Timer(*record) for record in self._sql.execute(query)]

    # Idempotency keys

    def answer(self, account: str, key: str) -> SavedAnswer | None:
        """What a key was answered with."""
        pending = self._new_answers.get((account, key))
        if pending is not None:
            return pending
        record = self._sql.execute(
            "SELECT request, status, body, request_id, created FROM answers WHERE account = ? AND key = "
            "?", (account, key)
        ).fetchone()
        return SavedAnswer(*record) if record else None

    def save_answer(self, account: str, key: str, answer: SavedAnswer) -> None:
        """Keep a key's answer."""
        self._new_answers[account, key] = answer

    # Balances

    def add_to_balance(self, account: str, currency: str, available_on: int, amount: int) -> None:
        """Credit or debit an account; the money counts as available from then on."""
        key = (account, currency, available_on)
        self._new_credits[key] = self._new_credits.get(key, 0) + amount

    def balance(self, account: str, now: int) -> dict[str, tuple[int, int]]:
        """What an account has per currency: available, pending."""
        self._flush()
        records = self._sql.execute(
            "SELECT currency, sum(CASE WHEN available_on <= ? THEN amount ELSE 0 END),"
            " sum(CASE WHEN available_on > ? THEN amount ELSE 0 END) FROM balances WHERE account = ? GROUP BY currency",
            (now, now, account),
        )
        return {currency: (available, pending) for currency, available, pending in records}

    def negative_balances(self) -> list[tuple[str, str, int]]:
        """The accounts that have less than nothing, by currency, and how much that is."""
        self._flush()
        return self._sql.execute(
            "SELECT account, currency, sum(amount) AS total FROM balances GROUP BY account, currency HAVING total < 0"
        ).fetchall()

    def with_balance(self) -> list[str]:
        """The accounts in which something has ever moved."""
        self._flush()
        return [account for (account,) in self._sql.execute("SELECT DISTINCT account FROM balances")]

    def has_become_available(self, account: str, since: int, until: int) -> bool:
        """Whether money of an account can be used that could not be used before `since`."""
        self._flush()
        query = "SELECT 1 FROM balances WHERE account = ? AND available_on > ? AND available_on <= ? AND amount > 0"
        return self._sql.execute(query, (account, since, until)).fetchone() is not None

    # What files hold

    def save_contents(self, id_: str, contents: bytes) -> None:
        """Keep what a file holds."""
        self.begin()
        self._sql.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (id_, contents))

    def contents(self, id_: str) -> bytes:
        """What a file holds."""
        return bytes(self._sql.execute("SELECT body FROM contents WHERE id = ?", (id_,)).fetchone()[0])

    # Facts about the sandbox itself

    def fact(self, name: str) -> str | None:
        """A fact by its name."""
        record = self._sql.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if record is None else str(record[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep a fact."""
        self.begin()
        self._sql.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def statistics(self) -> dict[str, Any]:
        """How much there is."""
        return dict(self._sql.execute("SELECT kind, count(*) FROM objects GROUP BY kind").fetchall())
