"""The main job from end to end, against a running system and through its public API alone.

A host is onboarded; guests pay, confirm with 3-D Secure, are declined and try again; money is refunded. A websocket
tells of every change as it happens, and the ledger says where the money is in the end. What people would do in a
browser (onboarding, 3-D Secure) is asked of the sandbox, and of nothing else.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from rich.console import Console

WAIT_S = 30.0
RETURN_URL = "http://localhost:3000/paid"

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
MOVEMENTS = """
query ($payment: ID!) {
  payment(id: $payment) {
    status amount { formatted } movements { account cause amount { formatted minorUnits } transactionId }
  }
}"""


class DemoError(Exception):
    """A step did not do what it should."""


@dataclass
class Person:
    """Somebody with a token: calls the API, and hears of changes over a websocket."""

    name: str
    token: str
    endpoints: Mapping[str, Any]
    http: aiohttp.ClientSession
    console: Console
    heard: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """Run an operation.

        Raises: DemoError for an answer with errors.
        """
        async with self.http.post(
            self.endpoints["graphql"],
            json={"query": document, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}"},
        ) as response:
            answer = await response.json(content_type=None)
        if answer.get("errors"):
            raise DemoError("; ".join(error["message"] for error in answer["errors"]))
        return dict(answer["data"])

    @asynccontextmanager
    async def listening(self, document: str) -> AsyncIterator[None]:
        """Follow a subscription (graphql-transport-ws) meanwhile; what comes goes into `heard`."""
        async with self.http.ws_connect(self.endpoints["websocket"], protocols=["graphql-transport-ws"]) as socket:
            await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {self.token}"}})
            await socket.receive_json()
            await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": document}})
            # Operations of one socket are started in order: when this is answered, the subscription is live.
            await socket.send_json({"id": "2", "type": "subscribe", "payload": {"query": "{ __typename }"}})
            started = asyncio.Event()
            task = asyncio.create_task(self._hear(socket, started))
            try:
                async with asyncio.timeout(WAIT_S):
                    await started.wait()
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse, started: asyncio.Event) -> None:
        async for message in socket:
            body = message.json()
            if body["type"] == "ping":
                await socket.send_json({"type": "pong"})
            elif body.get("id") == "2":
                started.set()
            elif body["type"] == "next":
                data = body["payload"]["data"]
                self._print(data)
                self.heard.put_nowait(data)

    def _print(self, data: dict[str, Any]) -> None:
        change = data.get("viewerPaymentStatusChanged")
        if change is not None:
            amount = change["payment"]["amount"]["formatted"]
            refunded = change["payment"]["refundedAmount"]["formatted"]
            text = f"{change['previousStatus'] or 'new'} → {change['status']}, {amount}, refunded {refunded}"
        else:
            account = data["connectAccountChanged"]["account"]
            missing = len(account["requirements"])
            text = f"account can be paid: {account['chargesEnabled']}, {missing} requirements"
        self.console.print(f"    [dim]live[/dim] [magenta]{self.name}[/magenta] {text}")

    async def until(self, holds: Any) -> None:
        """Wait until a change comes for which this holds.

        Raises: DemoError after 30 seconds.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while not holds(await self.heard.get()):
                    pass
        except TimeoutError:
            raise DemoError(f"{self.name} waited {WAIT_S:.0f} s for a change that did not come") from None


