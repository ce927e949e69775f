"""The main job from end to end.

A host is onboarded; guests pay, confirm with 3-D Secure, are declined and try again; money is refunded. A websocket
tells of every change as it happens, and the ledger says where the money is in the end. What people would do in a
browser (onboarding, 3-D Secure) is asked of the sandbox, and of nothing else.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from demo.stage import RETURN_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.stage import Stage

CREATE_ACCOUNT = """
mutation ($key: String!) {
  createConnectAccount(input: {type: EXPRESS, idempotencyKey: $key}) {
    account { id stripeAccountId chargesEnabled requirements { field urgency } } errors { code message }
  }
}"""
MY_ACCOUNT = "{ viewer { connectAccount { id stripeAccountId chargesEnabled requirements { field urgency } } } }"
ONBOARDING_LINK = """
mutation ($url: String!) {
  createOnboardingLink(input: {returnUrl: $url, refreshUrl: $url}) { url errors { code message } }
}"""
UPSERT_USER = """
mutation ($input: UpsertUserInput!) {
  upsertUser(input: $input) { user { name } errors { code message path } }
}"""
UPSERT_ACTIVITY = """
mutation ($input: UpsertActivityInput!) {
  upsertActivity(input: $input) { activity { id title capacity price { formatted } } errors { code message path } }
}"""
FEE_PREVIEW = """
query ($activity: ID!) {
  feePreview(activityId: $activity, quantity: 2) {
    amount { formatted } platformFee { formatted } hostAmount { formatted }
  }
}"""
PAYMENT = """
fragment P on Payment {
  id status stripePaymentIntentId amount { formatted } refundedAmount { formatted } refundableAmount { formatted }
  nextAction { redirectUrl } rsvp { id status }
}"""
PAY = PAYMENT + """
mutation ($input: PayForActivityInput!) {
  payForActivity(input: $input) {
    payment { ...P } errors { code message ... on CardDeclined { declineCode retryable } }
  }
}"""
RETRY = PAYMENT + """
mutation ($input: RetryPaymentInput!) {
  retryPayment(input: $input) { payment { ...P } errors { code message } }
}"""
REFUND_PREVIEW = """
query ($payment: ID!, $amount: MoneyInput) {
  refundPreview(paymentId: $payment, amount: $amount) {
    guestReceives { formatted } hostPays { formatted } platformPays { formatted }
  }
}"""
REFUND = """
mutation ($input: RefundPaymentInput!) {
  refundPayment(input: $input) { refund { id status amount { formatted } } errors { code message } }
}"""
CANCEL_RSVP = """
mutation ($input: CancelRsvpInput!) {
  cancelRsvp(input: $input) { rsvp { status } refund { status amount { formatted } } errors { code message } }
}"""
CHANGES = """
subscription {
  viewerPaymentStatusChanged {
    cursor previousStatus status payment { id amount { formatted } refundedAmount { formatted } }
  }
}"""
ACCOUNT_CHANGES = "subscription { connectAccountChanged { account { chargesEnabled requirements { field } } } }"


class PaymentChapter:
    """A payment's whole life: the steps, each printed as it happens."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.host, self.guest, self.service = stage.host, stage.guest, stage.service

    async def run(self) -> None:
        """All of them."""
        self.stage.chapter("A payment")
        await self.introduce()
        await self.onboard()
        activity = await self.offer()
        async with self.guest.listening(CHANGES, _payment_change):
            first = await self.pay(activity)
            confirmed = await self.confirm(activity)
            await self.decline(activity)
            await self.refund(first)
            await self.cancel(confirmed)
        self.stage.step("The ledger of the first payment: every movement, and what each account holds")
        await self.stage.ledger(self.guest, first["id"])

    async def introduce(self) -> None:
        """The platform's backend tells who the people are; telling it again changes nothing."""
        self.stage.step("The platform's backend tells Paydesk of people")
        names = []
        for id_, name in (("host", "Hanna Host"), ("guest", "Gus Guest"), ("guest2", "Greta Guest")):
            person = {"externalId": id_, "email": f"{id_}@example.com", "name": name, "country": "US"}
            names.append((await self.service.act(UPSERT_USER, input=person))["user"]["name"])
        self.stage.say(", ".join(names))

    async def onboard(self) -> None:
        """The host opens an account and fills in the onboarding."""
        self.stage.step("The host opens a Connect account and is onboarded")
        account = ((await self.host.ask(MY_ACCOUNT))["viewer"] or {}).get("connectAccount")
        if account is None:
            account = (await self.host.act(CREATE_ACCOUNT, key=str(uuid4())))["account"]
            self.stage.say(f"{account['stripeAccountId']}: {len(account['requirements'])} requirements to meet")
        if account["chargesEnabled"]:
            self.stage.say(f"{account['stripeAccountId']} is onboarded already")
            return
        link = await self.host.act(ONBOARDING_LINK, url=RETURN_URL)
        self.stage.say(f"onboarding page: {link['url']}")
        async with self.host.listening(ACCOUNT_CHANGES, _account_change):
            await self.stage.person(f"accounts/{account['stripeAccountId']}/onboard", {})
            await self.host.until(lambda change: bool(change["account"]["chargesEnabled"]))
        self.stage.say("[green]the host can be paid[/green]")

    async def offer(self) -> str:
        """The platform's backend tells of an activity."""
        self.stage.step("The platform's backend tells Paydesk of an activity")
        starts_at = datetime.now(UTC) + timedelta(days=14)
        made = await self.service.act(
            UPSERT_ACTIVITY,
            input={
                "externalId": f"demo-{int(time.time() * 1000)}", "title": "Kayak at sunset",
                "hostExternalId": "host", "price": {"amount": "45.00", "currency": "USD"}, "capacity": 12,
                "startsAt": starts_at.isoformat(),
            },
        )  # fmt: skip
        activity = made["activity"]
        self.stage.say(f"{activity['title']}, {activity['price']['formatted']} a seat, {activity['capacity']} seats")
        return str(activity["id"])

    async def pay(self, activity: str) -> dict[str, Any]:
        """A guest pays for two seats."""
        self.stage.step("A guest pays for two seats, and watches")
        fees = (await self.guest.ask(FEE_PREVIEW, activity=activity))["feePreview"]
        self.stage.say(
            f"{fees['amount']['formatted']}: {fees['hostAmount']['formatted']} for the host,"
            f" {fees['platformFee']['formatted']} for the platform"
        )
        payment = await self._pay(activity, "pm_card_visa", quantity=2)
        rsvp = payment["rsvp"]["status"]
        self.stage.say(f"[green]{payment['status']}[/green] {payment['stripePaymentIntentId']}, RSVP {rsvp}")
        return payment

    async def confirm(self, activity: str) -> dict[str, Any]:
        """A guest's bank asks for a confirmation."""
        self.stage.step("The guest's bank wants a confirmation (3-D Secure)")
        payment = await self._pay(activity, "pm_card_authenticationRequired")
        self.stage.say(f"{payment['status']}: the guest goes to {payment['nextAction']['redirectUrl']}")
        intent = payment["stripePaymentIntentId"]
        await self.stage.person(f"payment_intents/{intent}/authenticate", {"outcome": "success"})
        await self.guest.until(_is(payment["id"], "SUCCEEDED"))
        self.stage.say("[green]SUCCEEDED[/green], told by Stripe's signed webhook")
        return payment

    async def decline(self, activity: str) -> None:
        """A card is declined and another one works."""
        self.stage.step("A card is declined; the seats stay held, and another card works")
        card = "pm_card_chargeDeclinedInsufficientFunds"
        answer = (await self.guest.ask(PAY, input=_wanted(activity, card)))["payForActivity"]
        error, payment = answer["errors"][0], answer["payment"]
        rsvp = payment["rsvp"]["status"]
        self.stage.say(f"[red]{error['code']}[/red] ({error['declineCode']}): {error['message']} RSVP {rsvp}")
        retry = {"paymentId": payment["id"], "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4())}
        again = (await self.guest.act(RETRY, input=retry))["payment"]
        self.stage.say(f"[green]{again['status']}[/green] on the same payment intent {again['stripePaymentIntentId']}")

    async def refund(self, payment: dict[str, Any]) -> None:
        """The host gives a part back."""
        self.stage.step("The host refunds a part")
        amount = {"amount": "30.00", "currency": "USD"}
        preview = (await self.host.ask(REFUND_PREVIEW, payment=payment["id"], amount=amount))["refundPreview"]
        self.stage.say(
            f"{preview['guestReceives']['formatted']} to the guest: {preview['hostPays']['formatted']} from the host,"
            f" {preview['platformPays']['formatted']} from the platform"
        )
        wanted = {"paymentId": payment["id"], "amount": amount, "idempotencyKey": str(uuid4())}
        refund = (await self.host.act(REFUND, input=wanted))["refund"]
        self.stage.say(f"[green]{refund['status']}[/green] {refund['amount']['formatted']}")

    async def cancel(self, payment: dict[str, Any]) -> None:
        """A guest gives the seats up."""
        self.stage.step("The guest cancels an RSVP and gets everything back")
        wanted = {"rsvpId": payment["rsvp"]["id"], "idempotencyKey": str(uuid4())}
        canceled = await self.guest.act(CANCEL_RSVP, input=wanted)
        refund = canceled["refund"]
        rsvp, amount = canceled["rsvp"]["status"], refund["amount"]["formatted"]
        self.stage.say(f"RSVP {rsvp}, refund [green]{refund['status']}[/green] {amount}")
        await self.guest.until(_is(payment["id"], "REFUNDED"))

    async def _pay(self, activity: str, method: str, quantity: int = 1) -> dict[str, Any]:
        return dict((await self.guest.act(PAY, input=_wanted(activity, method, quantity)))["payment"])


def _wanted(activity: str, method: str, quantity: int = 1) -> dict[str, Any]:
    return {
        "activityId": activity, "quantity": quantity, "paymentMethod": method, "returnUrl": RETURN_URL,
        "idempotencyKey": str(uuid4()),
    }  # fmt: skip


def _payment_change(change: dict[str, Any]) -> str:
    amount = change["payment"]["amount"]["formatted"]
    refunded = change["payment"]["refundedAmount"]["formatted"]
    return f"{change['previousStatus'] or 'new'} → {change['status']}, {amount}, refunded {refunded}"


def _account_change(change: dict[str, Any]) -> str:
    account = change["account"]
    return f"account can be paid: {account['chargesEnabled']}, {len(account['requirements'])} requirements"


def _is(payment_id: str, status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda change: bool(change["payment"]["id"] == payment_id and change["status"] == status)
