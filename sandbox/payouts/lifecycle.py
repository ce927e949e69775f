"""A payout from its start to its end ("The Payout object", "Payout failures")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import pricing
from sandbox.errors import invalid
from sandbox.ids import new_id, random_text
from sandbox.payouts import schedule
from sandbox.payouts.policy import policy
from sandbox.resources import balance_transactions
from sandbox.resources.accounts import add_external_account, own, show_external_accounts
from sandbox.resources.balance_transactions import Fee
from sandbox.work import copied

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

# Why a bank does not take a payout ("Payout failure codes").
FAILURES: Final = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "bank_account_restricted": "The bank account has restrictions on either the type, or the number, of payouts "
    "allowed. This normally indicates that the bank account is a savings or other non-checking account.",
    "bank_ownership_changed": "The destination bank account is no longer valid because its branch has changed "
    "ownership.",
    "could_not_process": "The bank could not process this payout.",
    "debit_not_authorized": "Debit transactions are not approved on the bank account. Stripe requires bank accounts "
    "to be set up for both credit and debit payouts.",
    "declined": "The bank has declined this payout. Please contact the bank before retrying.",
    "incorrect_account_holder_address": "Your bank notified us that the bank account holder address on file is "
    "incorrect.",
    "incorrect_account_holder_name": "Your bank notified us that the bank account holder name on file is incorrect.",
    "incorrect_account_holder_tax_id": "Your bank notified us that the bank account holder tax ID on file is "
    "incorrect.",
    "incorrect_account_type": "The bank account type on file is incorrect.",
    "insufficient_funds": "Your Stripe account has insufficient funds to cover the payout.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "invalid_account_number_length": "The account number is too short or too long.",
    "invalid_currency": "The bank was unable to process this payout because of its currency. This is probably because "
    "the bank account cannot accept payments in that currency.",
    "no_account": "The bank account details on file are probably incorrect. No bank account could be located with "
    "those details.",
    "unsupported_card": "The bank no longer supports payouts to this card.",
}
_DESCRIPTION: Final = "STRIPE PAYOUT"
_UNDER_WAY: Final = ("pending", "in_transit")


def make(
    work: Work, account: Json, amount: int, currency: str, destination: Json, *, method: str = "standard",
    automatic: bool = False, original: str | None = None, **fields: Any,
) -> Json:  # fmt: skip
    """Send money to a bank, or, where the amount is negative, take it from there.

    Args:
        original: the payout that this one takes back.
        fields: what else the payout has.
    """
    id_ = new_id("po")
    is_instant = method == "instant"
    movement = balance_transactions.post(
        work, account["id"], "payout", -amount, currency, id_, description=_DESCRIPTION,
        fees=_fees(work, account, amount, currency, id_) if is_instant else (),
        available_on=None if amount > 0 else balance_transactions.pending_until(work, account),
        category=None if amount > 0 else "payout_reversal", payout=id_ if automatic else "",
    )  # fmt: skip
    payout = work.add(
        {
            "id": id_, "object": "payout", "amount": amount, "application_fee": None, "application_fee_amount": None,
            "arrival_date": work.now if is_instant else schedule.arrival(work.now), "automatic": automatic,
            "balance_transaction": movement["id"], "created": work.now, "currency": currency,
            "description": _DESCRIPTION if automatic else None, "destination": destination["id"],
            "failure_balance_transaction": None, "failure_code": None, "failure_message": None, "livemode": False,
            "metadata": {}, "method": method, "original_payout": original, "payout_method": None,
            "reconciliation_status": "in_progress" if automatic else "not_applicable", "reversed_by": None,
            "source_type": "card", "statement_descriptor": account["settings"]["payouts"]["statement_descriptor"],
            "status": "pending", "trace_id": {"status": "pending", "value": None}, "type": destination["object"],
            **fields,
        },
        account=account["id"],
    )  # fmt: skip
    work.emit("payout.created", payout, account=account["id"])
    if policy(work.store)["progress"]:
        work.later("send_payout", id_)
    return payout


def _fees(work: Work, account: Json, amount: int, currency: str, payout: str) -> tuple[Fee, ...]:
    """What an instant payout costs whoever pays Stripe's fees: the account itself, or its platform."""
    fee = pricing.instant_payout_fee(amount, currency)
    if not platform_pays(account):
        return (Fee("stripe_fee", fee, "Instant payout fee"),)
    _charge_platform(work, account, -fee, currency, payout)
    return ()


def platform_pays(account: Json) -> bool:
    """Whether Stripe's fees of a connected account are its platform's ("Fee behavior on connected accounts")."""
    return bool((account["controller"].get("fees") or {}).get("payer") == "application")


def _charge_platform(work: Work, account: Json, amount: int, currency: str, payout: str) -> None:
    balance_transactions.post(
        work, work.platform, "stripe_fee", amount, currency, None,
        description=f"Connect: instant payout {payout} of {account['id']}",
    )  # fmt: skip