class Demo:
    """The steps, each printed as it happens."""

    def __init__(self, endpoints: Mapping[str, Any], http: aiohttp.ClientSession, console: Console) -> None:
        self.endpoints = endpoints
        self.http = http
        self.console = console
        self.number = 0
        self.host, self.guest, self.guest2, self.service = (
            Person(name, endpoints["tokens"][name], endpoints, http, console)
            for name in ("host", "guest", "guest2", "service")
        )

    async def run(self) -> None:
        """All of them."""
        await self.introduce()
        await self.onboard()
        activity = await self.offer()
        async with self.guest.listening(CHANGES):
            first = await self.pay(activity)
            confirmed = await self.confirm(activity)
            await self.decline(activity)
            await self.refund(first)
            await self.cancel(confirmed)
        await self.ledger(first)

    def step(self, title: str) -> None:
        """Say what comes next."""
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}. {title}[/bold cyan]")

    def say(self, text: str) -> None:
        """Say what came of it."""
        self.console.print(f"   {text}", highlight=False, soft_wrap=True)

    async def introduce(self) -> None:
        """The platform's backend tells who the people are; telling it again changes nothing."""
        self.step("The platform's backend tells Paydesk of people")
        names = []
        for id_, name in (("host", "Hanna Host"), ("guest", "Gus Guest"), ("guest2", "Greta Guest")):
            person = {"externalId": id_, "email": f"{id_}@example.com", "name": name, "country": "US"}
            names.append(_of(await self.service.ask(UPSERT_USER, input=person), "upsertUser")["user"]["name"])
        self.say(", ".join(names))

    async def onboard(self) -> None:
        """The host opens an account and fills in the onboarding."""
        self.step("The host opens a Connect account and is onboarded")
        account = ((await self.host.ask(MY_ACCOUNT))["viewer"] or {}).get("connectAccount")
        if account is None:
            made = _of(await self.host.ask(CREATE_ACCOUNT, key=str(uuid4())), "createConnectAccount")
            account = made["account"]
            self.say(f"{account['stripeAccountId']}: {len(account['requirements'])} requirements to meet")
        if account["chargesEnabled"]:
            self.say(f"{account['stripeAccountId']} is onboarded already")
            return
        link = _of(await self.host.ask(ONBOARDING_LINK, url=RETURN_URL), "createOnboardingLink")
        self.say(f"onboarding page: {link['url']}")
        async with self.host.listening(ACCOUNT_CHANGES):
            await self.person(f"accounts/{account['stripeAccountId']}/onboard", {})
            await self.host.until(lambda change: change["connectAccountChanged"]["account"]["chargesEnabled"])
        self.say("[green]the host can be paid[/green]")

    async def offer(self) -> str:
        """The platform's backend tells of an activity."""
        self.step("The platform's backend tells Paydesk of an activity")
        starts_at = datetime.now(UTC) + timedelta(days=14)
        made = _of(
            await self.service.ask(
                UPSERT_ACTIVITY,
                input={
                    "externalId": f"demo-{int(time.time() * 1000)}", "title": "Kayak at sunset",
                    "hostExternalId": "host", "price": {"amount": "45.00", "currency": "USD"}, "capacity": 12,
                    "startsAt": starts_at.isoformat(),
                },
            ),
            "upsertActivity",
        )  # fmt: skip
        activity = made["activity"]
        self.say(f"{activity['title']}, {activity['price']['formatted']} a seat, {activity['capacity']} seats")
        return str(activity["id"])

    async def pay(self, activity: str) -> dict[str, Any]:
        """A guest pays for two seats."""
        self.step("A guest pays for two seats, and watches")
        fees = (await self.guest.ask(FEE_PREVIEW, activity=activity))["feePreview"]
        self.say(
            f"{fees['amount']['formatted']}: {fees['hostAmount']['formatted']} for the host,"
            f" {fees['platformFee']['formatted']} for the platform"
        )
        payment = await self._pay(activity, "pm_card_visa", quantity=2)
        rsvp = payment["rsvp"]["status"]
        self.say(f"[green]{payment['status']}[/green] {payment['stripePaymentIntentId']}, RSVP {rsvp}")
        return payment

    async def confirm(self, activity: str) -> dict[str, Any]:
        """A guest's bank asks for a confirmation."""
        self.step("The guest's bank wants a confirmation (3-D Secure)")
        payment = await self._pay(activity, "pm_card_authenticationRequired")
        self.say(f"{payment['status']}: the guest goes to {payment['nextAction']['redirectUrl']}")
        await self.person(f"payment_intents/{payment['stripePaymentIntentId']}/authenticate", {"outcome": "success"})
        await self.guest.until(_is(payment["id"], "SUCCEEDED"))
        self.say("[green]SUCCEEDED[/green], told by Stripe's signed webhook")
        return payment

    async def decline(self, activity: str) -> None:
        """A card is declined and another one works."""
        self.step("A card is declined; the seats stay held, and another card works")
        answer = (await self._call(activity, "pm_card_chargeDeclinedInsufficientFunds", 1))["payForActivity"]
        error, payment = answer["errors"][0], answer["payment"]
        rsvp = payment["rsvp"]["status"]
        self.say(f"[red]{error['code']}[/red] ({error['declineCode']}): {error['message']} RSVP {rsvp}")
        retry = {"paymentId": payment["id"], "paymentMethod": "pm_card_visa", "idempotencyKey": str(uuid4())}
        again = _of(await self.guest.ask(RETRY, input=retry), "retryPayment")["payment"]
        self.say(f"[green]{again['status']}[/green] on the same payment intent {again['stripePaymentIntentId']}")

    async def refund(self, payment: dict[str, Any]) -> None:
        """The host gives a part back."""
        self.step("The host refunds a part")
        amount = {"amount": "30.00", "currency": "USD"}
        preview = (await self.host.ask(REFUND_PREVIEW, payment=payment["id"], amount=amount))["refundPreview"]
        self.say(
            f"{preview['guestReceives']['formatted']} to the guest: {preview['hostPays']['formatted']} from the host,"
            f" {preview['platformPays']['formatted']} from the platform"
        )
        wanted = {"paymentId": payment["id"], "amount": amount, "idempotencyKey": str(uuid4())}
        refund = _of(await self.host.ask(REFUND, input=wanted), "refundPayment")["refund"]
        self.say(f"[green]{refund['status']}[/green] {refund['amount']['formatted']}")

    async def cancel(self, payment: dict[str, Any]) -> None:
        """A guest gives the seats up."""
        self.step("The guest cancels an RSVP and gets everything back")
        wanted = {"rsvpId": payment["rsvp"]["id"], "idempotencyKey": str(uuid4())}
        canceled = _of(await self.guest.ask(CANCEL_RSVP, input=wanted), "cancelRsvp")
        refund = canceled["refund"]
        rsvp, amount = canceled["rsvp"]["status"], refund["amount"]["formatted"]
        self.say(f"RSVP {rsvp}, refund [green]{refund['status']}[/green] {amount}")
        await self.guest.until(_is(payment["id"], "REFUNDED"))

    async def ledger(self, payment: dict[str, Any]) -> None:
        """Where the money of a payment is."""
        self.step("The ledger of the first payment: every movement, and what each account holds")
        found = (await self.guest.ask(MOVEMENTS, payment=payment["id"]))["payment"]
        table = Table("cause", "account", "amount", box=None, padding=(0, 2))
        held: dict[str, int] = {}
        for movement in found["movements"]:
            table.add_row(movement["cause"], movement["account"], movement["amount"]["formatted"])
            held[movement["account"]] = held.get(movement["account"], 0) + int(movement["amount"]["minorUnits"])
        self.console.print(table)
        for account, minor in sorted(held.items()):
            self.say(f"{account}: {minor} minor units")
        if sum(held.values()) != 0:
            raise DemoError("the movements do not add up to nothing")
        self.say("[green]together: 0[/green]")

    async def _pay(self, activity: str, method: str, quantity: int = 1) -> dict[str, Any]:
        return dict(_of(await self._call(activity, method, quantity), "payForActivity")["payment"])

    async def _call(self, activity: str, method: str, quantity: int) -> dict[str, Any]:
        wanted = {
            "activityId": activity, "quantity": quantity, "paymentMethod": method, "returnUrl": RETURN_URL,
            "idempotencyKey": str(uuid4()),
        }  # fmt: skip
        return await self.guest.ask(PAY, input=wanted)

    async def person(self, path: str, body: dict[str, Any]) -> None:
        """What a person does on one of Stripe's pages."""
        async with self.http.post(f"{self.endpoints['sandbox']}/_sandbox/{path}", json=body) as response:
            if response.status >= 400:
                raise DemoError(f"the sandbox refused {path}: {await response.text()}")


def _is(payment_id: str, status: str) -> Any:
    def holds(data: dict[str, Any]) -> bool:
        change = data["viewerPaymentStatusChanged"]
        return bool(change["payment"]["id"] == payment_id and change["status"] == status)

    return holds


def _of(data: dict[str, Any], name: str) -> dict[str, Any]:
    """A payload without errors.

    Raises: DemoError.
    """
    payload = data[name]
    if payload["errors"]:
        raise DemoError(f"{name}: {payload['errors'][0]['code']}: {payload['errors'][0]['message']}")
    return dict(payload)


async def run_demo(endpoints: Mapping[str, Any], console: Console) -> None:
    """Walk through it.

    Args:
        endpoints: what `endpoints.json` of the running system says.

    Raises: DemoError where a step does not do what it should.
    """
    if endpoints["sandbox"] is None:
        raise DemoError("the demo needs the sandbox: with real Stripe, people have to click through its pages")
    async with aiohttp.ClientSession() as http:
        await Demo(endpoints, http, console).run()
