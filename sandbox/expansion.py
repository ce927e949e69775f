"""`expand`: ids in an answer give way to the objects that they name ("Expanding responses")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import discounts
from sandbox.errors import Json, invalid
from sandbox.listing import as_list
from sandbox.resources import coupons, price_bodies
from sandbox.subscriptions import bodies
from sandbox.work import Work, visible

if TYPE_CHECKING:
    from collections.abc import Callable

_DEPTH: Final = 4
# How many names a field of `EXPANDABLE` has at most.
_NAMES: Final = 3

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
        "subscription": "application customer default_payment_method default_source default_tax_rates discounts"
        " latest_invoice on_behalf_of pending_setup_intent schedule test_clock transfer_data.destination",
        "subscription_item": "discounts tax_rates",
        "subscription_schedule": "application customer default_settings.default_payment_method"
        " phases.default_payment_method phases.discounts.coupon phases.discounts.discount phases.items.plan"
        " phases.items.price subscription test_clock",
        "invoice": "account_tax_ids application confirmation_secret customer default_payment_method default_source"
        " discounts from_invoice.invoice issuer.account last_finalization_error.payment_method latest_revision"
        " on_behalf_of parent.subscription_details.subscription payments test_clock total_discount_amounts.discount"
        " total_pretax_credit_amounts.discount",
        "line_item": "discount_amounts.discount discounts pretax_credit_amounts.discount pricing.price_details.price"
        " subscription",
        "invoiceitem": "customer discounts invoice pricing.price_details.price tax_rates test_clock",
        "invoice_payment": "invoice payment.charge payment.payment_intent",
        "credit_note": "customer customer_balance_transaction discount_amounts.discount invoice refunds.refund",
        "credit_note_line_item": "discount_amounts.discount tax_rates",
        "customer": "cash_balance default_source discount.promotion_code discount.source.coupon invoice_credit_balance"
        " invoice_settings.default_payment_method sources subscriptions tax tax_ids test_clock",
        "customer_balance_transaction": "credit_note customer invoice",
        "product": "default_price tax_code",
        "price": "currency_options product tiers",
        "coupon": "applies_to currency_options",
        "promotion_code": "customer promotion promotion.coupon restrictions",
        "discount": "customer promotion_code source.coupon",
        "account": "settings.branding.icon settings.branding.logo",
        "bank_account": "account customer",
        "card": "account customer",
        "capability": "account",
        "balance": "instant_available.net_available",
        "payout": "application_fee balance_transaction destination failure_balance_transaction original_payout"
        " reversed_by",
        "topup": "balance_transaction payment_method",
        "dispute": "charge evidence.cancellation_policy evidence.customer_communication evidence.customer_signature"
        " evidence.duplicate_charge_documentation evidence.receipt evidence.refund_policy"
        " evidence.service_documentation evidence.shipping_documentation evidence.uncategorized_file payment_intent",
        "radar.early_fraud_warning": "charge payment_intent",
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
    for length in range(min(_NAMES, len(parts)), 0, -1):
        if ".".join(parts[:length]) in fields:
            return _replaced(work, body, parts[:length], parts[length:], path)
    # A hash that is part of every answer may be passed through.
    inner = body.get(parts[0])
    if len(parts) > 1 and isinstance(inner, dict) and "object" in inner:
        return {**body, parts[0]: _expanded(work, inner, parts[1:], path)}
    raise _cannot(path)


def _replaced(work: Work, body: Json, names: list[str], rest: list[str], path: str) -> Json:
    """The object with what a field of `EXPANDABLE` names in it; in a list of hashes, in each of them."""
    name, inner = names[0], body.get(names[0])
    if len(names) == 1:
        if name not in body and (body.get("object"), name) not in _INCLUDED:
            return body
        return {**body, name: _value(work, body, name, rest, path)}
    if isinstance(inner, dict):
        return {**body, name: _replaced(work, inner, names[1:], rest, path)}
    if isinstance(inner, list):
        return {**body, name: [_replaced(work, item, names[1:], rest, path) for item in inner]}
    return body


def _value(work: Work, body: Json, name: str, rest: list[str], path: str) -> Any:
    value = body.get(name)
    include = _INCLUDED.get((body.get("object", ""), name))
    if include is not None and not isinstance(value, dict):
        value = include(work, body)
    if isinstance(value, list):
        return [_object(work, item, rest, path) for item in value]
    return _object(work, value, rest, path)


def _object(work: Work, value: Any, rest: list[str], path: str) -> Any:
    if isinstance(value, str):
        found = work.any(value)
        if found is None:
            return value
        value = shown(work, found)
    return _expanded(work, value, rest, path) if rest and isinstance(value, dict) else value


def _refunds(work: Work, charge: Json) -> Json:
    refunds = work.listed("refund", account=work.owner(charge["id"]), link=("charge", charge["id"]))
    url = f"/v1/charges/{charge['id']}/refunds"
    return as_list([visible(refund) for refund in refunds[:10]], url, has_more=len(refunds) > 10)


def _payments(work: Work, invoice: Json) -> Json:
    payments = work.listed("invoice_payment", account=work.owner(invoice["id"]), link=("invoice", invoice["id"]))
    return as_list([visible(payment) for payment in payments[:10]], "/v1/invoice_payments", has_more=len(payments) > 10)


def _confirmation_secret(work: Work, invoice: Json) -> Json | None:
    for payment in work.listed("invoice_payment", account=work.owner(invoice["id"]), link=("invoice", invoice["id"])):
        intent = work.any(payment["payment"].get("payment_intent", "")) if payment["is_default"] else None
        if intent is not None:
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _subscriptions(work: Work, customer: Json) -> Json:
    link = ("customer", customer["id"])
    on = [
        shown(work, one) for one in work.listed("subscription", account=work.owner(customer["id"]), link=link)
        if one["status"] not in ("canceled", "incomplete_expired")
    ]  # fmt: skip
    url = f"/v1/customers/{customer['id']}/subscriptions"
    return as_list(on[:10], url, has_more=len(on) > 10)


def _hidden(name: str) -> Callable[[Work, Json], Json | None]:
    """What is stored under a hidden name: an answer may hold the object without it."""

    def include(work: Work, body: Json) -> Json | None:
        return (work.any(body["id"]) or {}).get(name)

    return include


def _price_options(work: Work, price: Json) -> Json | None:
    stored = work.any(price["id"])
    return None if stored is None else price_bodies.shown_options(stored)


def _coupon_options(work: Work, coupon: Json) -> Json | None:
    stored = work.any(coupon["id"])
    return None if stored is None or stored.get("deleted") else coupons.shown_options(stored)


# What an answer has only where it is asked for; the rest of the fields are there, or name what they stand for.
_INCLUDED: Final[dict[tuple[str, str], Callable[[Work, Json], Json | None]]] = {
    ("charge", "refunds"): _refunds,
    ("invoice", "payments"): _payments,
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("customer", "subscriptions"): _subscriptions,
    ("customer", "invoice_credit_balance"): _hidden("_balances"),
    ("coupon", "applies_to"): _hidden("_applies_to"),
    ("coupon", "currency_options"): _coupon_options,
    ("price", "currency_options"): _price_options,
}


def shown(work: Work, body: Json) -> Json:
    """An object as an answer shows it: without hidden fields, with what depends on the time."""
    kind = body.get("object")
    if kind == "list":
        return {**body, "data": [shown(work, item) for item in body["data"]]}
    answer = visible(body)
    if kind == "balance_transaction":
        answer["status"] = "available" if body["available_on"] <= work.wall else "pending"
    elif kind == "coupon" and "valid" in body:
        answer["valid"] = discounts.is_valid(body, work.now)
    elif kind == "subscription":
        answer["items"] = bodies.shown_items(work, body)
    elif kind == "promotion_code":
        answer["active"] = discounts.is_active(work, body)
    return answer


def _cannot(path: str) -> Exception:
    return invalid(f"This property cannot be expanded ({path}).", "expand")
