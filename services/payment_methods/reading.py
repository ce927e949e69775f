"""Saved payment methods as they are read: listed for their owner, and named in what is to be paid with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard
from uuid import UUID

from models.base import from_record
from models.payment_methods import SavedPaymentMethod
from services.errors import InvalidInput, InvalidState, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.core import Services

DEFAULT: Final = "default"
"""Stands for the method that is the person's default."""

_STRIPE_ID: Final = re.compile(r"pm_(?!\d{12,19}$)[A-Za-z0-9_]{1,250}")
_OWN: Final = """
SELECT m.* FROM payment_methods m JOIN users u ON u.id = m.user_id
WHERE u.external_id = $1 AND CASE
    WHEN $2::uuid IS NOT NULL THEN m.id = $2
    WHEN $3::text IS NOT NULL THEN m.stripe_payment_method_id = $3
    ELSE m.is_default END
"""


_LISTED: Final = """
SELECT * FROM payment_methods WHERE user_id = ANY($1) AND detached_at IS NULL
ORDER BY is_default DESC, attached_at DESC, id DESC
"""


async def attached_methods(services: Services, user_ids: Sequence[UUID]) -> dict[UUID, list[SavedPaymentMethod]]:
    """The methods that each of these guests can pay with, the default first, then the newest."""
    found: dict[UUID, list[SavedPaymentMethod]] = {user_id: [] for user_id in user_ids}
    for record in await services.database.pool.fetch(_LISTED, list(user_ids)):
        found[record["user_id"]].append(from_record(SavedPaymentMethod, record))
    return found


def is_stripe_id(method: str | UUID) -> TypeGuard[str]:
    """Whether this can be one of Stripe's payment methods, which a card number with `pm_` before it cannot."""
    return isinstance(method, str) and _STRIPE_ID.fullmatch(method) is not None


async def resolve_method(services: Services, owner: str, method: str | UUID, *, path: Sequence[str]) -> str:
    """Stripe's id of what somebody wants to pay with.

    Args:
        owner: the external id of whoever pays.
        method: Stripe's id (pm_…), which is taken as it is; `default`; or the row's id of a saved method.
        path: where it was given, for errors; what was given is not repeated, as it may be a card number.

    Raises: InvalidInput for what can be neither; NotFound for a method that is not there or another's; InvalidState
        for one that was removed, and for a default that there is not.
    """
    if is_stripe_id(method):
        return method
    return (await saved_method(services, owner, method, path=path)).stripe_payment_method_id


async def saved_method(
    services: Services, owner: str, method: str | UUID, *, path: Sequence[str]
) -> SavedPaymentMethod:
    """As `resolve_method`, for methods that are saved alone.

    Raises: InvalidInput; NotFound; InvalidState.
    """
    where = [*path]
    if isinstance(method, str) and method != DEFAULT and not is_stripe_id(method):
        raise InvalidInput(
            path=where,
            message="A payment method is one of Stripe's ids (pm_…), as Stripe.js returns it, or that of a saved one.",
        )
    id_ = method if isinstance(method, UUID) else None
    stripe_id = method if is_stripe_id(method) else None
    record = await services.database.pool.fetchrow(_OWN, owner, id_, stripe_id)
    if record is None and method == DEFAULT:
        raise InvalidState("There is no default payment method. Please save one first.", path=where, state="NO_DEFAULT")
    if record is None:
        raise NotFound("There is no such payment method.", path=where)
    found = from_record(SavedPaymentMethod, record)
    if not found.is_attached:
        raise InvalidState("This payment method was removed. Please use another one.", path=where, state="DETACHED")
    return found
