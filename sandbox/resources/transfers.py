"""Transfers from the platform to its hosts, and their reversals ("The Transfer object")."""

from __future__ import annotations

from sandbox import money
from sandbox.errors import Json, invalid
from sandbox.ids import new_id
from sandbox.listing import as_list, list_objects, put_first
from sandbox.operations import Call, Operation, new_metadata, update_metadata
from sandbox.resources import balance_transactions
from sandbox.resources.accounts import application_of, own, payable
from sandbox.resources.application_fees import hosts_share, refund_share
from sandbox.resources.balance_transactions import Fee
from sandbox.resources.bodies import charge_body, refund_body
from sandbox.work import Work, copied, differences


def make(
    work: Work,
    destination: str,
    amount: int,
    currency: str,
    *,
    available_on: int,
    source: Json | None = None,
    group: str | None = None,
    fee: Json | None = None,
    payment_id: str | None = None,
    metadata: dict[str, str] | None = None,
    description: str | None = None,
) -> Json:
    """Move money from the platform to a host, whose account gets a payment (`py_…`) for it.

    Args:
        source: the charge that it comes from.
        fee: the application fee that stays with the platform, for a destination charge.
        payment_id: the id that the host's payment shall have.
    """
    id_, payment_id = new_id("tr"), payment_id or new_id("py")
    movement = balance_transactions.post(
        work, work.platform, "transfer", -amount, currency, id_,
        description=description or f"Transfer to {destination}", available_on=None if source is None else available_on,
    )  # fmt: skip
    transfer = work.add(
        {
            "id": id_, "object": "transfer", "amount": amount, "amount_reversed": 0,
            "balance_transaction": movement["id"], "created": work.now, "currency": currency,
            "description": description, "destination": destination, "destination_payment": payment_id,
            "livemode": False, "metadata": metadata or {},
            "reversals": as_list([], f"/v1/transfers/{id_}/reversals"), "reversed": False,
            "source_transaction": source["id"] if source else None, "source_type": "card", "transfer_group": group,
        },
        account=work.platform,
    )  # fmt: skip
    payment = _payment(work, transfer, available_on, fee)
    work.add(payment, account=destination)
    work.emit("transfer.created", transfer, account=work.platform)
    work.emit("payment.created", payment, account=destination)
    return transfer


def _payment(work: Work, transfer: Json, available_on: int, fee: Json | None) -> Json:
    """The host's side of a transfer ("Destination payments")."""
    host = transfer["destination"]
    currency = transfer["currency"]
    settled_in = own(work, host)["default_currency"]
    fees: tuple[Fee, ...] = ()
    if fee is not None:
        amount = money.convert(fee["amount"], fee["currency"], settled_in)
        label = f"{own(work, work.platform)['settings']['dashboard']['display_name']} application fee"
        fees = (Fee("application_fee", amount, label, application_of(work.platform)),)
    movement = balance_transactions.post(
        work, host, "payment", money.convert(transfer["amount"], currency, settled_in), settled_in,
        transfer["destination_payment"], fees=fees, available_on=available_on,
        exchange_rate=balance_transactions.rate(currency, settled_in),
    )  # fmt: skip
    return charge_body(
        work, transfer["destination_payment"], transfer["amount"], currency, amount_captured=transfer["amount"],
        application=application_of(work.platform), application_fee=fee["id"] if fee else None,
        application_fee_amount=fee["amount"] if fee else None, balance_transaction=movement["id"], captured=True,
        calculated_statement_descriptor=None, paid=True, status="succeeded", source_transfer=transfer["id"],
        payment_method_details={"stripe_account": {}, "type": "stripe_account"},
    )  # fmt: skip


def reverse(
    work: Work,
    transfer_id: str,
    amount: int,
    *,
    refund: Json | None = None,
    fee_refund: Json | None = None,
    metadata: dict[str, str] | None = None,
) -> Json:
    """Take money back from a host.

    Args:
        refund: the guest's refund that it is for.
        fee_refund: the part of the application fee that the host gets back with it.
    """
    transfer = work.edit("transfer", transfer_id, work.platform)
    left = transfer["amount"] - transfer["amount_reversed"]
    currency = transfer["currency"]
    _check_returnable(work, transfer, amount)
    if amount > left:
        raise invalid(
            f"Transfer amount {money.shown(amount, currency)} is greater than unreversed amount on transfer "
            f"({money.shown(left, currency)})", "amount",
        )  # fmt: skip
    id_, refund_id = new_id("trr"), new_id("pyr")
    movement = balance_transactions.post(
        work, work.platform, "transfer_refund", amount, currency, id_,
        description=f"REFUND FOR TRANSFER ({transfer_id})"
    )
    body = work.add(
        {
            "id": id_, "object": "transfer_reversal", "amount": amount, "balance_transaction": movement["id"],
            "created": work.now, "currency": currency, "destination_payment_refund": refund_id,
            "metadata": metadata or {}, "source_refund": refund["id"] if refund else None, "transfer": transfer_id,
        },
        account=work.platform,
    )  # fmt: skip
    transfer["amount_reversed"] += amount
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    put_first(transfer["reversals"], body)
    _refund_payment(work, transfer, body, refund_id, fee_refund)
    work.emit("transfer.reversed", transfer, account=work.platform)
    return body


