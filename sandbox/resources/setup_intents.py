"""Setup intents: a payment method is saved without a payment ("The SetupIntent object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.errors import ApiError, Json, invalid
from sandbox.ids import client_secret, new_id
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources.accounts import application_of
from sandbox.resources.payment_methods import attach, behaviour, resolve
from sandbox.subscriptions import lifecycle
from sandbox.work import Work, visible

if TYPE_CHECKING:
    from sandbox.test_cards import Decline

_OPEN: Final = ("requires_payment_method", "requires_confirmation", "requires_action")


def create(call: Call) -> Json:
    """ "Create a SetupIntent"."""
    work, params = call.work, call.params
    id_ = new_id("seti")
    automatic = call.given("automatic_payment_methods")
    types = call.given("allowed_payment_method_types") or call.given("payment_method_types")
    if automatic is None and not types:
        automatic = {"enabled": True}
    intent: Json = {
        "id": id_, "object": "setup_intent",
        "application": application_of(work.platform) if work.account != work.platform else None,
        "automatic_payment_methods": {"allow_redirects": automatic.get("allow_redirects", "always"), "enabled": True}
        if automatic and automatic.get("enabled", True) else None,
        "cancellation_reason": None, "client_secret": client_secret(id_), "created": work.now, "customer": None,
        "customer_account": None, "description": None, "excluded_payment_method_types": None,
        "flow_directions": call.given("flow_directions"), "last_setup_error": None, "latest_attempt": None,
        "livemode": False, "mandate": None, "metadata": new_metadata(params), "next_action": None,
        "on_behalf_of": call.given("on_behalf_of"), "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": list(types) if types else ["card", "us_bank_account"], "single_use_mandate": None,
        "status": "requires_payment_method", "usage": call.param("usage", "off_session"), "_return_url": None,
    }  # fmt: skip
    work.add(intent)
    _apply(call, intent)
    work.emit("setup_intent.created", intent)
    if params.get("confirm"):
        _confirm(call, intent)
    return intent


def _apply(call: Call, intent: Json) -> None:
    work, params = call.work, call.params
    for name in ("customer", "description"):
        if name in params:
            intent[name] = call.given(name)
    if call.given("customer"):
        work.get("customer", params["customer"], "customer")
    if call.given("return_url"):
        intent["_return_url"] = params["return_url"]
    if call.given("payment_method"):
        intent["payment_method"] = resolve(work, params["payment_method"])["id"]
        if intent["status"] == "requires_payment_method":
            intent["status"] = "requires_confirmation"


def _confirm(call: Call, intent: Json) -> None:
    work = call.work
    if intent["payment_method"] is None:
        raise _unexpected(intent, "You cannot confirm this SetupIntent because it's missing a payment method.")
    test = behaviour(work.get("payment_method", intent["payment_method"]))
    intent["last_setup_error"], intent["next_action"] = None, None
    if test.authentication not in ("always", "unless_set_up"):
        _finish(work, intent)
        return
    intent["status"] = "requires_action"
    if intent["_return_url"]:
        url = f"{work.base_url}/3ds/{intent['id']}?client_secret={intent['client_secret']}"
        intent["next_action"] = {
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url}, "type": "redirect_to_url"
        }
    else:
        intent["next_action"] = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": "", "source": new_id("payatt")},
        }
    work.emit("setup_intent.requires_action", intent)


def _finish(work: Work, intent: Json) -> None:
    method = work.edit("payment_method", intent["payment_method"])
    test = behaviour(method)
    if test.decline is not None and test.declines_setup:
        raise _failed(work, intent, test.decline)
    if intent["customer"] is not None:
        attach(work, method["id"], intent["customer"])
    method["_set_up"] = True
    intent.update(status="succeeded", next_action=None, latest_attempt=_attempt(work, intent, "succeeded")["id"])
    work.emit("setup_intent.succeeded", intent)
    lifecycle.setup_succeeded(work, intent)


def _attempt(work: Work, intent: Json, status: str) -> Json:
    return work.add(
        {
            "id": new_id("setatt"), "object": "setup_attempt", "application": intent["application"],
            "created": work.now, "customer": intent["customer"], "customer_account": None,
            "flow_directions": intent["flow_directions"], "livemode": False, "on_behalf_of": intent["on_behalf_of"],
            "payment_method": intent["payment_method"],
            "payment_method_details": {"card": {"three_d_secure": None}, "type": "card"},
            "setup_error": intent["last_setup_error"], "setup_intent": intent["id"], "status": status,
            "usage": intent["usage"],
        }
    )  # fmt: skip


def _failed(work: Work, intent: Json, decline: Decline) -> ApiError:
    method = work.get("payment_method", intent["payment_method"])
    error = {
        "code": decline.code, "decline_code": decline.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message, "payment_method": visible(method), "type": "card_error",
    }  # fmt: skip
    intent["last_setup_error"] = error
    intent["latest_attempt"] = _attempt(work, intent, "failed")["id"]
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    work.emit("setup_intent.setup_failed", intent)
    return ApiError(
        decline.message, status=402, type_="card_error", code=decline.code, decline_code=decline.decline_code,
        keeps_changes=True, setup_intent=visible(intent), payment_method=visible(method),
    )  # fmt: skip


def authenticated(work: Work, intent: Json, *, success: bool) -> None:
    """The guest has passed the challenge, or has not."""
    if intent["status"] != "requires_action":
        raise _unexpected(
            intent, f"This SetupIntent has a status of {intent['status']}: there is nothing to authenticate."
        )
    if success:
        _finish(work, intent)
        return
    method = work.get("payment_method", intent["payment_method"])
    intent["last_setup_error"] = {
        "code": "setup_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/setup-intent-authentication-failure",
        "message": "The latest attempt to set up the payment method has failed because authentication failed.",
        "payment_method": visible(method), "type": "invalid_request_error",
    }  # fmt: skip
    intent["latest_attempt"] = _attempt(work, intent, "failed")["id"]
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    work.emit("setup_intent.setup_failed", intent)


def _unexpected(intent: Json, message: str) -> ApiError:
    return invalid(message, code="setup_intent_unexpected_state", setup_intent=visible(intent))


def _intent(call: Call) -> Json:
    call.work.get("setup_intent", call.path["intent"], "intent", in_path=True)
    return call.work.edit("setup_intent", call.path["intent"])


def retrieve(call: Call) -> Json:
    """ "Retrieve a SetupIntent"."""
    return call.work.get("setup_intent", call.path["intent"], "intent", in_path=True)


def update(call: Call) -> Json:
    """ "Update a SetupIntent"."""
    intent = _intent(call)
    if intent["status"] not in _OPEN and set(call.params) - {"metadata", "description", "expand"}:
        raise _unexpected(intent, f"This SetupIntent has a status of {intent['status']} and cannot be updated.")
    _apply(call, intent)
    update_metadata(intent, call.params.get("metadata"))
    return intent


def confirm(call: Call) -> Json:
    """ "Confirm a SetupIntent"."""
    intent = _intent(call)
    if intent["status"] not in _OPEN:
        raise _unexpected(intent, f"You cannot confirm this SetupIntent because it has a status of {intent['status']}.")
    _apply(call, intent)
    _confirm(call, intent)
    return intent


def cancel(call: Call) -> Json:
    """ "Cancel a SetupIntent"."""
    intent = _intent(call)
    if intent["status"] not in _OPEN:
        raise _unexpected(
            intent,
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}. Only a SetupIntent "
            f"with one of the following statuses may be canceled: {', '.join(_OPEN)}.",
        )
    intent.update(status="canceled", cancellation_reason=call.given("cancellation_reason"), next_action=None)
    call.work.emit("setup_intent.canceled", intent)
    return intent


def list_(call: Call) -> Json:
    """ "List all SetupIntents"."""
    return list_objects(call, "setup_intent", "/v1/setup_intents", filters=("customer", "payment_method"))


_ONE: Final = "/v1/setup_intents/{intent}"

OPERATIONS = (
    Operation("POST", "/v1/setup_intents", create, "setup_intent_create"),
    Operation("GET", "/v1/setup_intents", list_, "setup_intent_list"),
    Operation("GET", _ONE, retrieve, "setup_intent_retrieve"),
    Operation("POST", _ONE, update, "setup_intent_update"),
    Operation("POST", f"{_ONE}/confirm", confirm, "setup_intent_confirm"),
    Operation("POST", f"{_ONE}/cancel", cancel, "setup_intent_cancel"),
)
