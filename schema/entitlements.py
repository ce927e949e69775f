"""Entitlements: which features plans grant."""

from __future__ import annotations

from datetime import datetime

import strawberry

from schema.described import object_type
from schema.subscriptions import BillingSubscription
from services.entitlements import Entitlement as EntitlementRow


@object_type
class Entitlement:
    """A premium feature that a paid plan grants."""

    feature: str = strawberry.field(description="The plan's own word for it.")
    granted_by: BillingSubscription = strawberry.field(
        description="The subscription whose plan grants it, of several the one that does so longest."
    )
    expires_at: datetime | None = strawberry.field(
        description="When it ends unless something happens before, such as a renewal; with the grace for one that"
        " fails; null: never."
    )

    @classmethod
    def of(cls, row: EntitlementRow) -> Entitlement:
        """From the service's answer."""
        return cls(
            feature=row.feature, granted_by=BillingSubscription.of(row.subscription), expires_at=row.expires_at
        )
