"""What banks and Stripe do by themselves with money that was paid: `/_sandbox/…` for disputes, payouts, balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox.disputes import kinds, lifecycle
from sandbox.errors import ApiError, Json
from sandbox.resources import early_fraud_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sandbox.work import Work


def _one_of(params: Json, name: str, allowed: Collection[str], default: str | None = None) -> str:
    value = params.get(name, default)
    if value not in allowed:
        raise ApiError(f"{name} is one of {', '.join(sorted(allowed))}.", param=name)
    return str(value)


def _amount(params: Json, name: str = "amount") -> Any:
    amount = params.get(name)
    if amount is not None and (not isinstance(amount, int) or isinstance(amount, bool)):
        raise ApiError(f"{name} is a number, in the currency's smallest unit.", param=name)
    return amount


def _dispute(work: Work, id_: str, params: Json) -> Json:
    reason = _one_of(params, "reason", kinds.REASONS, "fraudulent")
    status = _one_of(params, "status", kinds.OPENING, "needs_response")
    return lifecycle.open_(work, id_, kinds.kind_of(reason, status), _amount(params))


def _decide(work: Work, id_: str, params: Json) -> Json:
    return lifecycle.decide(work, id_, _one_of(params, "outcome", lifecycle.OUTCOMES))


def _escalate(work: Work, id_: str, _params: Json) -> Json:
    return lifecycle.escalate(work, id_)


def _warn_of_fraud(work: Work, id_: str, params: Json) -> Json:
    fraud_type = _one_of(params, "fraud_type", early_fraud_warnings.FRAUD_TYPES, "unauthorized_use_of_card")
    return early_fraud_warnings.open_(work, id_, fraud_type)


ACTING: Final[dict[str, Callable[[Work, str, Json], Json]]] = {
    "/_sandbox/charges/{id}/dispute": _dispute,
    "/_sandbox/charges/{id}/warn_of_fraud": _warn_of_fraud,
    "/_sandbox/disputes/{id}/decide": _decide,
    "/_sandbox/disputes/{id}/escalate": _escalate,
}
