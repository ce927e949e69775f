"""What a platform's own backend asks about features, on each of its requests."""

from __future__ import annotations

from typing import Annotated

import strawberry

from schema.context import Info
from schema.described import field, object_type
from schema.entitlements import Entitlement
from services.entitlements import is_entitled, list_entitlements

UserExternalId = Annotated[str, strawberry.argument(description="The platform's own id of the person.")]


@object_type
class EntitlementQueries:
    """Queries about features."""

    @field
    async def entitlements(self, info: Info, user_external_id: UserExternalId) -> list[Entitlement]:
        """What a person's plans grant at this second, each feature once. For service and admin.

        Nobody of this id is granted nothing.
        """
        viewer = info.context.require_viewer()
        found = await list_entitlements(info.context.services, viewer=viewer, external_id=user_external_id)
        return [Entitlement.of(entitlement) for entitlement in found]

    @field
    async def is_entitled(
        self,
        info: Info,
        user_external_id: UserExternalId,
        feature: Annotated[str, strawberry.argument(description="The plan's own word for it.")],
    ) -> bool:
        """Whether a person has a feature at this second: cheap enough for every request. For service and admin."""
        return await is_entitled(
            info.context.services,
            viewer=info.context.require_viewer(),
            external_id=user_external_id,
            feature=feature,
        )
