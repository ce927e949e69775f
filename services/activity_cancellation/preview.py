"""What cancelling an activity would cost whom, and whether the money is there."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from models.base import from_record
from models.money import Money, rounded_share
from models.payments import ChargeModel, Payment, PaymentAllocation
from models.sets import from_joined, joined_columns
from services.connect.calls import call_stripe
from services.errors import InvalidState, NotFound
from services.fees import refund_parts
from services.refunds.disputed import Lost
from services.stripe_requests import StripeRequest
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.core import Services
    from services.viewer import Viewer

_AT_ONCE: Final = 8
"""Accounts whose balance is asked for at the same time."""
_PAGE: Final = 300
"""Payments that are read together."""

# Stripe keeps its fee when a charge is refunded ("Refund and cancel payments").
_STRIPE_FEES: Final = """
SELECT p.id, b.currency, b.fee_minor - b.application_fee_minor AS fee_minor
FROM payments p LEFT JOIN balance_transactions b ON b.payment_id = p.id AND b.type IN ('charge', 'payment')
    AND b.stripe_account = p.stripe_account AND b.source_id = p.stripe_charge_id
WHERE p.id = ANY($1)
"""


@cache
def _parts() -> str:
    return f"""
    SELECT p.*, coalesce(d.undecided, false) AS disputed, coalesce(d.lost_fee, 0) AS lost_fee,
        coalesce(d.lost_host, 0) AS lost_host, {joined_columns(PaymentAllocation, "a")}
    FROM payments p LEFT JOIN payment_allocations a ON a.payment_id = p.id
    LEFT JOIN LATERAL (
        SELECT bool_or(status IN ('NEEDS_RESPONSE', 'UNDER_REVIEW')) AS undecided,
            sum(fee_minor)::bigint AS lost_fee, sum(host_minor)::bigint AS lost_host
        FROM disputes WHERE payment_id = p.id
    ) d ON p.disputed_minor > 0
    WHERE p.id IN (
        SELECT id FROM payments WHERE activity_id = $1 AND id > $2 AND status NOT IN ('CANCELED', 'REFUNDED')
        ORDER BY id LIMIT $3
    )
    ORDER BY p.id, a.id
    """


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the payments of one currency. What guests get is what hosts and platform give."""

    guests_receive: Money
    hosts_give: Money
    platform_gives: Money
    disputed: Money
    """What banks hold while they decide: it is not refunded."""


@dataclass(frozen=True, slots=True)
class PlaceBalance:
    """What would leave one balance at Stripe, and what is there, in a currency that the payments settled in.

    Where that is not the payments' currency it is reckoned at the rate of each charge; Stripe applies that of the day.
    """

    host_id: UUID | None
    """None: the platform's."""
    gives: Money
    available: Money
    pending: Money

    @property
    def missing(self) -> Money:
        """What is not there."""
        return max(self.gives - self.available, Money.zero(self.gives.currency))


@dataclass(frozen=True, slots=True)
class CancellationPreview:
    """What cancelling an activity would do, as things stand now."""

    payments_to_refund: int
    payments_to_cancel: int
    payments_at_banks: int
    """What a bank is still working on: it is dealt with once that has answered."""
    payments_disputed: int
    totals: Sequence[Totals]
    balances: Sequence[PlaceBalance]
    stripe_fees_lost: Sequence[Money]
    payments_of_unknown_fee: int
    """Those whose fee Stripe has not told yet: it is not in `stripe_fees_lost`."""


@dataclass(frozen=True, slots=True)
class _Paid:
    """A payment with what decides who gives how much of its refund."""

    payment: Payment
    allocations: list[PaymentAllocation]
    disputed: bool
    lost: Lost


