"""People."""

from __future__ import annotations

import strawberry

from models.users import User as UserRow
from schema.context import Info
from schema.described import field, input_type, object_type
from schema.errors import Payload
from schema.ids import global_id
from schema.nodes import Node
from services.visibility import visible_email


@object_type
class User(Node):
    """A person: guest and host alike. Visible to itself, and to those that it has to do with as guest or host."""

    row: strawberry.Private[UserRow]

    external_id: str = strawberry.field(description="The platform's own id of this person: the `sub` of a token.")
    name: str = strawberry.field(description="As the person wants to be called.")
    country: str | None = strawberry.field(description="ISO 3166 alpha-2.")
    locale: str | None = strawberry.field(description="BCP 47; the default for what is written for this person.")

    @field
    def email(self, info: Info) -> str:
        """Where mail reaches this person; others but service and admin see only its first letter and its domain."""
        return visible_email(info.context.viewer, self.row)

    @classmethod
    def of(cls, row: UserRow) -> User:
        """From its row."""
        return cls(
            id=global_id("User", row.id),
            row=row,
            external_id=row.external_id,
            name=row.name,
            country=row.country,
            locale=row.locale,
        )


@input_type
class UpsertUserInput:
    """A person as the platform knows them; what is left out is forgotten."""

    external_id: str = strawberry.field(description="The platform's own id, the `sub` of this person's tokens.")
    email: str = strawberry.field(description="Where mail reaches this person.")
    name: str = strawberry.field(description="As the person wants to be called.")
    country: str | None = strawberry.field(default=None, description="ISO 3166 alpha-2: DE.")
    locale: str | None = strawberry.field(default=None, description="BCP 47: de-AT.")


@object_type
class UpsertUserPayload(Payload):
    """What became of it."""

    user: User | None = strawberry.field(default=None, description="The person as it is now.")
