"""The objects that more than one resource makes: charges (also a host's payments), refunds, persons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.ids import new_id

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def billing_details() -> Json:
    """Billing details of which nothing is known."""
    return {
        "address": address(), "email": None, "name": None, "phone": None, "tax_id": None,
    }  # fmt: skip


def charge_body(work: Work, id_: str, amount: int, currency: str, **fields: Any) -> Json:
    """A charge ("The Charge object"); it is not stored yet."""
    body: Json = {
        "id": id_, "object": "charge", "amount": amount, "amount_captured": 0, "amount_refunded": 0,
        "application": None, "application_fee": None, "application_fee_amount": None, "balance_transaction": None,
        "billing_details": billing_details(), "calculated_statement_descriptor": None, "captured": False,
        "created": work.now, "currency": currency, "customer": None, "description": None, "disputed": False,
        "failure_balance_transaction": None, "failure_code": None, "failure_message": None, "fraud_details": {},
        "livemode": False, "metadata": {}, "on_behalf_of": None, "outcome": None, "paid": False,
        "payment_intent": None, "payment_method": None, "payment_method_details": None, "radar_options": {},
        "receipt_email": None, "receipt_number": None, "receipt_url": None, "refunded": False, "review": None,
        "shipping": None, "source_transfer": None, "statement_descriptor": None, "statement_descriptor_suffix": None,
        "status": "pending", "transfer_data": None, "transfer_group": None,
    }  # fmt: skip
    body.update(fields)
    return body


def refund_body(work: Work, id_: str, charge: Json, amount: int, **fields: Any) -> Json:
    """A refund ("The Refund object"); it is not stored yet."""
    body: Json = {
        "id": id_, "object": "refund", "amount": amount, "balance_transaction": None, "charge": charge["id"],
        "created": work.now, "currency": charge["currency"], "destination_details": None, "metadata": {},
        "payment_intent": charge["payment_intent"], "reason": None, "receipt_number": None,
        "source_transfer_reversal": None, "status": "succeeded", "transfer_reversal": None,
    }  # fmt: skip
    body.update(fields)
    return body


def address() -> Json:
    """An address of which nothing is known."""
    return dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def person_body(work: Work, account: str) -> Json:
    """A person of an account ("The Person object"); it is not stored yet."""
    document = {"back": None, "details": None, "details_code": None, "front": None}
    nothing_due: Json = {
        "alternatives": [], "currently_due": [], "errors": [], "eventually_due": [], "past_due": [],
        "pending_verification": [],
    }  # fmt: skip
    return {
        "id": new_id("person"), "object": "person", "account": account, "address": address(), "created": work.now,
        "dob": {"day": None, "month": None, "year": None}, "email": None, "first_name": None,
        "future_requirements": dict(nothing_due), "id_number_provided": False, "last_name": None, "metadata": {},
        "phone": None, "political_exposure": "none",
        "relationship": {
            "authorizer": False, "director": False, "executive": False, "legal_guardian": False, "owner": False,
            "percent_ownership": None, "representative": False, "title": None,
        },
        "requirements": dict(nothing_due), "ssn_last_4_provided": False,
        "verification": {
            "additional_document": dict(document), "details": None, "details_code": None, "document": document,
            "status": "unverified",
        },
    }  # fmt: skip


def update_person(person: Json, params: Json) -> None:
    """Take what is said of a person; numbers that identify one are not kept, only that they were given."""
    for name, value in params.items():
        if name in ("id_number", "ssn_last_4"):
            person[f"{name}_provided"] = value != ""
            if name == "id_number" and value:
                person["ssn_last_4_provided"] = True
        elif name in ("address", "dob", "relationship") and isinstance(value, dict):
            person[name].update(
                {key: float(item) if key == "percent_ownership" else item for key, item in value.items()}
            )
        elif name in ("metadata", "documents", "verification", "expand"):
            continue
        else:
            person[name] = None if value == "" else value
