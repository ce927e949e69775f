"""What banks and Stripe do by themselves with money that was paid: `/_sandbox/…` for disputes, payouts, balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from stripe import BalanceTransaction

from sandbox import money
from sandbox.disputes import kinds, lifecycle
from sandbox.errors import ApiError, Json
from sandbox.listing import as_list
from sandbox.payouts import automatic
from sandbox.payouts import lifecycle as payouts
from sandbox.resources import balance_transactions, early_fraud_warnings, topups
from sandbox.resources.accounts import add_external_account, own
from sandbox.resources.balance_transactions import Fee

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sandbox.work import Work

_TYPES: Final[tuple[str, ...]] = get_args(get_args(BalanceTransaction.__annotations__["type"])[0])


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


def _send_payout(work: Work, id_: str, _params: Json) -> Json:
    payouts.send(work, id_)
    return work.get("payout", id_)


def _pay_payout(work: Work, id_: str, _params: Json) -> Json:
    return payouts.pay(work, id_)


def _fail_payout(work: Work, id_: str, params: Json) -> Json:
    return payouts.fail(work, id_, _one_of(params, "failure_code", payouts.FAILURES, "account_closed"))


def _pay_out(work: Work, id_: str, _params: Json) -> Json:
    work.account = id_
    made = automatic.pay_out(work, own(work, id_))
    return as_list(made, "/v1/payouts")


def _add_bank_account(work: Work, id_: str, params: Json) -> Json:
    """The platform's own is set up in the dashboard, where the API has no place for it."""
    body = work.edit("account", id_, work.owner(id_))
    details = {name: str(params[name]) for name in ("account_number", "country", "currency") if name in params}
    added = add_external_account(work, body, details)
    work.emit("account.external_account.created", added, account=id_)
    return added


def _post(work: Work, id_: str, params: Json) -> Json:
    """Any movement of a balance, as those that Stripe makes for its other products."""
    type_ = _one_of(params, "type", _TYPES, "adjustment")
    amount, fee = _amount(params) or 0, _amount(params, "fee") or 0
    currency = money.check_currency(str(params.get("currency") or own(work, id_)["default_currency"]))
    fees = (Fee("stripe_fee", fee, "Stripe processing fees"),) if fee else ()
    return balance_transactions.post(
        work, id_, type_, amount, currency, None, fees=fees, description=params.get("description")
    )


def _succeed_topup(work: Work, id_: str, _params: Json) -> Json:
    return topups.succeed(work, id_)


def _fail_topup(work: Work, id_: str, params: Json) -> Json:
    return topups.fail(work, id_, _one_of(params, "failure_code", payouts.FAILURES, "insufficient_funds"))


def _reverse_topup(work: Work, id_: str, _params: Json) -> Json:
    return topups.reverse(work, id_)


ACTING: Final[dict[str, Callable[[Work, str, Json], Json]]] = {
    "/_sandbox/charges/{id}/dispute": _dispute,
    "/_sandbox/charges/{id}/warn_of_fraud": _warn_of_fraud,
    "/_sandbox/disputes/{id}/decide": _decide,
    "/_sandbox/disputes/{id}/escalate": _escalate,
    "/_sandbox/payouts/{id}/send": _send_payout,
    "/_sandbox/payouts/{id}/pay": _pay_payout,
    "/_sandbox/payouts/{id}/fail": _fail_payout,
    "/_sandbox/accounts/{id}/pay_out": _pay_out,
    "/_sandbox/accounts/{id}/bank_account": _add_bank_account,
    "/_sandbox/accounts/{id}/balance_transactions": _post,
    "/_sandbox/topups/{id}/succeed": _succeed_topup,
    "/_sandbox/topups/{id}/fail": _fail_topup,
    "/_sandbox/topups/{id}/reverse": _reverse_topup,
}
