"""What one request reads and changes; all of it happens, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from sandbox import API_VERSION
from sandbox.errors import ApiError, Json, missing_object
from sandbox.ids import new_id
from sandbox.stored import EventRow, Row

if TYPE_CHECKING:
    from sandbox.store import Store


@dataclass(slots=True)
class Origin:
    """Who asks: what an event says of the request that caused it. Both are None for what happens by itself."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Appointment:
    """What is to happen at a time that is known: in seconds since the epoch, of a test clock or, where that is empty,
    of the real one.
    """

    clock: str
    due: int
    account: str
    action: str
    subject: str


@dataclass(slots=True)
class _Credit:
    account: str
    currency: str
    available_on: int
    amount: int


@dataclass(slots=True)
class Work:
    """The changes of one request, kept aside until it has succeeded.

    Attributes:
        platform: the account whose key was used.
        account: the account whose objects are meant: the platform, or the one in `Stripe-Account`.
        now: seconds since the epoch; those of a test clock, once one was entered.
        wall: seconds since the epoch, whatever a test clock says.
        base_url: where this sandbox is, for links to its pages.
        async_delay_s: how long things take that take time, as a bank debit.
    """

    store: Store
    platform: str
    account: str
    now: int
    wall: int
    base_url: str
    async_delay_s: float = 1.0
    origin: Origin = field(default_factory=Origin)
    rows: dict[str, Row] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    events: list[EventRow] = field(default_factory=list)
    timers: list[tuple[float, str, str, str]] = field(default_factory=list)
    appointments: list[Appointment] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    credits: list[_Credit] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    def find(self, kind: str, id_: str, account: str | None = None) -> Json | None:
        """An object of the account, to be read only; None if there is none."""
        row = self.rows.get(id_) or self.store.row(id_)
        if row is None or not row.listed or row.kind != kind or row.account != (account or self.account):
            return None
        return row.body

    def get(
        self, kind: str, id_: str, param: str | None = None, *, in_path: bool = False, account: str | None = None
    ) -> Json:
        """An object of the account, to be read only.

        Raises: ApiError resource_missing that names `param`.
        """
        body = self.find(kind, id_, account)
        if body is None:
            raise missing_object(kind, id_, param or kind, in_path=in_path)
        return body

    def edit(self, kind: str, id_: str, account: str | None = None) -> Json:
        """An object that is to be changed: it is there, and belongs to the account."""
        row = self.rows.get(id_)
        if row is None:
            kept = self.store.row(id_)
            if kept is None or kept.kind != kind or kept.account != (self.account if account is None else account):
                raise missing_object(kind, id_, kind)
            row = Row(
                kept.seq, kept.account, kept.kind, kept.created, kept.listed, orjson.loads(orjson.dumps(kept.body))
            )
            self.rows[id_] = row
        return row.body

    def owner(self, id_: str) -> str | None:
        """The account that an object belongs to."""
        row = self.rows.get(id_) or self.store.row(id_)
        return None if row is None else row.account

    def any(self, id_: str) -> Json | None:
        """An object of whatever account and kind, to be read only."""
        row = self.rows.get(id_) or self.store.row(id_)
        return None if row is None else row.body

    def add(self, body: Json, *, account: str | None = None) -> Json:
        """A new object."""
        id_ = body["id"]
        self.rows[id_] = Row(
            self.store.next_seq(), account or self.account, body["object"], body.get("created", self.now), True, body
        )
        self.new.add(id_)
        return body

    def add_named(self, body: Json) -> Json:
        """A new object under an id that the request has chosen; one that was deleted may give way to it.

        Raises: ApiError resource_already_exists. Ids are one for all accounts here.
        """
        id_, kind = body["id"], body["object"]
        known = self.rows.get(id_) or self.store.row(id_)
        if known is None:
            return self.add(body)
        if known.listed or known.kind != kind or known.account != self.account:
            raise ApiError(f"{kind.capitalize()} already exists.", code="resource_already_exists")
        self.edit(kind, id_)
        row = self.rows[id_]
        row.body, row.listed = body, True
        return body

    def remove(self, kind: str, id_: str, account: str | None = None) -> Json:
        """Delete an object: it is no longer listed; what is left of it says so."""
        self.edit(kind, id_, account)
        row = self.rows[id_]
        row.body = {"id": id_, "object": kind, "deleted": True}
        row.listed = False
        return row.body

    def listed(
        self, kind: str, *, account: str | None = None, link: tuple[str, str] | None = None, newest_first: bool = True
    ) -> list[Json]:
        """All objects of a kind, those of this request included, to be read only."""
        account = account or self.account
        kept = {row.body["id"]: row for row in self.store.rows(account, kind, link=link)}
        kept |= {
            id_: row for id_, row in self.rows.items()
            if row.kind == kind and row.account == account and (link is None or row.body.get(link[0]) == link[1])
        }  # fmt: skip
        rows = sorted((row for row in kept.values() if row.listed), key=lambda row: row.seq, reverse=newest_first)
        return [row.body for row in rows]

    def emit(self, type_: str, body: Json, *, account: str | None = None, previous: Json | None = None) -> None:
        """An event that shows an object as it is now.

        Args:
            account: whose event it is; by default that of the request.
            previous: what changed was before, for `.updated` events.
        """
        owner = account or self.account
        id_ = new_id("evt")
        data: Json = {"object": visible(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Json = {"id": id_, "object": "event"}
        if owner != self.platform:
            event["account"] = owner
        event.update(
            api_version=API_VERSION,
            created=self.now,
            data=data,
            livemode=False,
            pending_webhooks=0,
            request={"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            type=type_,
        )
        clock_time = self.now if self.now != self.wall else None
        self.events.append(EventRow(id_, owner, type_, self.wall, orjson.dumps(event), clock_time))

    def emit_updated(self, type_: str, body: Json, before: Json, *, account: str | None = None) -> None:
        """An `.updated` event, if anything that shows has changed."""
        previous = differences(visible(before), visible(body))
        if previous:
            self.emit(type_, body, account=account, previous=previous)

    def later(self, action: str, subject: str, *, after_s: float | None = None) -> None:
        """Have something happen by itself."""
        delay = self.async_delay_s if after_s is None else after_s
        self.timers.append((delay, self.account, action, subject))

    def credit(self, account: str, currency: str, available_on: int, amount: int) -> None:
        """Add to an account's balance."""
        # What is available already needs no date of its own.
        self.credits.append(_Credit(account, currency, 0 if available_on <= self.now else available_on, amount))

    def balance(self, account: str) -> dict[str, tuple[int, int]]:
        """Available and pending per currency, with what this request did."""
        balance = self.store.balance(account, self.now)
        for credit in self.credits:
            if credit.account == account:
                available, pending = balance.get(credit.currency, (0, 0))
                if credit.available_on <= self.now:
                    available += credit.amount
                else:
                    pending += credit.amount
                balance[credit.currency] = (available, pending)
        return balance

    def write(self) -> None:
        """Hand everything to the store, which commits it soon."""
        if self.rows:
            self.store.write([(id_, row, id_ in self.new) for id_, row in self.rows.items()])
        for id_, contents in self.contents.items():
            self.store.save_contents(id_, contents)
        if self.events:
            self.store.add_events(self.events)
        for action, subject in self.cancelled:
            self.store.drop_timers(action, subject)
        for credit in self.credits:
            self.store.add_to_balance(credit.account, credit.currency, credit.available_on, credit.amount)


def visible(body: Json) -> Json:
    """An object without its hidden fields."""
    return {name: value for name, value in body.items() if name[0] != "_"}


def copied(body: Json) -> Json:
    """A copy to compare with later."""
    copy: Json = orjson.loads(orjson.dumps(body))
    return copy


def differences(before: Any, after: Json) -> Json:
    """What `after` has changed, as it was `before`; nested objects show only what changed in them."""
    changed: Json = {}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and "object" not in new:
            changed[name] = differences(old, new)
        else:
            changed[name] = old
    return changed