def send(work: Work, id_: str) -> None:
    """The bank has been told. What an automatic payout is made of is known from now on.

    Raises: ApiError for a payout that is not pending.
    """
    payout = work.edit("payout", id_)
    if payout["status"] != "pending":
        raise invalid(f"This payout has a status of {payout['status']}, not pending.")
    before = copied(payout)
    payout["status"] = "in_transit"
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
    work.emit_updated("payout.updated", payout, before)
    if payout["automatic"]:
        work.emit("payout.reconciliation_completed", payout)
    if policy(work.store)["progress"]:
        work.later("land_payout", id_)


def land(work: Work, id_: str) -> None:
    """The bank has taken it, or has not, as its test number says."""
    payout = work.get("payout", id_)
    if payout["status"] not in _UNDER_WAY:
        return
    failure = (work.any(payout["destination"]) or {}).get("_failure")
    if failure is None:
        pay(work, id_)
    else:
        fail(work, id_, failure)


def pay(work: Work, id_: str) -> Json:
    """The money has arrived.

    Raises: ApiError for a payout that is not under way.
    """
    payout = work.edit("payout", id_)
    if payout["status"] not in _UNDER_WAY:
        raise invalid(f"This payout has a status of {payout['status']}: it cannot arrive.")
    before = copied(payout)
    payout.update(status="paid", trace_id={"status": "supported", "value": random_text(15).upper()})
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
    work.emit("payout.paid", payout)
    work.emit_updated("payout.updated", payout, before)
    return payout


def fail(work: Work, id_: str, code: str) -> Json:
    """The bank has sent the money back, perhaps after it seemed to have arrived.

    No more is sent there until its details are updated.

    Raises: ApiError for a payout that has ended otherwise.
    """
    payout = work.edit("payout", id_)
    if payout["status"] not in (*_UNDER_WAY, "paid"):
        raise invalid(f"This payout has a status of {payout['status']}: it cannot fail.")
    before = copied(payout)
    _return(work, payout, "payout_failure", f"PAYOUT FAILURE ({id_})")
    payout.update(status="failed", failure_code=code, failure_message=FAILURES[code])
    payout["trace_id"] = {"status": "unsupported", "value": None}
    _close_destination(work, payout)
    work.emit("payout.failed", payout)
    work.emit_updated("payout.updated", payout, before)
    return payout


def cancel(work: Work, payout: Json) -> None:
    """Call back what the bank does not know of yet ("Cancel a payout").

    Raises: ApiError where that is too late, or the payout was made by itself.
    """
    if payout["automatic"]:
        raise invalid("Automatic payouts cannot be canceled.")
    if payout["status"] != "pending":
        raise invalid("Payouts can only be canceled while they are pending.")
    before = copied(payout)
    _return(work, payout, "payout_cancel", f"PAYOUT CANCEL ({payout['id']})")
    payout.update(status="canceled", trace_id={"status": "unsupported", "value": None})
    work.emit("payout.canceled", payout)
    work.emit_updated("payout.updated", payout, before)


def _return(work: Work, payout: Json, type_: str, description: str) -> None:
    """Undo what a payout did to the balance; what it cost comes back as well."""
    made = work.get("balance_transaction", payout["balance_transaction"])
    fees = tuple(Fee(one["type"], -one["amount"], one["description"]) for one in made["fee_details"])
    movement = balance_transactions.post(
        work, work.account, type_, -made["amount"], made["currency"], payout["id"], fees=fees, description=description
    )
    payout["failure_balance_transaction"] = movement["id"]
    account = own(work, work.account)
    if payout["method"] == "instant" and platform_pays(account):
        fee = pricing.instant_payout_fee(payout["amount"], payout["currency"])
        _charge_platform(work, account, fee, payout["currency"], payout["id"])


def _close_destination(work: Work, payout: Json) -> None:
    if work.find(payout["type"], payout["destination"]) is None:
        return
    destination = work.edit(payout["type"], payout["destination"])
    before = copied(destination)
    destination["status"] = "errored"
    show_external_accounts(work, work.edit("account", work.account, work.owner(work.account)))
    work.emit_updated("account.external_account.updated", destination, before)


def destination_for(work: Work, account: Json, currency: str) -> Json | None:
    """Where payouts of a currency go unless that is said.

    A platform sets its bank account up in the dashboard: here it has one in each currency from the start.
    """
    found = [work.any(id_) for id_ in account["_external_accounts"]]
    of_currency = [one for one in found if one is not None and one["currency"] == currency]
    if not of_currency and account["id"] == work.platform:
        body = work.edit("account", account["id"], work.owner(account["id"]))
        return add_external_account(work, body, {"account_number": "000123456789", "currency": currency})
    return next((one for one in of_currency if one["default_for_currency"]), None)
