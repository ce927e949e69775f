"""Payment intents: one payment from its start to its end ("The PaymentIntent object", "Payment status updates")."""

from __future__ import annotations

from typing import Any, Final

from sandbox import money
from sandbox.errors import ApiError, Json, invalid, missing_param
from sandbox.ids import client_secret, new_id
from sandbox.invoices import payments
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, refuse_both, update_metadata
from sandbox.resources import charges, refunds
from sandbox.resources.accounts import application_of, payable
from sandbox.resources.confirmation import confirm as try_to_pay
from sandbox.resources.payment_methods import behaviour, from_card, new_body, resolve
from sandbox.resources.payment_rules import check_connect, check_suffix
from sandbox.work import Work, copied, differences, visible

_CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE: Final = (
    "requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing",
)  # fmt: skip
# What an invoice's own payment intent has from it ("is_default" in "The Invoice Payment object").
_OF_THE_INVOICE: Final = frozenset(
    {"amount", "currency", "customer", "application_fee_amount", "transfer_data", "on_behalf_of", "capture_method"}
)
# The version since which a payment intent takes what is switched on in the dashboard, unless it says otherwise.
_AUTOMATIC_SINCE: Final = "2023-08-16"
_AUTOMATIC_TYPES: Final = ("card", "us_bank_account", "sepa_debit")


def create(call: Call) -> Json:
    """ "Create a PaymentIntent", and confirm it where that is asked for."""
    work, params = call.work, call.params
    currency = money.check_currency(params["currency"])
    money.check_amount(params["amount"], currency)
    if params.get("off_session") and not params.get("confirm"):
        raise invalid("You may only set `off_session` if `confirm` is also set to true.", "off_session")
    if params.get("return_url") and not params.get("confirm"):
        raise invalid(
            "The parameter `return_url` cannot be passed when creating a PaymentIntent unless `confirm` is set to "
            "true.",
            "return_url",
        )
    id_ = new_id("pi")
    intent = intent_body(work, id_, params["amount"], currency)
    _apply(call, intent)
    check_connect(work, intent)
    work.add(intent)
    intent["metadata"] = new_metadata(params)
    _choose_method(call, intent)
    if params.get("confirm"):
        intent["status"] = "requires_confirmation"
        # Shown as it was before the try, as Stripe's event does.
        work.emit("payment_intent.created", {**intent, "status": "requires_payment_method", "payment_method": None})
        _confirm(call, intent)
    else:
        work.emit("payment_intent.created", intent)
    return intent


def intent_body(work: Work, id_: str, amount: int, currency: str) -> Json:
    """A payment intent's fields; it is not stored yet."""
    return {
        "id": id_, "object": "payment_intent", "allowed_payment_method_types": None, "amount": amount,
        "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": 0,
        "application": application_of(work.platform) if work.account != work.platform else None,
        "application_fee_amount": None, "automatic_payment_methods": None, "canceled_at": None,
        "cancellation_reason": None, "capture_method": "automatic_async", "client_secret": client_secret(id_),
        "confirmation_method": "automatic", "created": work.now, "currency": currency, "customer": None,
        "customer_account": None, "description": None, "excluded_payment_method_types": None,
        "last_payment_error": None, "latest_charge": None, "livemode": False, "metadata": {}, "next_action": None,
        "on_behalf_of": None, "payment_method": None, "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None, "mandate_options": None, "network": None, "request_three_d_secure": "automatic"
            }
        },
        "payment_method_types": ["card"], "processing": None, "receipt_email": None, "review": None,
        "setup_future_usage": None, "shipping": None, "statement_descriptor": None,
        "statement_descriptor_suffix": None, "status": "requires_payment_method", "transfer_data": None,
        "transfer_group": None, "_return_url": None,
    }  # fmt: skip


_PLAIN: Final = (
    "application_fee_amount", "capture_method", "confirmation_method", "description", "on_behalf_of", "receipt_email",
    "setup_future_usage", "statement_descriptor", "statement_descriptor_suffix", "transfer_group", "customer",
    "excluded_payment_method_types",
)  # fmt: skip


