"""What a resolver knows of the request that it serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import strawberry

from schema.locales import preferred_locale
from services.errors import Unauthenticated
from services.loaders import Loaders

if TYPE_CHECKING:
    from models.users import User
    from services.core import Services
    from services.viewer import Viewer


@dataclass
class Context:
    """One operation's: services, who asks, and what has been loaded for it."""

    services: Services
    viewer: Viewer | None
    locale: str
    """What Accept-Language wants most; a user's own locale comes first."""
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget what was loaded: a subscription sees things anew with each event."""
        self.loaders = Loaders(self.services, self.viewer)

    def require_viewer(self) -> Viewer:
        """The bearer of the request's token.

        Raises: Unauthenticated where it has none.
        """
        if self.viewer is None:
            raise Unauthenticated
        return self.viewer

    async def user(self) -> User | None:
        """The person that the token names; None without one, or for one that the platform has not told of."""
        if self.viewer is None:
            return None
        return await self.loaders.users_by_external_id.load(self.viewer.external_id)

    async def preferred_locale(self) -> str:
        """The locale for words and amounts where the request does not say."""
        user = await self.user()
        return (user.locale if user is not None else None) or self.locale


def new_context(services: Services, viewer: Viewer | None, *, accept_language: str | None) -> Context:
    """The context of one operation; each has its own, on a websocket too."""
    return Context(services, viewer, preferred_locale(accept_language))


Info = strawberry.Info[Context, None]
