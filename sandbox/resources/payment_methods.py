"""Payment methods ("The PaymentMethod object"). What one does is decided by the test value that it was made of."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sandbox import clocks, test_cards
from sandbox.errors import ApiError, Json, invalid, missing_object, missing_param
from sandbox.ids import new_id
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.bodies import address as no_address
from sandbox.subscriptions import lifecycle
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from sandbox.test_cards import TestMethod


def create(call: Call) -> Json:
    """ "Create a PaymentMethod" from a test number or token."""
    work, params = call.work, call.params
    if call.given("payment_method"):
        return _announced(work, _clone(call))
    type_ = params.get("type")
    if type_ is None:
        raise missing_param("type")
    details = params.get(type_)
    if type_ == "card":
        if not isinstance(details, dict):
            raise missing_param("card")
        method, card = from_card(details)
    elif type_ in ("us_bank_account", "sepa_debit"):
        if not isinstance(details, dict):
            raise missing_param(type_)
        method, card = _from_bank(type_, details), {}
    else:
        raise invalid(f'The payment method type "{type_}" is not built into the sandbox.', "type")
    body = new_body(work, method, billing=params.get("billing_details"), metadata=new_metadata(params))
    if card:
        body["card"].update(card)
    if params.get("allow_redisplay"):
        body["allow_redisplay"] = params["allow_redisplay"]
    return _announced(work, body)


def _clone(call: Call) -> Json:
    """A platform's payment method, for one of its accounts ("Clone PaymentMethods across accounts").

    It can be used once there, unless it is attached to a customer of that account; one that is no customer's of the
    platform is used up by it.
    """
    work, customer = call.work, call.given("customer")
    if work.account == work.platform:
        raise invalid("A PaymentMethod is shared with a connected account, in Stripe-Account.", "payment_method")
    named = call.params["payment_method"]
    test = test_cards.by_token(named, "pm_")
    if test is not None and customer is None:
        return new_body(work, test, metadata=new_metadata(call.params))
    source = work.get("payment_method", named, "payment_method", account=work.platform)
    if source["customer"] is not None and customer is None:
        raise invalid(
            f"The PaymentMethod {source['id']} belongs to a Customer. Please include the Customer in the `customer` "
            "parameter.", "customer", "parameter_missing",
        )  # fmt: skip
    if customer is not None and customer != source["customer"]:
        raise invalid(
            f"The customer does not have a payment method with the ID {source['id']}. The payment method must be "
            "attached to the customer.", "payment_method", "resource_missing",
        )  # fmt: skip
    if source.get("_used") and source["customer"] is None:
        raise invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again."
        )
    if source["customer"] is None:
        work.edit("payment_method", source["id"], work.platform)["_used"] = True
    body = {**copied(source), "id": new_id("pm"), "created": work.now, "customer": None}
    body["metadata"] = new_metadata(call.params)
    return body


def _announced(work: Work, body: Json) -> Json:
    # Stripe says nothing of a payment method until it is attached.
    return work.add(body)


def from_card(card: Json) -> tuple[TestMethod, Json]:
    """The test card that a number or token stands for, and what of its details was given."""
    token = card.get("token")
    if token is not None:
        method = test_cards.by_token(token, "tok_")
        if method is None:
            raise ApiError(f"No such token: '{token}'", code="resource_missing", param="card[token]")
        return method, {}
    number = str(card.get("number", "")).replace(" ", "")
    if not number:
        raise missing_param("card[number]")
    if not test_cards.is_card_number(number):
        raise _card_error("Your card number is incorrect.", "incorrect_number", "number")
    month, year = int(card.get("exp_month", 0)), int(card.get("exp_year", 0))
    year = year + 2000 if year < 100 else year
    today = datetime.now(UTC)
    if not 1 <= month <= 12:
        raise _card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")
    if (year, month) < (today.year, today.month) or year > today.year + 50:
        raise _card_error("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")
    cvc = card.get("cvc")
    if cvc is not None and not (str(cvc).isdigit() and len(str(cvc)) in (3, 4)):
        raise _card_error("Your card's security code is invalid.", "invalid_cvc", "cvc")
    method = test_cards.by_number(number)
    if method is None:
        raise ApiError(
            "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid test "
            "cards, visit: https://stripe.com/docs/testing.",
            status=402, type_="card_error", code="card_declined", decline_code="test_mode_live_card", param="",
        )  # fmt: skip
    return method, {"exp_month": month, "exp_year": year}


def _card_error(message: str, code: str, param: str) -> ApiError:
    return ApiError(message, status=402, type_="card_error", code=code, param=param)


def _from_bank(type_: str, details: Json) -> TestMethod:
    number = details.get("account_number") or details.get("iban")
    if number is None:
        raise missing_param(f"{type_}[{'iban' if type_ == 'sepa_debit' else 'account_number'}]")
    method = test_cards.by_number(str(number).replace(" ", ""))
    if method is None or method.type != type_:
        raise invalid("You must use a test bank account number in test mode.", type_, "account_number_invalid")
    return method


def new_body(
    work: Work, method: TestMethod, *, billing: Json | None = None, metadata: dict[str, str] | None = None
) -> Json:
    """A payment method's fields; it is not stored yet."""
    address = (billing or {}).get("address") or {}
    body: Json = {
        "id": new_id("pm"), "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": {
            "address": {name: address.get(name) or None for name in no_address()},
            **{name: (billing or {}).get(name) or None for name in ("email", "name", "phone", "tax_id")},
        },
        "created": work.now, "customer": None, "customer_account": None, "livemode": False, "metadata": metadata or {},
        "type": method.type, method.type: _details(method), "_test": method.name, "_brand": method.brand,
    }  # fmt: skip
    return body


