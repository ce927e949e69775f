"""Charges: one try each to take the money, and where the money goes ("The Charge object")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import money
from sandbox.ids import new_id, random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, update_metadata
from sandbox.resources import application_fees, balance, balance_transactions, transfers
from sandbox.resources.accounts import application_of, own
from sandbox.resources.balance_transactions import Fee
from sandbox.resources.bodies import charge_body
from sandbox.test_cards import BANK_DECLINES, Decline, TestMethod
from sandbox.work import Work, copied

if TYPE_CHECKING:
    from sandbox.errors import Json

AUTHORIZATION_S: Final = 7 * 86_400
_MESSAGES: Final = {
    "succeeded": "Payment complete.",
    "declined": "The bank did not return any further details with this decline.",
    "blocked": "Stripe blocked this payment as too risky.",
}


def make(
    work: Work, intent: Json, method: Json, test: TestMethod, *, status: str, captured: bool,
    decline: Decline | None = None, authenticated: bool = False,
) -> Json:  # fmt: skip
    """A charge for a payment intent; nothing has moved yet."""
    owner = own(work, work.account)
    suffix = intent["statement_descriptor_suffix"]
    prefix = owner["settings"]["card_payments"]["statement_descriptor_prefix"] or "SANDBOX"
    full = owner["settings"]["payments"]["statement_descriptor"] or "SANDBOX"
    id_ = new_id("py" if test.is_asynchronous else "ch")
    succeeded = status == "succeeded"
    destination = (intent["transfer_data"] or {}).get("destination")
    fields: dict[str, Any] = {}
    if decline is not None:
        fields = {"failure_code": decline.code, "failure_message": decline.message}
    body = charge_body(
        work, id_, intent["amount"], intent["currency"],
        amount_captured=intent["amount"] if captured and succeeded else 0,
        application=application_of(work.platform) if work.account != work.platform else None,
        application_fee_amount=intent["application_fee_amount"], billing_details=method["billing_details"],
        calculated_statement_descriptor=f"{prefix}* {suffix}"[:22] if suffix else full,
        captured=captured and succeeded, customer=intent["customer"], description=intent["description"],
        metadata=dict(intent["metadata"]), on_behalf_of=intent["on_behalf_of"], outcome=_outcome(test, status, decline),
        paid=succeeded, payment_intent=intent["id"], payment_method=method["id"],
        payment_method_details=_method_details(work, method, captured=captured, amount=intent["amount"],
                                               status=status, authenticated=authenticated),
        receipt_email=intent["receipt_email"],
        receipt_url=f"{work.base_url}/receipts/{id_}" if succeeded else None, shipping=intent["shipping"],
        statement_descriptor=intent["statement_descriptor"], statement_descriptor_suffix=suffix, status=status,
        transfer_data={"amount": (intent["transfer_data"] or {}).get("amount"), "destination": destination}
        if destination else None,
        transfer_group=intent["transfer_group"] or (f"group_{intent['id']}" if destination else None),
        **fields,
    )  # fmt: skip
    return work.add(body)


def _outcome(test: TestMethod, status: str, decline: Decline | None) -> Json:
    if decline is None:
        reason, type_, network = None, "authorized", "approved_by_network"
        message = _MESSAGES["succeeded"]
        if status == "pending":
            message = "Payment is being processed."
    elif test.risk_level == "highest":
        reason, type_, network, message = "highest_risk_level", "blocked", "not_sent_to_network", _MESSAGES["blocked"]
    else:
        reason, type_, network = decline.decline_code or decline.code, "issuer_declined", "declined_by_network"
        message = _MESSAGES["declined"]
    return {
        "advice_code": decline.advice_code if decline else None, "network_advice_code": None,
        "network_decline_code": decline.network_decline_code if decline else None, "network_status": network,
        "reason": reason, "risk_level": test.risk_level, "risk_score": 75 if test.risk_level != "normal" else 18,
        "seller_message": message, "type": type_,
    }  # fmt: skip


def _method_details(
    work: Work, method: Json, *, captured: bool, amount: int, status: str, authenticated: bool
) -> Json:
    type_ = method["type"]
    kept = method[type_]
    if type_ == "us_bank_account":
        names: tuple[str, ...] = (
            "account_holder_type",
            "account_type",
            "bank_name",
            "fingerprint",
            "last4",
            "routing_number",
        )
        return {
            type_: {**{name: kept[name] for name in names}, "payment_reference": None}, "type": type_
        }
    if type_ == "sepa_debit":
        names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
        return {
            type_: {**{name: kept[name] for name in names}, "mandate": None}, "type": type_
        }
    card: Json = {
        "amount_authorized": amount if status == "succeeded" else None, "authorization_code": None,
        "brand": kept["brand"],
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": kept["country"], "exp_month": kept["exp_month"], "exp_year": kept["exp_year"],
        "extended_authorization": {"status": "disabled"}, "fingerprint": kept["fingerprint"],
        "funding": kept["funding"], "incremental_authorization": {"status": "unavailable"}, "installments": None,
        "last4": kept["last4"], "mandate": None, "multicapture": {"status": "unavailable"}, "network": kept["brand"],
        "network_token": {"used": False}, "network_transaction_id": random_text(15).upper(),
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": {
            "authentication_flow": "challenge", "electronic_commerce_indicator": "05", "exemption_indicator": None,
            "result": "authenticated", "result_reason": None, "transaction_id": new_id("tdstxn"), "version": "2.2.0",
        } if authenticated else None,
        "wallet": None,
    }  # fmt: skip
    if not captured and status == "succeeded":
        card["capture_before"] = work.now + AUTHORIZATION_S
    return {"card": card, "type": "card"}


def settle(work: Work, charge: Json, intent: Json, test: TestMethod) -> None:
    """Move the money of a captured charge: to the account, on to the host, the fee back to the platform."""
    account, currency = work.account, charge["currency"]
    settling = own(work, intent["on_behalf_of"] or account)
    settled_in = settling["default_currency"]
    amount = money.convert(charge["amount_captured"], currency, settled_in)
    available_on = balance_transactions.pending_until(work, settling, bypasses_pending=test.bypasses_pending)
    is_direct = account != work.platform
    fees = [Fee("stripe_fee", money.stripe_fee(amount, settled_in), "Stripe processing fees")]
    fee_amount = charge["application_fee_amount"]
    if is_direct and fee_amount:
        part = money.convert(fee_amount, currency, settled_in)
        fees.insert(0, Fee("application_fee", part, "Sandbox platform application fee", application_of(work.platform)))
    movement = balance_transactions.post(
        work, account, "payment" if test.is_asynchronous else "charge", amount, settled_in, charge["id"],
        fees=tuple(fees), description=charge["description"], available_on=available_on,
        exchange_rate=balance_transactions.rate(currency, settled_in),
    )  # fmt: skip
    charge["balance_transaction"] = movement["id"]
    if test.bypasses_pending:
        work.emit("balance.available", balance.of_account(work, account))
    if test.dispute is not None:
        work.later("open_dispute", charge["id"])
    if test.warns_of_fraud:
        work.later("warn_of_fraud", charge["id"])
    if is_direct:
        if fee_amount:
            charge["application_fee"] = application_fees.make(
                work, account=account, amount=fee_amount, currency=currency, charge=charge["id"], originating=None,
                available_on=available_on,
            )["id"]  # fmt: skip
        return
    _to_host(work, charge, settled_in, available_on)


def _to_host(work: Work, charge: Json, settled_in: str, available_on: int) -> None:
    """A destination charge: the whole amount goes to the host, whose fee comes back ("Destination charges")."""
    if charge["transfer_data"] is None:
        return
    # The host's payment and the fee name each other.
    host, fee, payment_id = charge["transfer_data"]["destination"], None, new_id("py")
    wanted = charge["transfer_data"]["amount"]
    amount = charge["amount_captured"] if wanted is None else min(wanted, charge["amount_captured"])
    if charge["application_fee_amount"]:
        fee = application_fees.make(
            work, account=host, amount=charge["application_fee_amount"], currency=charge["currency"],
            charge=payment_id, originating=charge["id"], available_on=available_on,
        )  # fmt: skip
        charge["application_fee"] = fee["id"]
    transfer = transfers.make(
        work, host, money.convert(amount, charge["currency"], settled_in), settled_in, available_on=available_on,
        source=charge, group=charge["transfer_group"], fee=fee, payment_id=payment_id,
    )  # fmt: skip
    charge["transfer"] = transfer["id"]


def fail(work: Work, charge: Json, code: str) -> Decline:
    """A debit that the bank turned down after all."""
    decline = Decline(code, None, BANK_DECLINES.get(code, "The payment failed."))
    charge.update(
        status="failed", paid=False, captured=False, amount_captured=0, failure_code=code,
        failure_message=decline.message,
    )  # fmt: skip
    charge["outcome"].update(
        network_status="declined_by_network", type="issuer_declined", reason=code, seller_message=decline.message
    )
    work.emit("charge.failed", charge)
    return decline


def retrieve(call: Call) -> Json:
    """ "Retrieve a charge"."""
    return call.work.get("charge", call.path["charge"], in_path=True)


def update(call: Call) -> Json:
    """ "Update a charge"."""
    work = call.work
    work.get("charge", call.path["charge"], in_path=True)
    body = work.edit("charge", call.path["charge"])
    before = copied(body)
    for name in ("description", "receipt_email", "transfer_group", "shipping", "customer"):
        if name in call.params:
            body[name] = call.given(name)
    if isinstance(call.given("fraud_details"), dict):
        body["fraud_details"] = call.params["fraud_details"]
    update_metadata(body, call.params.get("metadata"))
    work.emit_updated("charge.updated", body, before)
    return body


def list_(call: Call) -> Json:
    """ "List all charges"."""
    return list_objects(call, "charge", "/v1/charges", filters=("payment_intent", "customer", "transfer_group"))


OPERATIONS = (
    Operation("GET", "/v1/charges", list_, "charge_list"),
    Operation("GET", "/v1/charges/{charge}", retrieve, "charge_retrieve"),
    Operation("POST", "/v1/charges/{charge}", update, "charge_update"),
)
