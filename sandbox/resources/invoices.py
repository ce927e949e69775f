"""Invoices: made, changed, looked up ("The Invoice object")."""

from __future__ import annotations

from typing import Final

from sandbox import clocks, discounts, money
from sandbox.errors import ApiError, Json, invalid, missing_object, missing_param
from sandbox.ids import new_id
from sandbox.invoices import close, draft, items, preview, settle, totals
from sandbox.listing import list_objects, time_range
from sandbox.operations import Call, Operation, new_metadata, refuse_both, update_metadata
from sandbox.resources.accounts import own, payable
from sandbox.work import copied

_PLAIN: Final = ("custom_fields", "description", "effective_at", "footer", "number", "statement_descriptor")
_NOT_BUILT_IN: Final = (
    "account_tax_ids", "default_source", "default_tax_rates", "from_invoice", "shipping_cost", "customer_account",
)  # fmt: skip
# What a final invoice still takes ("Update an invoice").
_ALWAYS: Final = frozenset(
    {
        "auto_advance", "custom_fields", "default_payment_method", "description", "expand", "footer", "metadata",
        "payment_settings", "rendering", "statement_descriptor", "transfer_data", "application_fee_amount",
    }
)  # fmt: skip
_FIELDS: Final = 4


def create(call: Call) -> Json:
    """ "Create an invoice": a draft, with the pending invoice items where that is asked for."""
    work, params = call.work, call.params
    refuse_unbuilt(params)
    if not call.given("customer"):
        raise missing_param("customer")
    customer = work.get("customer", params["customer"], "customer")
    clocks.enter(work, customer["id"])
    currency = _currency(call, customer)
    subscription = _subscription(call, customer["id"])
    includes = params.get("pending_invoice_items_behavior", "include" if subscription else "exclude") == "include"
    if subscription and not items.pending(work, customer["id"], currency, subscription):
        raise invalid(
            f"Nothing to invoice for subscription {subscription}.", "subscription", "invoice_no_subscription_line_items"
        )
    id_ = new_id("in")
    chosen = None
    if "discounts" in params:
        chosen = discounts.redeem_all(
            work, params["discounts"], customer=customer["id"], invoice=id_, currency=currency
        )
    invoice = draft.new_invoice(
        work, customer=customer["id"], currency=currency, billing_reason="manual", lines=[],
        period=(work.now, work.now), subscription=subscription, collection_method=_collection(call),
        days_until_due=params.get("days_until_due"), auto_advance=bool(params.get("auto_advance")),
        default_payment_method=_method(call, customer["id"]), discounts=chosen, metadata=new_metadata(params),
        on_behalf_of=call.given("on_behalf_of"), payment_settings=call.given("payment_settings"),
        pending_items=includes, transfer_data=_transfer_data(call), id_=id_, more=_fields(call),
    )  # fmt: skip
    if call.given("automatically_finalizes_at") is not None:
        _finalize_at(call, invoice)
    return invoice


def refuse_unbuilt(params: Json) -> None:
    """Refuse parameters of Stripe's that the sandbox does not have: taxes, shipping costs, sources, revisions."""
    for name in _NOT_BUILT_IN:
        if params.get(name) not in (None, "", []):
            raise invalid(f"The parameter `{name}` is not built into the sandbox.", name)
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise invalid("Automatic tax is not built into the sandbox.", "automatic_tax[enabled]")


def _currency(call: Call, customer: Json) -> str:
    wanted = call.given("currency")
    if wanted is not None:
        return money.check_currency(wanted)
    return str(customer["currency"] or own(call.work, call.work.account)["default_currency"])


def _subscription(call: Call, customer: str) -> str | None:
    id_ = call.given("subscription")
    if id_ is None:
        return None
    found = call.work.get("subscription", id_, "subscription")
    if found["customer"] != customer:
        raise missing_object("subscription", id_, "subscription")
    return str(id_)