def _check_returnable(work: Work, transfer: Json, amount: int) -> None:
    """A host for whose losses Stripe answers cannot be left owing ("Reverse transfers")."""
    host = own(work, transfer["destination"])
    if (host["controller"].get("losses") or {}).get("payments") != "stripe":
        return
    settled_in = host["default_currency"]
    if money.convert(amount, transfer["currency"], settled_in) > sum(work.balance(host["id"]).get(settled_in, (0, 0))):
        raise invalid(
            f"The account {host['id']} has insufficient funds to reverse this transfer.", "amount",
            "balance_insufficient",
        )  # fmt: skip


def _refund_payment(work: Work, transfer: Json, reversal: Json, id_: str, fee_refund: Json | None) -> None:
    host, currency = transfer["destination"], transfer["currency"]
    payment = work.edit("charge", transfer["destination_payment"], host)
    settled = work.get("balance_transaction", payment["balance_transaction"], account=host)
    fees: tuple[Fee, ...] = ()
    if fee_refund is not None:
        returned = hosts_share(work, fee_refund)
        fees = (Fee("application_fee", -returned, "Application fee refund", application_of(work.platform)),)
    returned = money.share(settled["amount"], payment["amount_refunded"], reversal["amount"], payment["amount"])
    movement = balance_transactions.post(
        work, host, "payment_refund", -returned, settled["currency"], id_,
        fees=fees, description=f"REFUND FOR PAYMENT ({transfer['destination_payment']})",
        exchange_rate=balance_transactions.rate(currency, settled["currency"]),
    )  # fmt: skip
    before = copied(payment)
    payment["amount_refunded"] += reversal["amount"]
    payment["refunded"] = payment["amount_refunded"] == payment["amount"]
    work.add(
        refund_body(
            work, id_, payment, reversal["amount"], balance_transaction=movement["id"],
            source_transfer_reversal=reversal["id"],
        ),
        account=host,
    )  # fmt: skip
    work.emit("charge.refunded", payment, account=host, previous=differences(before, payment))


def create(call: Call) -> Json:
    """ "Create a transfer"."""
    work, params = call.work, call.params
    currency = money.check_currency(params["currency"])
    destination = params["destination"]
    payable(work, destination, "destination")
    source = None
    group = params.get("transfer_group")
    amount = params.get("amount")
    available_on = work.now
    if params.get("source_transaction"):
        source = work.get("charge", params["source_transaction"], "source_transaction")
        amount, currency, available_on = _from_charge(work, source, amount, currency)
        if source["transfer_group"] is not None and group not in (None, source["transfer_group"]):
            raise invalid("The transfer group of a transfer must be that of its source_transaction.", "transfer_group")
        group = group or source["transfer_group"] or f"group_{source['payment_intent'] or source['id']}"
        if source["transfer_group"] is None:
            work.edit("charge", source["id"])["transfer_group"] = group
    if amount is None:
        raise invalid("Missing required param: amount.", "amount", "parameter_missing")
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if source is None and not _is_covered(work, amount, currency):
        raise invalid(
            "You have insufficient available funds in your Stripe account. Try adding funds directly to your available "
            "balance by creating Charges using the 4000000000000077 test card. See: "
            "https://stripe.com/docs/testing#available-balance", code="balance_insufficient",
        )  # fmt: skip
    return make(
        work, destination, amount, currency, available_on=available_on, source=source, group=group,
        metadata=new_metadata(params), description=call.given("description"),
    )  # fmt: skip


def _is_covered(work: Work, amount: int, currency: str) -> bool:
    """Whether the platform has so much; the official command line transfers all that it charged, fees included."""
    available = work.balance(work.platform).get(currency, (0, 0))[0]
    if available < amount:
        available += sum(
            movement["fee"] for movement in work.listed("balance_transaction", account=work.platform)
            if movement["currency"] == currency and movement["available_on"] <= work.now
        )  # fmt: skip
    return available >= amount


