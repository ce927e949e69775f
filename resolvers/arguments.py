"""Arguments that several resolvers take."""

from __future__ import annotations

from typing import Annotated

import strawberry

Id = Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
StreamAfter = Annotated[
    str | None,
    strawberry.argument(
        description="Everything since this cursor first, then live; null or left out: live from the moment the"
        " subscription is received."
    ),
]


def input_path(field: str) -> list[str]:
    """Where an error of a mutation's input points."""
    return ["input", field]
