"""What comes of confirming a payment intent: money, a decline, a challenge for the guest, or waiting."""

from __future__ import annotations

from typing import Any

from sandbox.errors import ApiError, Json, invalid
from sandbox.ids import new_id
from sandbox.invoices import settle
from sandbox.resources import charges
from sandbox.resources.payment_methods import attach, behaviour
from sandbox.test_cards import AUTHENTICATION, Decline, TestMethod
from sandbox.work import Work, copied, visible


def confirm(work: Work, intent: Json, *, off_session: bool, error_on_action: bool = False) -> None:
    """Try to pay with the intent's payment method.

    Raises: ApiError card_error for a decline, which stays in the intent.
    """
    method = work.get("payment_method", intent["payment_method"] or "")
    _check_usable(intent, method)
    test = behaviour(method)
    intent["last_payment_error"], intent["next_action"] = None, None
    needs = _needs_authentication(intent, method, test, off_session=off_session)
    # What the customer of an invoice has to confirm waits for that; of another payment it is declined.
    if needs and off_session and intent.get("_invoice") is None:
        raise _declined(work, intent, method, test, AUTHENTICATION)
    if needs and error_on_action:
        raise _declined(work, intent, method, test, AUTHENTICATION)
    if needs:
        _ask(work, intent)
        return
    charge_now(work, intent, authenticated=False)


def _check_usable(intent: Json, method: Json) -> None:
    if method.get("_used") and method["customer"] is None:
        raise invalid(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. It may "
            "not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
        )
    if method["customer"] is not None and intent["customer"] is None:
        raise invalid(
            f"The PaymentMethod {method['id']} belongs to the Customer {method['customer']}. Please include the "
            "Customer in the `customer` parameter on the PaymentIntent.", "payment_method",
        )  # fmt: skip
    if method["customer"] not in (None, intent["customer"]):
        raise invalid(
            f"The customer does not have a payment method with the ID {method['id']}. The payment method must be "
            "attached to the customer.", "payment_method", "resource_missing",
        )  # fmt: skip
    allowed = intent["payment_method_types"]
    if method["type"] not in allowed:
        raise invalid(
            f"The payment method type \"{method['type']}\" is not allowed for this PaymentIntent. Its types are: "
            f"{', '.join(allowed)}.", "payment_method", "payment_intent_incompatible_payment_method",
        )  # fmt: skip
    currencies = {"us_bank_account": ("usd",), "sepa_debit": ("eur",)}.get(method["type"])
    if currencies and intent["currency"] not in currencies:
        raise invalid(
            f"The payment method type \"{method['type']}\" can only be charged in {', '.join(currencies)}.",
            "payment_method", "payment_intent_incompatible_payment_method",
        )  # fmt: skip


def _needs_authentication(intent: Json, method: Json, test: TestMethod, *, off_session: bool) -> bool:
    asked = ((intent["payment_method_options"] or {}).get("card") or {}).get("request_three_d_secure")
    if asked in ("any", "challenge") and not off_session and test.type == "card":
        return True
    if test.authentication == "always":
        return True
    if test.authentication == "unless_set_up":
        return not (off_session and method.get("_set_up"))
    return test.authentication == "set_up" and not off_session


def _ask(work: Work, intent: Json) -> None:
    """3-D Secure: the guest has to go to the bank's page, which here is the sandbox's."""
    intent["status"] = "requires_action"
    if intent.get("_return_url"):
        url = f"{work.base_url}/3ds/{intent['id']}?client_secret={intent['client_secret']}"
        intent["next_action"] = {
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url}, "type": "redirect_to_url"
        }
    else:
        intent["next_action"] = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": "", "source": new_id("payatt")},
        }
    work.emit("payment_intent.requires_action", intent)
    settle.intent_needs_action(work, intent)


def authenticated(work: Work, intent: Json, *, success: bool) -> None:
    """The guest has passed the challenge, or has not.

    Raises: ApiError card_error where the bank then says no, which stays in the intent.
    """
    if intent["status"] != "requires_action":
        raise invalid(
            f"This PaymentIntent has a status of {intent['status']}: there is nothing to authenticate.",
            code="payment_intent_unexpected_state",
        )  # fmt: skip
    intent["next_action"] = None
    if success:
        charge_now(work, intent, authenticated=True)
        return
    method = work.get("payment_method", intent["payment_method"])
    intent["status"], intent["payment_method"] = "requires_payment_method", None
    intent["last_payment_error"] = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        "payment_method": visible(method), "type": "invalid_request_error",
    }  # fmt: skip
    work.emit("payment_intent.payment_failed", intent)
    settle.intent_failed(work, intent)


