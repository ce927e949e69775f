"""`expand`: ids in an answer give way to the objects that they name ("Expanding responses")."""

from __future__ import annotations

from typing import Any, Final

from sandbox.errors import Json, invalid
from sandbox.work import Work, visible

_DEPTH: Final = 4

EXPANDABLE: Final[dict[str, frozenset[str]]] = {
    kind: frozenset(fields.split())
    for kind, fields in {
        "payment_intent": "application customer latest_charge on_behalf_of payment_method review"
        " transfer_data.destination",
        "charge": "application application_fee balance_transaction customer failure_balance_transaction on_behalf_of"
        " payment_intent refunds review source_transfer transfer transfer_data.destination",
        "refund": "balance_transaction charge customer failure_balance_transaction payment_intent payment_method"
        " source_transfer_reversal transfer_reversal",
        "transfer": "balance_transaction destination destination_payment source_transaction",
        "transfer_reversal": "balance_transaction destination_payment_refund source_refund transfer",
        "application_fee": "account application balance_transaction charge originating_transaction",
        "fee_refund": "balance_transaction fee",
        "balance_transaction": "source",
        "payment_method": "customer",
        "setup_intent": "application customer latest_attempt mandate on_behalf_of payment_method single_use_mandate",
        "setup_attempt": "customer on_behalf_of payment_method setup_intent",
        "customer": "default_source invoice_settings.default_payment_method sources subscriptions tax_ids tax"
        " test_clock cash_balance",
        "account": "settings.branding.icon settings.branding.logo",
        "bank_account": "account customer",
        "capability": "account",
    }.items()
}


def expand(work: Work, body: Json, paths: list[str]) -> Json:
    """The answer with what is asked for in it.

    Raises: ApiError for what cannot be expanded.
    """
    answer = body
    for path in paths:
        parts = path.split(".")
        if len(parts) > _DEPTH + (parts[0] == "data"):
            raise invalid(f"You cannot expand more than {_DEPTH} levels of a property. Property: {path}", "expand")
        answer = _expanded(work, answer, parts, path)
    return answer


def _expanded(work: Work, body: Json, parts: list[str], path: str) -> Json:
    if body.get("object") == "list":
        if parts[0] != "data":
            raise _cannot(path)
        if len(parts) == 1:
            return body
        return {**body, "data": [_expanded(work, item, parts[1:], path) for item in body["data"]]}
    fields = EXPANDABLE.get(body.get("object", ""), frozenset())
    length = 2 if len(parts) > 1 and ".".join(parts[:2]) in fields else 1
    if ".".join(parts[:length]) not in fields:
        # A hash that is part of every answer may be passed through.
        inner = body.get(parts[0])
        if len(parts) > 1 and isinstance(inner, dict) and "object" in inner:
            return {**body, parts[0]: _expanded(work, inner, parts[1:], path)}
        raise _cannot(path)
    if parts[0] not in body and parts[0] != "refunds":
        return body
    if length == 2:
        outer = body.get(parts[0])
        if not isinstance(outer, dict):
            return body
        return {**body, parts[0]: {**outer, parts[1]: _value(work, outer, parts[1], parts[2:], path)}}
    return {**body, parts[0]: _value(work, body, parts[0], parts[1:], path)}


def _value(work: Work, body: Json, name: str, rest: list[str], path: str) -> Any:
    value = body.get(name)
    if name == "refunds" and body.get("object") == "charge" and not isinstance(value, dict):
        value = _refunds(work, body)
    elif isinstance(value, str):
        found = work.any(value)
        if found is None:
            return value
        value = shown(work, found)
    if rest and isinstance(value, dict):
        return _expanded(work, value, rest, path)
    return value


def _refunds(work: Work, charge: Json) -> Json:
    refunds = work.listed("refund", account=work.owner(charge["id"]), link=("charge", charge["id"]))
    return {
        "object": "list", "data": [visible(refund) for refund in refunds[:10]], "has_more": len(refunds) > 10,
        "url": f"/v1/charges/{charge['id']}/refunds",
    }  # fmt: skip


def shown(work: Work, body: Json) -> Json:
    """An object as an answer shows it: without hidden fields, with what depends on the time."""
    kind = body.get("object")
    if kind == "list":
        return {**body, "data": [shown(work, item) for item in body["data"]]}
    answer = visible(body)
    if kind == "balance_transaction":
        answer["status"] = "available" if body["available_on"] <= work.now else "pending"
    return answer


def _cannot(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
