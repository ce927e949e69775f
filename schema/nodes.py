"""What can be asked for by its id alone."""

from __future__ import annotations

import strawberry

from schema.described import interface_type


@interface_type
class Node:
    """Anything that has an id of its own ("Global Object Identification")."""

    id: strawberry.ID = strawberry.field(description="Known everywhere in the API; opaque.")
