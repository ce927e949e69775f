"""What an account holds before anything is known of it ("The Account object")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import money
from sandbox.listing import as_list
from sandbox.payouts.schedule import new_schedule

if TYPE_CHECKING:
    from sandbox.errors import Json


def platform_body(id_: str, country: str, now: int) -> Json:
    """The platform's own account, which can do everything."""
    body = account_body(id_, country, now, email=f"platform@{id_.removeprefix('acct_').lower()}.example")
    body.update(
        charges_enabled=True, payouts_enabled=True, details_submitted=True, business_type="company", type="standard"
    )
    body["controller"] = {"type": "account"}
    body["capabilities"] = {"card_payments": "active", "transfers": "active", "us_bank_account_ach_payments": "active"}
    body["business_profile"]["name"] = body["settings"]["dashboard"]["display_name"] = "Sandbox platform"
    body["settings"]["card_payments"]["statement_descriptor_prefix"] = "SANDBOX"
    body["settings"]["payments"]["statement_descriptor"] = "SANDBOX PLATFORM"
    # Of what is paid out by itself nothing could be transferred: platforms are told to do it by hand.
    body["settings"]["payouts"]["schedule"]["interval"] = "manual"
    body["_owner"] = None
    return body


def account_body(id_: str, country: str, now: int, *, email: str | None) -> Json:
    """A new account, which nothing is known of; it is not stored yet."""
    return {
        "id": id_, "object": "account",
        "business_profile": {
            "annual_revenue": None, "estimated_worker_count": None, "mcc": None,
            "minority_owned_business_designation": None, "name": None, "product_description": None,
            "support_address": None, "support_email": None, "support_phone": None, "support_url": None, "url": None,
        },
        "business_type": None, "capabilities": {}, "charges_enabled": False, "controller": {}, "country": country,
        "created": now, "default_currency": money.country_currency(country), "details_submitted": False, "email": email,
        "external_accounts": as_list([], f"/v1/accounts/{id_}/external_accounts"),
        "future_requirements": no_requirements(), "groups": {"payments_pricing": None}, "metadata": {},
        "payouts_enabled": False, "requirements": no_requirements(), "settings": _settings(country),
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None}, "type": "none",
        "_external_accounts": [], "_company": {}, "_requested": {}, "_forced_due": [], "_deadline": None,
        "_disabled": None, "_deauthorized": False, "_by_type": True,
    }  # fmt: skip


def _settings(country: str) -> Json:
    return {
        "bacs_debit_payments": {"display_name": None, "service_user_number": None},
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False}, "statement_descriptor_prefix": None,
            "statement_descriptor_prefix_kana": None, "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {"display_name": None, "timezone": "Etc/UTC"},
        "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "never"},
        "payments": {
            "statement_descriptor": None, "statement_descriptor_kana": None, "statement_descriptor_kanji": None,
        },
        "payouts": {
            "debit_negative_balances": True, "schedule": new_schedule(country), "statement_descriptor": None,
        },
        "sepa_debit_payments": {},
    }  # fmt: skip


def no_requirements() -> Json:
    """Requirements of which there are none."""
    return {
        "alternatives": [], "current_deadline": None, "currently_due": [], "disabled_reason": None, "errors": [],
        "eventually_due": [], "past_due": [], "pending_verification": [],
    }  # fmt: skip