def _apply(call: Call, intent: Json) -> None:
    """Take the parameters that create, update and confirm share."""
    work, params = call.work, call.params
    for name in _PLAIN:
        if name in params:
            intent[name] = call.given(name)
    if call.given("customer"):
        work.get("customer", params["customer"], "customer")
    if "shipping" in params:
        intent["shipping"] = call.given("shipping")
    if isinstance(params.get("transfer_data"), dict):
        known = intent["transfer_data"] or {}
        given = params["transfer_data"]
        intent["transfer_data"] = {
            **known,
            **{name: given[name] for name in ("amount", "destination") if name in given},
        }
    _take_types(call, intent)
    options = call.given("payment_method_options")
    if isinstance(options, dict):
        for type_, values in options.items():
            if isinstance(values, dict):
                intent["payment_method_options"].setdefault(type_, {}).update(values)
    if call.given("return_url"):
        intent["_return_url"] = params["return_url"]
    check_suffix(intent)


def _take_types(call: Call, intent: Json) -> None:
    params = call.params
    types = call.given("allowed_payment_method_types") or call.given("payment_method_types")
    automatic = call.given("automatic_payment_methods")
    named = "allowed_payment_method_types" if "allowed_payment_method_types" in params else "payment_method_types"
    if types and automatic and automatic.get("enabled"):
        raise invalid(
            f"You may only specify one of these parameters: automatic_payment_methods, {named}.",
            "automatic_payment_methods",
        )  # fmt: skip
    if types:
        intent["payment_method_types"] = list(types)
        intent["automatic_payment_methods"] = None
        if "allowed_payment_method_types" in params:
            intent["allowed_payment_method_types"] = list(types)
    else:
        is_new = "intent" not in call.path
        if automatic is None and is_new and call.api_version >= _AUTOMATIC_SINCE:
            automatic = {"enabled": True}
        if automatic is not None and automatic.get("enabled", True):
            redirects = automatic.get("allow_redirects", "always")
            intent["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}
            only_in = {"us_bank_account": "usd", "sepa_debit": "eur"}
            intent["payment_method_types"] = [
                type_ for type_ in _AUTOMATIC_TYPES if only_in.get(type_, intent["currency"]) == intent["currency"]
            ]
    excluded = intent["excluded_payment_method_types"] or ()
    intent["payment_method_types"] = [type_ for type_ in intent["payment_method_types"] if type_ not in excluded]


def _choose_method(call: Call, intent: Json) -> None:
    """The payment method named, or made of `payment_method_data`."""
    work, params = call.work, call.params
    refuse_both(params, "payment_method", "payment_method_data")
    method = None
    if call.given("payment_method"):
        method = resolve(work, params["payment_method"])
    elif call.given("payment_method_data"):
        data: Any = params["payment_method_data"]
        details = data.get(data["type"])
        if data["type"] != "card" or not isinstance(details, dict):
            raise invalid(
                "Only cards can be given as `payment_method_data` in the sandbox.", "payment_method_data[type]"
            )
        test, card = from_card(details)
        method = work.add(new_body(work, test, billing=data.get("billing_details")))
        method["card"].update(card)
    if method is None:
        return
    if method["customer"] not in (None, intent["customer"]) and intent["customer"] is not None:
        raise invalid(
            f"The customer does not have a payment method with the ID {method['id']}. The payment method must be "
            "attached to the customer.", "payment_method", "resource_missing",
        )  # fmt: skip
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def _confirm(call: Call, intent: Json) -> None:
    if intent["payment_method"] is None:
        raise _unexpected(
            intent,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
        )
    automatic = intent["automatic_payment_methods"]
    may_redirect = automatic is not None and automatic["allow_redirects"] == "always"
    if (
        may_redirect
        and not intent["_return_url"]
        and not call.given("use_stripe_sdk")
        and not call.given("off_session")
    ):
        raise invalid(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
            "If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` "
            "to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents.",
            "return_url",
        )
    try_to_pay(
        call.work, intent, off_session=bool(call.given("off_session")),
        error_on_action=bool(call.given("error_on_requires_action")),
    )  # fmt: skip


def _unexpected(intent: Json, message: str) -> ApiError:
    return ApiError(message, code="payment_intent_unexpected_state", payment_intent=visible(intent))


def _intent(call: Call) -> Json:
    call.work.get("payment_intent", call.path["intent"], "intent", in_path=True)
    return call.work.edit("payment_intent", call.path["intent"])


def retrieve(call: Call) -> Json:
    """ "Retrieve a PaymentIntent"."""
    secret = call.given("client_secret")
    intent = call.work.get("payment_intent", call.path["intent"], "intent", in_path=True)
    if secret is not None and secret != intent["client_secret"]:
        raise invalid(
            "The client_secret provided does not match the client_secret associated with the PaymentIntent.",
            "client_secret", "payment_intent_invalid_parameter",
        )  # fmt: skip
    return intent


def update(call: Call) -> Json:
    """ "Update a PaymentIntent"."""
    work, params = call.work, call.params
    intent = _intent(call)
    done = intent["status"] not in _CONFIRMABLE
    changed = set(params) - {"expand", "metadata", "description", "receipt_email", "transfer_group", "shipping"}
    if intent.get("_is_default") and (fixed := sorted(changed & _OF_THE_INVOICE)):
        raise _unexpected(
            intent, f"You cannot update {fixed[0]} on a PaymentIntent that is associated with an invoice."
        )
    if done and changed:
        raise _unexpected(
            intent,
            f"This PaymentIntent's {min(changed)} could not be updated because it has a status of "
            f"{intent['status']}. You may only update the {min(changed)} of a PaymentIntent with one of the "
            f"following statuses: {', '.join(_CONFIRMABLE)}.",
        )
    if "currency" in params:
        intent["currency"] = money.check_currency(params["currency"])
    if "amount" in params or "currency" in params:
        intent["amount"] = params.get("amount", intent["amount"])
        money.check_amount(intent["amount"], intent["currency"])
    _apply(call, intent)
    if not done:
        check_connect(work, intent)
        _choose_method(call, intent)
    update_metadata(intent, params.get("metadata"))
    return intent


def confirm(call: Call) -> Json:
    """ "Confirm a PaymentIntent"."""
    work, params = call.work, call.params
    intent = _intent(call)
    if intent["status"] not in _CONFIRMABLE:
        why = {
            "succeeded": "it has already succeeded after being previously confirmed.",
            "processing": "it is already processing.",
            "requires_capture": "it has already been confirmed and has to be captured.",
        }.get(intent["status"], f"it has a status of {intent['status']}.")
        raise _unexpected(intent, f"You cannot confirm this PaymentIntent because {why}")
    for name in ("receipt_email", "setup_future_usage", "capture_method"):
        if name in params:
            intent[name] = call.given(name)
    _apply(call, intent)
    if intent["transfer_data"] is not None:
        payable(work, intent["transfer_data"]["destination"], "transfer_data[destination]")
    _choose_method(call, intent)
    _confirm(call, intent)
    return intent


def capture(call: Call) -> Json:
    """ "Capture a PaymentIntent": once, all of it or less."""
    work, params = call.work, call.params
    intent = _intent(call)
    if intent["status"] != "requires_capture":
        raise _unexpected(
            intent,
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
        )
    wanted = params.get("amount_to_capture")
    amount: int = intent["amount_capturable"] if wanted is None else wanted
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.", "amount_to_capture", "parameter_invalid_integer"
        )
    if amount > intent["amount_capturable"]:
        raise invalid(
            f"The provided amount is greater than the amount that can be captured "
            f"({money.shown(intent['amount_capturable'], intent['currency'])}).", "amount_to_capture",
            "amount_too_large",
        )  # fmt: skip
    if params.get("application_fee_amount") is not None:
        intent["application_fee_amount"] = params["application_fee_amount"]
        check_connect(work, intent)
    fee: int | None = intent["application_fee_amount"]
    if fee is not None:
        fee = min(fee, amount)
    charge = work.edit("charge", intent["latest_charge"])
    before = copied(charge)
    for name in ("statement_descriptor", "statement_descriptor_suffix"):
        if name in params:
            intent[name] = charge[name] = call.given(name)
    update_metadata(intent, params.get("metadata"))
    charge.update(captured=True, amount_captured=amount, application_fee_amount=fee)
    charge["payment_method_details"].get("card", {}).pop("capture_before", None)
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    method = work.get("payment_method", charge["payment_method"])
    charges.settle(work, charge, intent, behaviour(method))
    rest = refunds.release(work, charge, charge["amount"] - amount) if amount < charge["amount"] else None
    work.emit("charge.captured", charge, previous=differences(before, charge))
    work.emit("payment_intent.succeeded", intent)
    if rest is not None:
        work.emit("refund.created", rest)
    return intent