def _collection(call: Call) -> str:
    method = str(call.param("collection_method", "charge_automatically"))
    refuse_both(call.params, "days_until_due", "due_date")
    for name in ("days_until_due", "due_date"):
        if method != "send_invoice" and call.given(name) is not None:
            raise invalid(f"You can only set `{name}` if `collection_method` is `send_invoice`.", name)
    if method == "send_invoice" and call.given("days_until_due") is None and call.given("due_date") is None:
        raise invalid(
            "When `collection_method` is `send_invoice`, you must specify either `due_date` or `days_until_due`.",
            "days_until_due", "parameter_missing",
        )  # fmt: skip
    return method


def _method(call: Call, customer: str) -> str | None:
    id_ = call.given("default_payment_method")
    if id_ is None:
        return None
    found = call.work.get("payment_method", id_, "default_payment_method")
    if found["customer"] != customer:
        raise invalid(
            f"The customer does not have a payment method with the ID {id_}. The payment method must be attached to "
            "the customer.", "default_payment_method", "resource_missing",
        )  # fmt: skip
    return str(id_)


def _transfer_data(call: Call) -> Json | None:
    data = call.given("transfer_data")
    if data is None:
        return None
    payable(call.work, data["destination"], "transfer_data[destination]")
    return dict(data)


def _fields(call: Call) -> Json:
    """The fields that a request sets as they are."""
    params = call.params
    fields: Json = {name: call.given(name) for name in _PLAIN if name in params}
    if len(fields.get("custom_fields") or ()) > _FIELDS:
        raise invalid(f"You may only pass up to {_FIELDS} custom fields.", "custom_fields")
    rendering = call.given("rendering")
    if rendering is not None:
        names = ("amount_tax_display", "pdf", "template", "template_version")
        fields["rendering"] = {name: rendering.get(name) or None for name in names}
    shipping = call.given("shipping_details")
    if shipping is not None:
        fields["shipping_details"] = shipping
    if call.given("due_date") is not None:
        fields["due_date"] = params["due_date"]
    if call.given("application_fee_amount") is not None:
        fields["_application_fee_amount"] = params["application_fee_amount"]
    return fields


def _finalize_at(call: Call, invoice: Json) -> None:
    due = call.params["automatically_finalizes_at"]
    if due <= call.work.now:
        raise invalid("`automatically_finalizes_at` must be in the future.", "automatically_finalizes_at")
    invoice["auto_advance"] = True
    draft.schedule_finalization(call.work, invoice, due)


def to_edit(call: Call) -> Json:
    """The invoice that the path names, to be changed, in its customer's time.

    Raises: ApiError 404.
    """
    invoice = call.work.get("invoice", call.path["invoice"], "invoice", in_path=True)
    clocks.enter(call.work, invoice["customer"])
    return call.work.edit("invoice", invoice["id"])


def must_be_draft(invoice: Json) -> None:
    """Refuse to change what is final.

    Raises: ApiError invoice_not_editable.
    """
    if invoice["status"] != "draft":
        raise not_editable()


def not_editable() -> ApiError:
    """What Stripe says of changes to a final invoice."""
    return invalid("Finalized invoices can't be updated in this way", code="invoice_not_editable")


def retrieve(call: Call) -> Json:
    """ "Retrieve an invoice"."""
    return call.work.get("invoice", call.path["invoice"], "invoice", in_path=True)


def update(call: Call) -> Json:
    """ "Update an invoice": a draft as it is wanted, a final one in what is not money."""
    work, params = call.work, call.params
    refuse_unbuilt(params)
    invoice = to_edit(call)
    before = copied(invoice)
    is_draft = invoice["status"] == "draft"
    if not is_draft and set(params) - _ALWAYS:
        raise not_editable()
    invoice.update(_fields(call))
    _update_collection(call, invoice)
    if "default_payment_method" in params:
        invoice["default_payment_method"] = _method(call, invoice["customer"])
    if "transfer_data" in params:
        invoice["_transfer_data"] = _transfer_data(call)
    for name in ("on_behalf_of", "shipping_details", "rendering"):
        if params.get(name) == "":
            invoice[name] = None
    if call.given("on_behalf_of"):
        invoice["on_behalf_of"] = params["on_behalf_of"]
    invoice["payment_settings"].update(
        {name: value or None for name, value in (call.given("payment_settings") or {}).items()}
    )
    update_metadata(invoice, params.get("metadata"))
    if "discounts" in params:
        chosen = discounts.redeem_all(
            work, params["discounts"], customer=invoice["customer"], invoice=invoice["id"], currency=invoice["currency"]
        )
        invoice["discounts"] = [discount["id"] for discount in chosen]
    if is_draft:
        totals.refresh(work, invoice)
    if "auto_advance" in params:
        _set_auto_advance(call, invoice)
    if call.given("automatically_finalizes_at") is not None:
        _finalize_at(call, invoice)
    work.emit_updated("invoice.updated", invoice, before)
    return invoice


