"""How the account retries what could not be collected, and what comes then ("Automate payment retries")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from sandbox.errors import ApiError, Json

if TYPE_CHECKING:
    from sandbox.store import Store

_FACT: Final = "billing"
_ENDS: Final = ("cancel", "unpaid", "past_due")
_INVOICES: Final = ("open", "uncollectible")
# "Invoices can no longer be retried unless a new payment method is obtained" (attempt_count in "The Invoice object").
HARD_DECLINES: Final = frozenset(
    {
        "incorrect_number", "lost_card", "pickup_card", "stolen_card", "revocation_of_authorization",
        "revocation_of_all_authorizations", "authentication_required", "highest_risk_level", "transaction_not_allowed",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """What the account's settings say.

    Attributes:
        retry_days: days from each failed attempt to the next; after the last comes the end.
        then: what becomes of the subscription: "cancel", "unpaid" or "past_due".
        invoice: what becomes of the invoice: "open" or "uncollectible".
    """

    retry_days: tuple[int, ...] = (3, 5, 7)
    then: str = "cancel"
    invoice: str = "open"

    def as_json(self) -> Json:
        """As `/_sandbox/billing` shows and takes it."""
        return {"retry_days": list(self.retry_days), "then": self.then, "invoice": self.invoice}


def policy(store: Store) -> Policy:
    """The settings now."""
    kept = store.fact(_FACT)
    if kept is None:
        return Policy()
    values = orjson.loads(kept)
    return Policy(tuple(values["retry_days"]), values["then"], values["invoice"])


def change(store: Store, params: Json) -> Policy:
    """Change what is given; what is scheduled already stays.

    Raises: ApiError for what is no setting.
    """
    wanted: dict[str, Any] = {**policy(store).as_json(), **params}
    unknown = sorted(set(params) - set(Policy().as_json()))
    days = wanted["retry_days"]
    if unknown:
        raise ApiError(f"There is no {', '.join(unknown)}: only retry_days, then and invoice.")
    if not isinstance(days, list) or not all(isinstance(day, int) and 1 <= day <= 60 for day in days):
        raise ApiError("retry_days is a list of days, 1 to 60 each.")
    if wanted["then"] not in _ENDS or wanted["invoice"] not in _INVOICES:
        raise ApiError(f"then is one of {', '.join(_ENDS)}; invoice is one of {', '.join(_INVOICES)}.")
    store.set_fact(_FACT, orjson.dumps(wanted).decode())
    return policy(store)