def cancel(call: Call) -> Json:
    """ "Cancel a PaymentIntent"."""
    intent = _intent(call)
    if intent.get("_is_default"):
        raise _unexpected(
            intent,
            f"You cannot cancel this PaymentIntent because it is associated with an invoice: {intent['_invoice']}. "
            "Void the invoice instead.",
        )
    cancel_intent(call.work, intent, call.given("cancellation_reason"))
    return intent


def cancel_intent(work: Work, intent: Json, reason: str | None) -> None:
    """End a payment that has not been captured; what is held goes back.

    Raises: ApiError payment_intent_unexpected_state.
    """
    if intent["status"] not in _CANCELABLE:
        raise _unexpected(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a "
            f"PaymentIntent with one of the following statuses may be canceled: {', '.join(_CANCELABLE)}.",
        )
    if intent["status"] == "processing":
        raise _unexpected(intent, "You cannot cancel this PaymentIntent because its debit is already under way.")
    was_held = intent["status"] == "requires_capture"
    intent.update(
        status="canceled", canceled_at=work.now, cancellation_reason=reason, amount_capturable=0, next_action=None
    )
    if was_held:
        charge = work.edit("charge", intent["latest_charge"])
        before = copied(charge)
        charge["payment_method_details"].get("card", {}).pop("capture_before", None)
        why = "expired_uncaptured_charge" if reason == "automatic" else None
        refund = refunds.release(work, charge, charge["amount"], reason=why)
        work.emit("charge.refunded", charge, previous=differences(before, charge))
        work.emit("refund.created", refund)
    work.emit("payment_intent.canceled", intent)
    payments.mark_canceled(work, intent)