def _details(method: TestMethod) -> Json:
    fingerprint = sha256(method.number.encode()).hexdigest()[:16]
    if method.type == "us_bank_account":
        return {
            "account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None, "fingerprint": fingerprint, "last4": method.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]}, "routing_number": "110000000", "status_details": {},
        }  # fmt: skip
    if method.type == "sepa_debit":
        return {
            "bank_code": method.number[4:9], "branch_code": "", "country": method.country, "fingerprint": fingerprint,
            "generated_from": {"charge": None, "setup_attempt": None}, "last4": method.last4,
        }  # fmt: skip
    return {
        "brand": method.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
        "country": method.country, "display_brand": _DISPLAY.get(method.brand, method.brand), "exp_month": 8,
        "exp_year": 2034, "fingerprint": fingerprint, "funding": method.funding,
        "generated_from": None, "last4": method.last4,
        "networks": {"available": [method.brand], "preferred": None}, "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True}, "wallet": None,
    }  # fmt: skip


_DISPLAY = {"amex": "american_express", "diners": "diners_club", "unionpay": "union_pay"}


def behaviour(method: Json) -> TestMethod:
    """What a stored payment method does."""
    found = test_cards.by_name(method["_test"])
    if found is None:
        raise LookupError(method["_test"])
    return found


def resolve(work: Work, id_: str, param: str = "payment_method", *, in_path: bool = False) -> Json:
    """A payment method by its id; a test id such as `pm_card_visa` becomes a new one each time."""
    method = work.find("payment_method", id_)
    if method is not None:
        return method
    test = test_cards.by_token(id_, "pm_")
    if test is None:
        raise missing_object("payment_method", id_, param, in_path=in_path)
    return work.add(new_body(work, test))


def attach(work: Work, id_: str, customer: str, *, in_path: bool = False) -> Json:
    """Save a payment method to a customer."""
    work.get("customer", customer, "customer")
    method = resolve(work, id_, in_path=in_path)
    if method["customer"] not in (None, customer):
        raise invalid(
            "The payment method you provided has already been attached to a customer.", "payment_method",
            "payment_method_unexpected_state",
        )  # fmt: skip
    if method.get("_used") and method["customer"] is None:
        raise invalid(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again."
        )
    test = behaviour(method)
    if test.decline is not None and test.declines_setup:
        raise declined(test.decline, payment_method=None)
    body = work.edit("payment_method", method["id"])
    if body["customer"] is None:
        body["customer"] = customer
        if "card" in body:
            body["card"]["checks"]["cvc_check"] = "pass"
        work.emit("payment_method.attached", body)
    return body


def declined(decline: test_cards.Decline, **fields: Any) -> ApiError:
    """402: the bank said no."""
    return ApiError(
        decline.message, status=402, type_="card_error", code=decline.code, decline_code=decline.decline_code,
        advice_code=decline.advice_code, network_decline_code=decline.network_decline_code,
        param="number" if decline.code == "incorrect_number" else "cvc" if decline.code == "incorrect_cvc" else None,
        keeps_changes=True, **fields,
    )  # fmt: skip


def retrieve(call: Call) -> Json:
    """ "Retrieve a PaymentMethod"."""
    return resolve(call.work, call.path["payment_method"], in_path=True)