@dataclass(slots=True)
class _Sums:
    """What is summed up over the payments."""

    guests: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    platform: Counter[str] = field(default_factory=Counter)
    disputed: Counter[str] = field(default_factory=Counter)
    places: Counter[tuple[UUID | None, str]] = field(default_factory=Counter)
    accounts: dict[UUID, str] = field(default_factory=dict)
    fees: Counter[str] = field(default_factory=Counter)
    to_refund: int = 0
    of_unknown_fee: int = 0
    to_cancel: int = 0
    at_banks: int = 0
    with_dispute: int = 0

    def add(self, paid: _Paid) -> bool:
        """Count one payment in; whether it is refunded."""
        payment = paid.payment
        if not payment.status.is_captured:
            if payment.status.can_be_canceled:
                self.to_cancel += 1
            else:
                self.at_banks += 1
            return False
        if paid.disputed:  # it is refused as a whole while its dispute is open
            self.with_dispute += 1
            self.disputed[payment.currency] += payment.refundable.minor + payment.disputed_minor
            return False
        refund = payment.refundable
        if not refund:
            return False
        fee, hosts = refund_parts(payment, refund, paid.lost)
        self.to_refund += 1
        self.guests[payment.currency] += refund.minor
        self.hosts[payment.currency] += hosts.minor
        self.platform[payment.currency] += fee.minor
        held = self._from_hosts(payment, paid.allocations, hosts)
        self._leaves(None, payment, fee + held, *_rate(payment, ours=True))
        return True

    def _from_hosts(self, payment: Payment, allocations: Sequence[PaymentAllocation], hosts: Money) -> Money:
        """Take the hosts' part of what each has been sent; the rest of it the platform holds itself, and is returned.

        It is split by what is left of each host's part, as the refund will split it.
        """
        held = Money.zero(payment.currency)
        if not allocations:
            return hosts
        left = [max(0, its.transferred_minor - its.reversed_minor + its.owed_minor) for its in allocations]
        weights = left if any(left) else [1 for _ in allocations]
        for its, part in zip(allocations, hosts.split(weights), strict=True):
            kept = Money(min(max(its.owed_minor, 0), part.minor), payment.currency)
            held += kept
            self._leaves(its.host_id, payment, part - kept, *_rate(payment, ours=False))
            self.accounts[its.host_id] = its.stripe_account_id
        return held

    def _leaves(self, host_id: UUID | None, payment: Payment, amount: Money, currency: str, worth: int) -> None:
        if amount:
            self.places[host_id, currency] += rounded_share(worth, amount.minor, payment.captured_minor)


def _rate(payment: Payment, *, ours: bool) -> tuple[str, int]:
    """The currency of the platform's balance, or of the hosts', and what all that was captured is worth in it."""
    credited = (payment.settlement_currency, payment.settlement_minor)
    if ours and payment.charge_model is ChargeModel.DIRECT:
        fee = payment.fee_credit_minor
        if payment.fee_credit_currency is not None and fee is not None and payment.platform_fee_minor:
            whole = rounded_share(fee, payment.captured_minor, payment.platform_fee_minor)
            return payment.fee_credit_currency, whole
        credited = (None, None)
    if not ours and payment.charge_model is ChargeModel.DESTINATION:
        credited = (payment.host_credit_currency, payment.host_credit_minor)
    currency, minor = credited
    return (payment.currency, payment.captured_minor) if currency is None or minor is None else (currency, minor)