def list_(call: Call) -> Json:
    """ "List all PaymentIntents"."""
    if call.given("customer"):
        call.work.get("customer", call.params["customer"], "customer")
    return list_objects(call, "payment_intent", "/v1/payment_intents", filters=("customer",))


def increment(call: Call) -> Json:
    """ "Increment an authorization"; test cards do not support it."""
    intent = _intent(call)
    if not call.given("amount"):
        raise missing_param("amount")
    raise _unexpected(intent, "This PaymentIntent's payment method does not support incremental authorizations.")


_ONE: Final = "/v1/payment_intents/{intent}"

OPERATIONS = (
    Operation("POST", "/v1/payment_intents", create, "payment_intent_create"),
    Operation("GET", "/v1/payment_intents", list_, "payment_intent_list"),
    Operation("GET", _ONE, retrieve, "payment_intent_retrieve"),
    Operation("POST", _ONE, update, "payment_intent_update"),
    Operation("POST", f"{_ONE}/confirm", confirm, "payment_intent_confirm"),
    Operation("POST", f"{_ONE}/capture", capture, "payment_intent_capture"),
    Operation("POST", f"{_ONE}/cancel", cancel, "payment_intent_cancel"),
    Operation("POST", f"{_ONE}/increment_authorization", increment, "payment_intent_increment_authorization"),
)
