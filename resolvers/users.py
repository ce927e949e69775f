"""People."""

from __future__ import annotations

from typing import Annotated

import strawberry

from schema.context import Info
from schema.described import field, mutation, object_type
from schema.errors import payload
from schema.users import UpsertUserInput, UpsertUserPayload, User
from schema.viewer import Viewer
from services import users


@object_type
class UserQueries:
    """Queries about the bearer of the token."""

    @field
    async def viewer(self, info: Info) -> Viewer | None:
        """Whoever the token names; null without a token, and for a person that the platform has not told of yet."""
        row = await info.context.user()
        return None if row is None else Viewer.of(row)


@object_type
class UserMutations:
    """What the platform's own backend tells of people."""

    @mutation
    @payload(UpsertUserPayload)
    async def upsert_user(
        self, info: Info, input: Annotated[UpsertUserInput, strawberry.argument(description="The person.")]
    ) -> UpsertUserPayload:
        """Create or update a person by the platform's own id. For the roles service and admin."""
        row = await users.upsert_user(
            info.context.services,
            viewer=info.context.require_viewer(),
            external_id=input.external_id,
            email=input.email,
            name=input.name,
            country=input.country,
            locale=input.locale,
        )
        return UpsertUserPayload(user=User.of(row))