async def cancellation_preview(
    services: Services, *, viewer: Viewer, activity_id: UUID, page: int = _PAGE
) -> CancellationPreview:
    """What cancelling an activity would give back, at whose cost, against the balances as Stripe has them now.

    It holds for one that is canceled already, too: of what is left to be given back.

    Args:
        page: how many payments are read together.

    Raises: Forbidden for users; NotFound; InvalidState; StripeUnavailable.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    pool = services.database.pool
    if not await pool.fetchval("SELECT EXISTS (SELECT FROM activities WHERE id = $1)", activity_id):
        raise NotFound("There is no such activity.", path=["activityId"])
    sums = await _sum_up(services, activity_id, page)
    currencies = sorted({*sums.guests, *sums.disputed})
    return CancellationPreview(
        payments_to_refund=sums.to_refund,
        payments_to_cancel=sums.to_cancel,
        payments_at_banks=sums.at_banks,
        payments_disputed=sums.with_dispute,
        totals=[
            Totals(*(Money(of[code], code) for of in (sums.guests, sums.hosts, sums.platform, sums.disputed)))
            for code in currencies
        ],
        balances=await _balances(services, sums.places, sums.accounts),
        stripe_fees_lost=[Money(minor, code) for code, minor in sorted(sums.fees.items())],
        payments_of_unknown_fee=sums.of_unknown_fee,
    )


async def _sum_up(services: Services, activity_id: UUID, page: int) -> _Sums:
    """Count all payments of an activity in, a page at a time."""
    sums, after = _Sums(), UUID(int=0)
    while True:
        read = list(_grouped(await services.database.pool.fetch(_parts(), activity_id, after, page)))
        await _add_stripe_fees(services, [paid.payment.id for paid in read if sums.add(paid)], sums)
        if len(read) < page:
            return sums
        after = read[-1].payment.id


def _grouped(records: Iterable[Any]) -> Iterable[_Paid]:
    found: dict[UUID, _Paid] = {}
    for record in records:
        if record["id"] not in found:
            code = record["currency"]
            lost = Lost(Money(record["lost_fee"], code), Money(record["lost_host"], code))
            found[record["id"]] = _Paid(from_record(Payment, record), [], record["disputed"], lost)
        allocation = from_joined(PaymentAllocation, record, "a")
        if allocation is not None:
            found[record["id"]].allocations.append(allocation)
    return found.values()


async def _add_stripe_fees(services: Services, payment_ids: Sequence[UUID], sums: _Sums) -> None:
    for record in await services.database.pool.fetch(_STRIPE_FEES, payment_ids):
        if record["currency"] is None:
            sums.of_unknown_fee += 1
        else:
            sums.fees[record["currency"]] += record["fee_minor"]


async def _balances(
    services: Services, places: Mapping[tuple[UUID | None, str], int], accounts: Mapping[UUID, str]
) -> list[PlaceBalance]:
    """What is there at each place that something would leave, asked of Stripe; the platform's first."""
    hosts: defaultdict[UUID | None, list[str]] = defaultdict(list)
    for host_id, code in places:
        hosts[host_id].append(code)

    async def ask(host_id: UUID | None) -> list[PlaceBalance]:
        body = await _balance_at_stripe(services, None if host_id is None else accounts[host_id])
        return [
            PlaceBalance(
                host_id, Money(places[host_id, code], code), _in(body, "available", code), _in(body, "pending", code)
            )
            for code in sorted(hosts[host_id])
        ]

    ordered = sorted(hosts, key=lambda host_id: (host_id is not None, str(host_id)))
    found: list[PlaceBalance] = []
    for at in range(0, len(ordered), _AT_ONCE):
        for places_of in await asyncio.gather(*map(ask, ordered[at : at + _AT_ONCE])):
            found += places_of
    return found


async def _balance_at_stripe(services: Services, account: str | None) -> dict[str, Any]:
    if account == "":  # a host who has not opened one yet has nothing there
        return {}
    request = StripeRequest.build("get", "/v1/balance", stripe_account=account)
    try:
        return await call_stripe(services, request, "Stripe refused to tell the balance.")
    except InvalidState:
        if account is None:
            raise
        return {}  # the host has cut the platform off: nothing there can be counted on


def _in(body: Mapping[str, Any], kind: str, code: str) -> Money:
    """Of one currency ("The Balance object")."""
    for part in body.get(kind) or ():
        if part["currency"].upper() == code:
            return Money.from_wire(part["amount"], code)
    return Money.zero(code)
