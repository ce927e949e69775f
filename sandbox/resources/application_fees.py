"""What the platform keeps of a host's payment, and gives back of it ("The Application Fee object")."""

from __future__ import annotations

from decimal import Decimal

from sandbox import money
from sandbox.errors import Json, invalid
from sandbox.ids import new_id
from sandbox.listing import as_list, list_objects, put_first
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources import balance_transactions
from sandbox.resources.accounts import application_of, own
from sandbox.work import Work, copied


def make(
    work: Work, *, account: str, amount: int, currency: str, charge: str, originating: str | None, available_on: int
) -> Json:
    """Take a fee of a host's payment.

    Args:
        charge: the host's payment that it is taken of.
        originating: the platform's charge, for a destination charge.
    """
    id_ = new_id("fee")
    settled_in = own(work, work.platform)["default_currency"]
    movement = balance_transactions.post(
        work, work.platform, "application_fee", money.convert(amount, currency, settled_in), settled_in, id_,
        description=f"Application fee from {account}", available_on=available_on,
        exchange_rate=balance_transactions.rate(currency, settled_in),
    )  # fmt: skip
    body = work.add(
        {
            "id": id_, "object": "application_fee", "account": account, "amount": amount, "amount_refunded": 0,
            "application": application_of(work.platform), "balance_transaction": movement["id"], "charge": charge,
            "created": work.now, "currency": currency, "fee_source": {"charge": charge, "type": "charge"},
            "livemode": False, "originating_transaction": originating, "refunded": False,
            "refunds": as_list([], f"/v1/application_fees/{id_}/refunds"),
        },
        account=work.platform,
    )  # fmt: skip
    work.emit("application_fee.created", body, account=work.platform)
    return body


def refund_share(work: Work, fee_id: str, returned: int, total: int) -> Json | None:
    """Give back what belongs to the part of a payment that was given back by now, less what went before.

    The share of the sum is rounded, not each part: refunds of all parts give back all of the fee.
    """
    fee = work.get("application_fee", fee_id, account=work.platform)
    share = money.round_half_up(Decimal(fee["amount"] * returned) / Decimal(total)) - fee["amount_refunded"]
    return refund(work, fee_id, min(share, fee["amount"] - fee["amount_refunded"])) if share > 0 else None


def refund(work: Work, fee_id: str, amount: int, metadata: dict[str, str] | None = None) -> Json:
    """Give back a part of a fee."""
    fee = work.edit("application_fee", fee_id, work.platform)
    left, currency = fee["amount"] - fee["amount_refunded"], fee["currency"]
    if amount > left:
        raise invalid(
            f"Refund amount ({money.shown(amount, currency)}) is greater than unrefunded amount on fee "
            f"({money.shown(left, currency)})", "amount",
        )  # fmt: skip
    id_ = new_id("fr")
    settled = work.get("balance_transaction", fee["balance_transaction"], account=work.platform)
    returned = money.share(settled["amount"], fee["amount_refunded"], amount, fee["amount"])
    movement = balance_transactions.post(
        work, work.platform, "application_fee_refund", -returned, settled["currency"], id_,
        description=f"REFUND FOR APPLICATION FEE ({fee_id})",
        exchange_rate=balance_transactions.rate(currency, settled["currency"]),
    )  # fmt: skip
    body = work.add(
        {
            "id": id_, "object": "fee_refund", "amount": amount, "balance_transaction": movement["id"],
            "created": work.now, "currency": currency, "fee": fee_id, "metadata": metadata or {},
        },
        account=work.platform,
    )  # fmt: skip
    fee["amount_refunded"] += amount
    fee["refunded"] = fee["amount_refunded"] == fee["amount"]
    put_first(fee["refunds"], body)
    work.emit("application_fee.refunded", fee, account=work.platform)
    return body


def retrieve(call: Call) -> Json:
    """ "Retrieve an application fee"."""
    return call.work.get("application_fee", call.path["id"], "id", in_path=True)


def list_(call: Call) -> Json:
    """ "List all application fees"."""
    return list_objects(call, "application_fee", "/v1/application_fees", filters=("charge",))


def create_refund(call: Call) -> Json:
    """ "Create an application fee refund", which the host's balance is credited with."""
    work = call.work
    fee = work.get("application_fee", call.path["id"], "id", in_path=True)
    amount = call.param("amount", fee["amount"] - fee["amount_refunded"])
    if amount < 1:
        raise invalid("This application fee has already been fully refunded.", "amount", "charge_already_refunded")
    body = refund(work, fee["id"], amount, new_metadata(call.params))
    credit_host(work, body)
    return body


def credit_host(work: Work, fee_refund: Json) -> None:
    """Give a host back what the platform kept, where no reversal does so."""
    fee = work.get("application_fee", fee_refund["fee"], account=work.platform)
    host, currency = fee["account"], fee["currency"]
    settled_in = own(work, host)["default_currency"]
    balance_transactions.post(
        work, host, "adjustment", hosts_share(work, fee_refund), settled_in, fee_refund["id"],
        description=f"Refund of application fee ({fee['id']})",
        exchange_rate=balance_transactions.rate(currency, settled_in),
    )  # fmt: skip


def hosts_share(work: Work, fee_refund: Json) -> int:
    """What a host gets back of a fee, in the currency that it settles in; all parts add up to what was kept."""
    fee = work.get("application_fee", fee_refund["fee"], account=work.platform)
    kept = money.convert(fee["amount"], fee["currency"], own(work, fee["account"])["default_currency"])
    return money.share(kept, fee["amount_refunded"] - fee_refund["amount"], fee_refund["amount"], fee["amount"])


def _refund(call: Call) -> Json:
    body = call.work.get("fee_refund", call.path["id"], "id", in_path=True)
    if body["fee"] != call.path["fee"]:
        raise invalid(f"No such fee refund: '{body['id']}'", "id", "resource_missing", status=404)
    return body


def retrieve_refund(call: Call) -> Json:
    """ "Retrieve an application fee refund"."""
    return _refund(call)


def update_refund(call: Call) -> Json:
    """ "Update an application fee refund"."""
    body = call.work.edit("fee_refund", _refund(call)["id"])
    before = copied(body)
    update_metadata(body, call.params.get("metadata"))
    call.work.emit_updated("application_fee.refund.updated", body, before)
    return body


def list_refunds(call: Call) -> Json:
    """ "List all application fee refunds"."""
    fee = call.path["id"]
    call.work.get("application_fee", fee, "id", in_path=True)
    return list_objects(call, "fee_refund", f"/v1/application_fees/{fee}/refunds", where={"fee": fee})


OPERATIONS = (
    Operation("GET", "/v1/application_fees", list_, "application_fee_list"),
    Operation("GET", "/v1/application_fees/{id}", retrieve, "application_fee_retrieve"),
    Operation("POST", "/v1/application_fees/{id}/refunds", create_refund, "application_fee_refund_create"),
    Operation("GET", "/v1/application_fees/{id}/refunds", list_refunds, "application_fee_refund_list"),
    Operation("GET", "/v1/application_fees/{fee}/refunds/{id}", retrieve_refund, "application_fee_refund_retrieve"),
    Operation("POST", "/v1/application_fees/{fee}/refunds/{id}", update_refund, "application_fee_refund_update"),
)
