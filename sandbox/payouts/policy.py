"""What happens to payouts by themselves here; a test that wants to see each step switches it off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from sandbox.errors import ApiError

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.store import Store

_FACT: Final = "payouts"
# progress: payouts arrive, or fail, a moment after they were made; schedules: accounts are paid out on their days.
_USUAL: Final = {"progress": True, "schedules": True}


def policy(store: Store) -> Json:
    """What is switched on."""
    kept = store.fact(_FACT)
    return dict(_USUAL) if kept is None else {**_USUAL, **orjson.loads(kept)}


def change(store: Store, params: Json) -> Json:
    """Switch on or off what is given.

    Raises: ApiError for what is no switch.
    """
    if set(params) - set(_USUAL) or not all(isinstance(value, bool) for value in params.values()):
        raise ApiError(f"There are {' and '.join(_USUAL)}, which are true or false.")
    store.set_fact(_FACT, orjson.dumps({**policy(store), **params}).decode())
    return policy(store)
