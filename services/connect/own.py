"""The viewer's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.connect_accounts import ConnectAccount
from services.errors import InvalidState
from services.users import require_user

if TYPE_CHECKING:
    from services.viewer import Viewer


async def own_account(viewer: Viewer) -> ConnectAccount:
    """The account of the host that a user's token names, at Stripe already and not cut off.

    Raises: Forbidden for other roles; InvalidState where there is none.
    """
    user = await require_user(viewer)
    account = await ConnectAccount.get_or_none(user_id=user.id, deauthorized_at=None)
    if account is None or account.stripe_account_id is None:
        raise InvalidState("You have no account yet. Create one first.", state="NO_ACCOUNT")
    return account
