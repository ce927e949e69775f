"""People, as the platform's backend tells of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from babel import Locale, UnknownLocaleError

from models.base import from_record, new_id
from models.users import User
from services.changes import ChangeSet
from services.errors import InvalidInput, InvalidState
from services.text import check_text
from services.viewer import Role

if TYPE_CHECKING:
    from services.core import Services
    from services.viewer import Viewer

_UPSERT = """
INSERT INTO users (id, external_id, email, name, country, locale) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (external_id) DO UPDATE SET email = excluded.email, name = excluded.name, country = excluded.country,
    locale = excluded.locale, updated_at = now()
RETURNING *, pg_current_xact_id()::text::bigint AS xid
"""


async def upsert_user(
    services: Services, *, viewer: Viewer, external_id: str, email: str, name: str, country: str | None,
    locale: str | None,
) -> User:  # fmt: skip
    """Create or update a person by the platform's own id; what is None is forgotten.

    Raises: Forbidden for users; InvalidInput.
    """
    viewer.require(Role.SERVICE, Role.ADMIN)
    check_text("externalId", external_id, length_max=255)
    check_text("name", name, length_max=255)
    check_text("email", email, length_max=320)
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise InvalidInput("email", "This is not an email address.")
    if country is not None and not re.fullmatch("[A-Z]{2}", country):
        raise InvalidInput("country", "A country is two capital letters, as ISO 3166 has them: DE.")
    if locale is not None and not is_locale(locale):
        raise InvalidInput("locale", "A locale is a language tag, as BCP 47 has them: de-AT.")
    async with services.database.transaction() as connection:
        before = await connection.fetchrow("SELECT * FROM users WHERE external_id = $1", external_id)
        record: Any = await connection.fetchrow(_UPSERT, new_id(), external_id, email, name, country, locale)
        changes = ChangeSet(viewer.caller, record["xid"])
        user = from_record(User, record)
        known = None if before is None else _facts(from_record(User, before))
        if known != _facts(user):
            changes.audit("user.upserted", "USER", user.id, before=known, after=_facts(user))
        await changes.write(connection)
    return user


async def current_user(viewer: Viewer) -> User | None:
    """The person that a token names; None for one that the platform has not told of yet."""
    return await User.get_or_none(external_id=viewer.external_id)


async def require_user(viewer: Viewer) -> User:
    """The person that a user's token names.

    Raises: Forbidden for other roles; InvalidState for a person that is not known yet.
    """
    viewer.require(Role.USER)
    user = await current_user(viewer)
    if user is None:
        raise InvalidState("You are not known here yet. Please try again in a moment.", state="UNKNOWN_USER")
    return user


def is_locale(tag: str) -> bool:
    """Whether this is a language tag that can be formatted in."""
    try:
        Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        return False
    return True


def _facts(user: User) -> dict[str, str | None]:
    return {
        "external_id": user.external_id,
        "email": user.email,
        "name": user.name,
        "country": user.country,
        "locale": user.locale,
    }
