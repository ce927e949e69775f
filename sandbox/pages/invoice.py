"""The page that a customer sees an invoice on, and pays it ("Hosted Invoice Page")."""

from __future__ import annotations

import hmac
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sandbox import clocks, money
from sandbox.errors import ApiError, Json
from sandbox.invoices import collect, payments
from sandbox.pages.html import not_found, page
from sandbox.resources.payment_methods import resolve

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.engine import Engine
    from sandbox.work import Work

# Test cards that a person can pay with here, and what each does.
_CARDS: Final = {
    "pm_card_visa": "Visa 4242, which succeeds",
    "pm_card_mastercard": "Mastercard 4444, which succeeds",
    "pm_card_chargeDeclined": "Visa 0002, which is declined",
    "pm_card_chargeDeclinedInsufficientFunds": "Visa 9995, which has no funds",
    "pm_card_authenticationRequired": "Visa 3184, which asks for 3-D Secure",
}
_STATES: Final = {
    "open": "To be paid", "paid": "Paid", "uncollectible": "To be paid; given up", "void": "Void: nothing is to be paid"
}  # fmt: skip
_PAYABLE: Final = ("open", "uncollectible")


def routes(engine: Engine) -> list[Route]:
    """The pages of customers."""
    pages = _Pages(engine)
    return [
        Route("/invoices/{invoice}/{token}", pages.show, methods=["GET"]),
        Route("/invoices/{invoice}/{token}", pages.pay, methods=["POST"]),
        Route("/invoices/{invoice}/{token}/pdf", pages.show, methods=["GET"]),
    ]


class _Pages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def show(self, request: Request) -> Response:
        """The invoice, and what it can be paid with."""
        found = self._find(request)
        return not_found() if found is None else _shown(found[1])

    async def pay(self, request: Request) -> Response:
        """Pay with the chosen test card; a bank that wants to know more is next."""
        found = self._find(request)
        if found is None:
            return not_found()
        work, invoice = found
        chosen = parse_qs((await request.body()).decode()).get("payment_method", [""])[0]
        if chosen not in _CARDS or invoice["status"] not in _PAYABLE:
            return RedirectResponse(request.url.path, 303)
        clocks.enter(work, invoice["customer"])
        invoice = work.edit("invoice", invoice["id"])
        method = resolve(work, chosen)
        problem = None
        try:
            collect.collect(work, invoice, payment_method=method["id"], off_session=False, raises=True)
        except ApiError as error:
            if not error.keeps_changes:
                return _shown(invoice, str(error))
            problem = str(error)
        intent = payments.default_intent(work, invoice)
        asks = intent is not None and intent["status"] == "requires_action"
        if intent is not None and asks:
            intent["_return_url"] = str(request.url)
        await self._engine.finish(work)
        if intent is not None and asks:
            return RedirectResponse(f"/3ds/{intent['id']}?client_secret={intent['client_secret']}", 303)
        return _shown(invoice, problem) if problem else RedirectResponse(request.url.path, 303)

    def _find(self, request: Request) -> tuple[Work, Json] | None:
        id_, token = request.path_params["invoice"], request.path_params["token"]
        work = self._engine.work_on(id_, str(request.base_url).rstrip("/"))
        invoice = work.find("invoice", id_) if work is not None else None
        if work is None or invoice is None:
            return None
        return (work, invoice) if hmac.compare_digest(token.encode(), invoice.get("_token", "").encode()) else None


def _shown(invoice: Json, problem: str | None = None) -> Response:
    currency = invoice["currency"]
    lines = "".join(
        f"<li>{escape(line['description'] or 'One-off')}: {_amount(line['amount'], currency)}</li>"
        for line in invoice["_lines"]
    )
    off = sum(part["amount"] for part in invoice["total_discount_amounts"])
    sums = "".join(
        f"<li>{name}: {_amount(amount, currency)}</li>"
        for name, amount, shows in (
            ("Discounts", -off, off), ("Total", invoice["total"], True),
            ("Balance", invoice["starting_balance"], invoice["starting_balance"]),
            ("Paid", invoice["amount_paid"], invoice["amount_paid"]), ("To pay", invoice["amount_remaining"], True),
        )
        if shows
    )  # fmt: skip
    payer = invoice["customer_name"] or invoice["customer_email"] or invoice["customer"]
    notice = f"<p><strong>{escape(problem)}</strong></p>" if problem else ""
    return page(
        f"Invoice {invoice['number']}",
        f"{notice}<p>{escape(_STATES[invoice['status']])}.</p>"
        f"<p>From {escape(invoice['account_name'] or 'the sandbox')}, for {escape(payer)}.</p>"
        f"<ul>{lines}</ul><ul class=note>{sums}</ul>{_form(invoice)}",
        status=402 if problem else 200,
    )


def _form(invoice: Json) -> str:
    if invoice["status"] not in _PAYABLE or invoice["amount_remaining"] <= 0:
        return ""
    options = "".join(f'<option value="{value}">{escape(what)}</option>' for value, what in _CARDS.items())
    due = _amount(invoice["amount_remaining"], invoice["currency"])
    return (
        '<form method="post"><label for="card">Test card</label>'
        f'<select id="card" name="payment_method">{options}</select><button>Pay {due}</button></form>'
    )


def _amount(amount: int, currency: str) -> str:
    return f"{escape(money.shown(amount, currency))} {escape(currency.upper())}"