def _update_collection(call: Call, invoice: Json) -> None:
    if not {"collection_method", "days_until_due", "due_date"} & set(call.params):
        return
    call.params.setdefault("collection_method", invoice["collection_method"])
    invoice["collection_method"] = _collection(call)
    if call.given("days_until_due") is not None:
        invoice["due_date"] = invoice["created"] + call.params["days_until_due"] * draft.DAY
    if invoice["collection_method"] != "send_invoice":
        invoice["due_date"] = None


def _set_auto_advance(call: Call, invoice: Json) -> None:
    """Let an invoice go on by itself, or stop it: finalization, the first attempt, the retries."""
    work, wanted = call.work, bool(call.params["auto_advance"])
    invoice["auto_advance"] = wanted and invoice["status"] in ("draft", "open")
    if invoice["status"] == "draft":
        if not wanted:
            draft.schedule_finalization(work, invoice, None)
        elif invoice["automatically_finalizes_at"] is None:
            draft.schedule_finalization(work, invoice, work.now + draft.HOUR)
    elif not wanted:
        clocks.unschedule(work, settle.RETRY, invoice["id"])
        invoice["next_payment_attempt"] = None
    else:
        attempt_soon(call, invoice)


def attempt_soon(call: Call, invoice: Json) -> None:
    """Have a final invoice that advances by itself collected an hour on, where nothing else is planned."""
    if settle.is_retried(invoice) and invoice["next_payment_attempt"] is None:
        due = call.work.now + draft.HOUR
        invoice["next_payment_attempt"] = due
        clocks.schedule(call.work, invoice["customer"], due, settle.RETRY, invoice["id"])


def delete(call: Call) -> Json:
    """ "Delete a draft invoice"."""
    return close.delete_draft(call.work, to_edit(call))


def list_(call: Call) -> Json:
    """ "List all invoices"."""
    where = {"_subscription": call.params["subscription"]} if call.given("subscription") else {}
    for kind in ("customer", "subscription"):
        if call.given(kind):
            call.work.get(kind, call.params[kind], kind)
    first, last = time_range(call, "due_date")
    wants_due = call.given("due_date") is not None

    def matches(invoice: Json) -> bool:
        # What test clocks have made is listed by whose it is alone.
        if invoice["test_clock"] is not None and not (where or call.given("customer")):
            return False
        return not wants_due or (invoice["due_date"] is not None and first <= invoice["due_date"] <= last)

    return list_objects(
        call, "invoice", "/v1/invoices", where=where, matches=matches,
        filters=("customer", "collection_method", "status"),
    )  # fmt: skip


def create_preview(call: Call) -> Json:
    """ "Create a preview invoice": what the next one will be, or would be with changes."""
    refuse_unbuilt(call.params)
    for name in ("schedule", "schedule_details", "customer_details"):
        if call.given(name):
            raise invalid(f"The parameter `{name}` is not built into the sandbox.", name)
    return preview.preview(call)


_ONE: Final = "/v1/invoices/{invoice}"

OPERATIONS = (
    Operation("POST", "/v1/invoices", create, "invoice_create"),
    Operation("GET", "/v1/invoices", list_, "invoice_list"),
    Operation("POST", "/v1/invoices/create_preview", create_preview, "invoice_create_preview"),
    Operation("GET", _ONE, retrieve, "invoice_retrieve"),
    Operation("POST", _ONE, update, "invoice_update"),
    Operation("DELETE", _ONE, delete, "invoice_delete"),
)