def charge_now(work: Work, intent: Json, *, authenticated: bool) -> None:
    """Take the money, or hold it.

    Raises: ApiError card_error for a decline, which stays in the intent.
    """
    method = work.edit("payment_method", intent["payment_method"])
    test = behaviour(method)
    if test.decline is not None:
        raise _declined(work, intent, method, test, test.decline, authenticated=authenticated)
    _keep_method(work, intent, method)
    if test.is_asynchronous:
        _start_processing(work, intent, method, test)
        return
    manual = intent["capture_method"] == "manual"
    charge = charges.make(
        work, intent, method, test, status="succeeded", captured=not manual, authenticated=authenticated
    )
    intent["latest_charge"] = charge["id"]
    if manual:
        intent["status"], intent["amount_capturable"] = "requires_capture", intent["amount"]
        work.emit("charge.succeeded", charge)
        work.emit("payment_intent.amount_capturable_updated", intent)
        work.later("expire_authorization", intent["id"], after_s=charges.AUTHORIZATION_S)
        return
    _succeed(work, intent, charge, test)


def _succeed(work: Work, intent: Json, charge: Json, test: TestMethod) -> None:
    intent["status"], intent["amount_received"] = "succeeded", charge["amount_captured"]
    is_late = intent["capture_method"] == "automatic_async" and not test.is_asynchronous
    if is_late and not test.bypasses_pending:
        # The money is taken at once, but where it went is known a moment later ("Asynchronous capture").
        work.emit("charge.succeeded", charge)
        work.emit("payment_intent.succeeded", intent)
        work.later("settle_charge", charge["id"])
    else:
        charges.settle(work, charge, intent, test)
        work.emit("charge.succeeded", charge)
        work.emit("payment_intent.succeeded", intent)
    settle.intent_succeeded(work, intent)


def _keep_method(work: Work, intent: Json, method: Json) -> None:
    usage = intent["setup_future_usage"]
    if usage is not None and intent["customer"] is not None and method["customer"] is None:
        attach(work, method["id"], intent["customer"])
    if usage == "off_session":
        method["_set_up"] = True
    if method["customer"] is None:
        method["_used"] = True


def _start_processing(work: Work, intent: Json, method: Json, test: TestMethod) -> None:
    charge = charges.make(work, intent, method, test, status="pending", captured=True)
    intent["latest_charge"], intent["status"] = charge["id"], "processing"
    work.emit("charge.pending", charge)
    work.emit("payment_intent.processing", intent)
    settle.intent_processing(work, intent)
    if test.settles != "stays":
        work.later("settle_intent", intent["id"])


def settled(work: Work, intent: Json, failure: str | None) -> None:
    """The bank has answered: the debit went through, or `failure` says why not."""
    if intent["status"] != "processing":
        raise invalid(f"This PaymentIntent has a status of {intent['status']}, not processing.")
    charge = work.edit("charge", intent["latest_charge"])
    method = work.get("payment_method", intent["payment_method"])
    if failure is None:
        charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
        charge["receipt_url"] = f"{work.base_url}/receipts/{charge['id']}"
        charge["outcome"]["seller_message"] = "Payment complete."
        _succeed(work, intent, charge, behaviour(method))
        return
    decline = charges.fail(work, charge, failure)
    intent["status"], intent["payment_method"] = "requires_payment_method", None
    intent["last_payment_error"] = _error_of(decline, charge, method)
    work.emit("payment_intent.payment_failed", intent)
    settle.intent_failed(work, intent)


def late_settlement(work: Work, charge_id: str) -> None:
    """Move the money of a charge that was captured asynchronously; a refund may have come before."""
    charge = work.edit("charge", charge_id)
    if charge["balance_transaction"] is not None:
        return
    before = copied(charge)
    intent = work.get("payment_intent", charge["payment_intent"])
    charges.settle(work, charge, intent, behaviour(work.get("payment_method", charge["payment_method"])))
    work.emit_updated("charge.updated", charge, before)


def _declined(
    work: Work, intent: Json, method: Json, test: TestMethod, decline: Decline, *, authenticated: bool = False
) -> ApiError:
    """Note a decline and make the answer of it."""
    charge = charges.make(
        work, intent, method, test, status="failed", captured=False, decline=decline, authenticated=authenticated
    )
    intent.update(
        latest_charge=charge["id"], status="requires_payment_method", payment_method=None, next_action=None,
        last_payment_error=_error_of(decline, charge, method),
    )  # fmt: skip
    work.emit("charge.failed", charge)
    work.emit("payment_intent.payment_failed", intent)
    settle.intent_failed(work, intent)
    error = {
        name: value
        for name, value in intent["last_payment_error"].items()
        if name not in ("doc_url", "message", "type")
    }
    return ApiError(
        decline.message, status=402, type_="card_error", code=error.pop("code"), param=error.pop("param", None),
        keeps_changes=True, payment_intent=visible(intent), **error,
    )  # fmt: skip


def _error_of(decline: Decline, charge: Json, method: Json) -> Json:
    error: dict[str, Any] = {
        "advice_code": decline.advice_code, "charge": charge["id"], "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message, "network_decline_code": decline.network_decline_code,
        "param": "cvc" if decline.code == "incorrect_cvc" else None, "payment_method": visible(method),
        "type": "card_error",
    }  # fmt: skip
    return {name: value for name, value in error.items() if value is not None}
