"""Payouts as lists, and the payments inside one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from models.base import from_record
from models.payments import Payment
from models.payouts import Payout
from services.viewer import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from services.core import Services
    from services.pages import Page, PageRequest
    from services.viewer import Viewer

_INSIDE: Final = """
SELECT wanted.id AS payout_id, page.* FROM unnest($1::uuid[]) AS wanted(id) CROSS JOIN LATERAL (
    SELECT p.* FROM (
        SELECT DISTINCT payment_id FROM balance_transactions WHERE payout_id = wanted.id AND payment_id IS NOT NULL
    ) b JOIN payments p ON p.id = b.payment_id WHERE true{}{}
) page
"""


async def payments_inside(
    services: Services, payout_ids: Sequence[UUID], page: PageRequest
) -> Mapping[UUID, Page[Payment]]:
    """The payments that payouts are made of, a page of each, newest first; for whoever may see the payouts.

    Known of automatic payouts, once Stripe has told: of others it does not say ("Payout reconciliation").
    """
    keys, values = page.conditions("p.id", 2)
    records = await services.database.pool.fetch(
        _INSIDE.format(keys, page.order("p.id")), list(payout_ids), *values
    )
    found: defaultdict[UUID, list[Payment]] = defaultdict(list)
    for record in records:
        values_of = dict(record)
        found[values_of.pop("payout_id")].append(from_record(Payment, values_of))
    return {id_: page.page(found[id_]) for id_ in payout_ids}


async def platform_payouts(services: Services, *, viewer: Viewer, page: PageRequest) -> Page[Payout]:
    """A page of the platform's own payouts, newest first.

    Raises: Forbidden for users.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    keys, values = page.conditions("t.id", 1)
    sql = f"SELECT t.* FROM payouts t WHERE t.connect_account_id IS NULL{keys}{page.order('t.id')}"
    records = await services.database.pool.fetch(sql, *values)
    return page.page([from_record(Payout, record) for record in records])