def update(call: Call) -> Json:
    """ "Update a PaymentMethod"."""
    work, params = call.work, call.params
    work.get("payment_method", call.path["payment_method"], in_path=True)
    body = work.edit("payment_method", call.path["payment_method"])
    if body["customer"] is None:
        raise invalid(
            "You must save this PaymentMethod to a customer before you can update it.",
            code="payment_method_unexpected_state"
        )
    before = copied(body)
    billing = call.given("billing_details")
    if isinstance(billing, dict):
        body["billing_details"].update({name: value or None for name, value in billing.items() if name != "address"})
        if isinstance(billing.get("address"), dict):
            body["billing_details"]["address"].update(billing["address"])
    for name in ("exp_month", "exp_year"):
        if isinstance(params.get("card"), dict) and name in params["card"]:
            body["card"][name] = params["card"][name]
    if params.get("allow_redisplay"):
        body["allow_redisplay"] = params["allow_redisplay"]
    update_metadata(body, params.get("metadata"))
    work.emit_updated("payment_method.updated", body, before)
    return body


def attach_call(call: Call) -> Json:
    """ "Attach a PaymentMethod to a Customer"."""
    if not call.given("customer"):
        raise missing_param("customer")
    return attach(call.work, call.path["payment_method"], call.params["customer"], in_path=True)


def detach(call: Call) -> Json:
    """ "Detach a PaymentMethod from a Customer"."""
    work = call.work
    method = work.get("payment_method", call.path["payment_method"], in_path=True)
    if method["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            "payment_method"
        )
    body = work.edit("payment_method", method["id"])
    customer = body["customer"]
    clocks.enter(work, customer, modifies=False)
    body["customer"], body["_used"] = None, True
    work.emit("payment_method.detached", body, previous={"customer": customer})
    owner = work.find("customer", customer)
    if owner is not None and owner["invoice_settings"]["default_payment_method"] == body["id"]:
        edited = work.edit("customer", customer)
        before = copied(edited)
        edited["invoice_settings"]["default_payment_method"] = None
        work.emit_updated("customer.updated", edited, before)
    lifecycle.method_detached(work, body["id"], customer)
    return body


def update_card(work: Work, id_: str, card: Json) -> Json:
    """The network tells of a card that was replaced: it expires later, or has another number ("Automatic updates").

    Args:
        card: `exp_month`, `exp_year`, `last4`, as far as they change; what is over is taken as well.

    Raises: ApiError for what is no card that is saved to a customer, or no such date.
    """
    work.get("payment_method", id_, "payment_method")
    body = work.edit("payment_method", id_)
    if body["type"] != "card" or body["customer"] is None:
        raise invalid("Only a card that is saved to a customer is updated.")
    before = copied(body)
    for name in ("exp_month", "exp_year"):
        if not isinstance(card.get(name, 1), int):
            raise invalid(f"{name} is a number.", name)
    last4 = card.get("last4", body["card"]["last4"])
    if not 1 <= card.get("exp_month", 1) <= 12 or not 1970 <= card.get("exp_year", 1970) <= 9999:
        raise invalid("There is no such month.", "exp_month")
    if not isinstance(last4, str) or not last4.isdigit() or len(last4) != 4:
        raise invalid("last4 has four digits.", "last4")
    body["card"].update({name: card[name] for name in ("exp_month", "exp_year", "last4") if name in card})
    if last4 != before["card"]["last4"]:
        body["card"]["fingerprint"] = sha256(f"{before['card']['fingerprint']} {last4}".encode()).hexdigest()[:16]
    clocks.enter(work, body["customer"], modifies=False)
    work.emit_updated("payment_method.automatically_updated", body, before)
    return body


def behave_as(work: Work, id_: str, test: object) -> Json:
    """From now on a saved method does what a test value does, and shows what it showed before.

    Args:
        test: a test id of the same type, as `pm_card_chargeCustomerFail`.

    Raises: ApiError for what is none.
    """
    work.get("payment_method", id_, "payment_method")
    body = work.edit("payment_method", id_)
    method = test_cards.by_token(test, "pm_") if isinstance(test, str) else None
    if method is None or method.type != body["type"]:
        raise invalid(f"test is a test id of the type {body['type']}, as pm_card_visa is of card.", "test")
    body["_test"] = method.name
    return body


def list_(call: Call) -> Json:
    """ "List PaymentMethods"."""
    if call.given("customer"):
        call.work.get("customer", call.params["customer"], "customer")
    return list_objects(
        call, "payment_method", "/v1/payment_methods", filters=("customer", "type", "allow_redisplay"),
        matches=lambda method: method["customer"] is not None,
    )  # fmt: skip


OPERATIONS = (
    Operation("POST", "/v1/payment_methods", create, "payment_method_create"),
    Operation("GET", "/v1/payment_methods", list_, "payment_method_list"),
    Operation("GET", "/v1/payment_methods/{payment_method}", retrieve, "payment_method_retrieve"),
    Operation("POST", "/v1/payment_methods/{payment_method}", update, "payment_method_update"),
    Operation("POST", "/v1/payment_methods/{payment_method}/attach", attach_call, "payment_method_attach"),
    Operation("POST", "/v1/payment_methods/{payment_method}/detach", detach, "payment_method_detach"),
)
