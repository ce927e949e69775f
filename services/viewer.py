"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from services.errors import Forbidden


class Role(StrEnum):
    """A token's `role`: `user` is guest and host alike."""

    USER = "user"
    SERVICE = "service"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """The bearer of a verified token; `external_id` is its `sub`, the platform's own id of a person or a system."""

    role: Role
    external_id: str

    @property
    def caller(self) -> str:
        """Who claims operations and signs audit entries."""
        return f"{self.role}:{self.external_id}"

    @property
    def sees_everything(self) -> bool:
        """Whether nothing is hidden from it."""
        return self.role is not Role.USER

    def require(self, *roles: Role) -> None:
        """Let only these roles go on.

        Raises: Forbidden.
        """
        if self.role not in roles:
            raise Forbidden(f"This needs a token with the role {' or '.join(roles)}.")
