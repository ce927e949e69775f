"""What a host has at Stripe, what is on its way there, and when it arrives."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.money import Money
from services.connect.calls import call_stripe
from services.errors import NotFound
from services.stripe_requests import retrieve_balance
from services.users import current_user

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from models.connect_accounts import ConnectAccount
    from services.core import Services
    from services.viewer import Viewer

_PENDING: Final = """
SELECT currency, available_on, sum(amount_minor - fee_minor)::bigint AS minor FROM balance_transactions
WHERE stripe_account = $1 AND available_on > $2
GROUP BY currency, available_on HAVING sum(amount_minor - fee_minor) <> 0 ORDER BY currency, available_on
"""
_OWING: Final = (
    "This balance is below zero: refunds, disputes or fees took more than there was. What comes in fills it up first,"
    " and until then nothing is paid out in this currency."
)
_WAITING: Final = (
    "More was taken than can be used yet. What is on its way fills it up; payouts go on once it has arrived."
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A part of what is pending, and when it can be used; None where Stripe has not told yet."""

    amount: Money
    on: datetime | None


@dataclass(frozen=True, slots=True)
class BalanceInCurrency:
    """What can be paid out, and what has not settled yet ("The Balance object")."""

    available: Money
    pending: Money
    instant_available: Money | None
    """What can be paid out within minutes; None where nothing can be in this country."""
    arrives: Sequence[Arrival] = ()

    @property
    def explanation(self) -> str | None:
        """Why nothing is paid out where it is below zero, fit for its host."""
        if self.available.minor >= 0:
            return None
        return _OWING if (self.available + self.pending).minor < 0 else _WAITING


async def account_balance(services: Services, *, viewer: Viewer, account: ConnectAccount) -> list[BalanceInCurrency]:
    """The balance of a connected account, a row for each currency; asked of Stripe each time.

    Raises: NotFound where the account is not the viewer's; InvalidState; StripeUnavailable.
    """
    if not viewer.sees_everything:
        user = await current_user(viewer)
        if user is None or user.id != account.user_id:
            raise NotFound("There is no such account.")
    return await balances_of(services, account)


async def balances_of(services: Services, account: ConnectAccount) -> list[BalanceInCurrency]:
    """As `account_balance`, for whoever may see the account.

    Raises: InvalidState; StripeUnavailable.
    """
    if account.stripe_account_id is None or account.deauthorized_at is not None:
        return []
    request = retrieve_balance(account.stripe_account_id)
    body = await call_stripe(services, request, "Stripe refused to tell the balance.")
    available, pending = _by_currency(body["available"]), _by_currency(body["pending"])
    instant = _by_currency(body.get("instant_available") or [])
    known = await _known_arrivals(services, account.stripe_account_id)
    return [
        BalanceInCurrency(
            available.get(code, Money.zero(code)),
            pending.get(code, Money.zero(code)),
            instant.get(code),
            _arrivals(pending.get(code, Money.zero(code)), known[code]),
        )
        for code in sorted(available.keys() | pending.keys())
    ]


async def _known_arrivals(services: Services, stripe_account: str) -> defaultdict[str, list[Arrival]]:
    known: defaultdict[str, list[Arrival]] = defaultdict(list)
    for record in await services.database.pool.fetch(_PENDING, stripe_account, services.clock()):
        amount = Money(record["minor"], record["currency"])
        known[amount.currency].append(Arrival(amount, record["available_on"]))
    return known


def _arrivals(pending: Money, known: list[Arrival]) -> list[Arrival]:
    """What is known of the days; what Stripe has pending beside that comes last, without one."""
    told = sum((arrival.amount for arrival in known), Money.zero(pending.currency))
    rest = pending - told
    return [*known, Arrival(rest, None)] if rest else known


def _by_currency(parts: list[dict[str, Any]]) -> dict[str, Money]:
    return {part["currency"].upper(): Money.from_wire(part["amount"], part["currency"]) for part in parts}
