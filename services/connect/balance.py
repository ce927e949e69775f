"""What a host has at Stripe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.money import Money
from services.connect.calls import call_stripe
from services.errors import NotFound
from services.stripe_requests import retrieve_balance
from services.users import current_user

if TYPE_CHECKING:
    from models.connect_accounts import ConnectAccount
    from services.core import Services
    from services.viewer import Viewer


@dataclass(frozen=True, slots=True)
class BalanceInCurrency:
    """What can be paid out, and what has not settled yet ("The Balance object")."""

    available: Money
    pending: Money


async def account_balance(services: Services, *, viewer: Viewer, account: ConnectAccount) -> list[BalanceInCurrency]:
    """The balance of a connected account, a row for each currency; asked of Stripe each time.

    Raises: NotFound where the account is not the viewer's; InvalidState; StripeUnavailable.
    """
    if not viewer.sees_everything:
        user = await current_user(viewer)
        if user is None or user.id != account.user_id:
            raise NotFound("There is no such account.")
    if account.stripe_account_id is None or account.deauthorized_at is not None:
        return []
    request = retrieve_balance(account.stripe_account_id)
    body = await call_stripe(services, request, "Stripe refused to tell the balance.")
    available, pending = _by_currency(body["available"]), _by_currency(body["pending"])
    return [
        BalanceInCurrency(available.get(code, Money.zero(code)), pending.get(code, Money.zero(code)))
        for code in sorted(available.keys() | pending.keys())
    ]


def _by_currency(parts: list[dict[str, Any]]) -> dict[str, Money]:
    return {part["currency"].upper(): Money.from_wire(part["amount"], part["currency"]) for part in parts}