def _from_charge(work: Work, charge: Json, amount: int | None, currency: str) -> tuple[int, str, int]:
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise invalid("The source_transaction must be a captured charge that succeeded.", "source_transaction")
    movement = work.get("balance_transaction", charge["balance_transaction"] or "", "source_transaction")
    if currency != movement["currency"]:
        raise invalid(
            f"The currency of source_transaction's balance transaction ({movement['currency']}) must be the same as "
            f"the transfer currency ({currency})", "currency",
        )  # fmt: skip
    moved = sum(
        transfer["amount"] - transfer["amount_reversed"]
        for transfer in work.listed("transfer", account=work.platform, link=("source_transaction", charge["id"]))
    )
    left = movement["amount"] - moved
    wanted = left if amount is None else amount
    if wanted > left:
        raise invalid(
            f"The sum of transfers ({money.shown(moved + wanted, currency)}) from source_transaction {charge['id']} "
            f"exceeds its amount ({money.shown(movement['amount'], currency)}).", "amount",
            "source_transaction_amount_exceeded",
        )  # fmt: skip
    return wanted, currency, movement["available_on"]


def retrieve(call: Call) -> Json:
    """ "Retrieve a transfer"."""
    return call.work.get("transfer", call.path["transfer"], in_path=True)


def update(call: Call) -> Json:
    """ "Update a transfer"."""
    work = call.work
    work.get("transfer", call.path["transfer"], in_path=True)
    body = work.edit("transfer", call.path["transfer"])
    before = copied(body)
    if "description" in call.params:
        body["description"] = call.given("description")
    update_metadata(body, call.params.get("metadata"))
    work.emit_updated("transfer.updated", body, before)
    return body


def list_(call: Call) -> Json:
    """ "List all transfers"."""
    return list_objects(call, "transfer", "/v1/transfers", filters=("destination", "transfer_group"))


def create_reversal(call: Call) -> Json:
    """ "Create a transfer reversal"."""
    work, params = call.work, call.params
    transfer = work.get("transfer", call.path["transfer"], in_path=True)
    amount = call.param("amount", transfer["amount"] - transfer["amount_reversed"])
    if amount < 1:
        raise invalid("This transfer is already fully reversed.", "amount")
    fee_refund = None
    if params.get("refund_application_fee"):
        fee_refund = _refund_fee(work, transfer, amount)
    return reverse(work, transfer["id"], amount, fee_refund=fee_refund, metadata=new_metadata(params))


def _refund_fee(work: Work, transfer: Json, amount: int) -> Json | None:
    charge = work.find("charge", transfer["source_transaction"] or "")
    if charge is None or charge["application_fee"] is None:
        return None
    return refund_share(work, charge["application_fee"], transfer["amount_reversed"] + amount, transfer["amount"])


def _reversal(call: Call) -> Json:
    body = call.work.get("transfer_reversal", call.path["id"], "id", in_path=True)
    if body["transfer"] != call.path["transfer"]:
        raise invalid(f"No such transfer reversal: '{body['id']}'", "id", "resource_missing", status=404)
    return body


def retrieve_reversal(call: Call) -> Json:
    """ "Retrieve a reversal"."""
    return _reversal(call)


def update_reversal(call: Call) -> Json:
    """ "Update a reversal"."""
    body = call.work.edit("transfer_reversal", _reversal(call)["id"])
    update_metadata(body, call.params.get("metadata"))
    return body


def list_reversals(call: Call) -> Json:
    """ "List all reversals"."""
    transfer = call.path["transfer"]
    call.work.get("transfer", transfer, in_path=True)
    return list_objects(
        call, "transfer_reversal", f"/v1/transfers/{transfer}/reversals", where={"transfer": transfer}
    )


OPERATIONS = (
    Operation("POST", "/v1/transfers", create, "transfer_create"),
    Operation("GET", "/v1/transfers", list_, "transfer_list"),
    Operation("GET", "/v1/transfers/{transfer}", retrieve, "transfer_retrieve"),
    Operation("POST", "/v1/transfers/{transfer}", update, "transfer_update"),
    Operation("POST", "/v1/transfers/{transfer}/reversals", create_reversal, "transfer_reversal_create"),
    Operation("GET", "/v1/transfers/{transfer}/reversals", list_reversals, "transfer_reversal_list"),
    Operation("GET", "/v1/transfers/{transfer}/reversals/{id}", retrieve_reversal, "transfer_reversal_retrieve"),
    Operation("POST", "/v1/transfers/{transfer}/reversals/{id}", update_reversal, "transfer_reversal_update"),
)
