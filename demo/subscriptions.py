"""A subscriber: a trial without a card, a plan that is paid for, a dearer one, a rest, and the end.

All of it in real time: what renewals bring is a matter for tests, which move the sandbox's clocks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from demo.people import DemoError

if TYPE_CHECKING:
    from demo.people import Person
    from demo.stage import Stage

UPSERT_PLAN = """
mutation ($input: UpsertPlanInput!) {
  upsertPlan(input: $input) {
    plan { id name price { formatted } trialDays features } errors { code message path }
  }
}"""
SAVE_CARD = """
mutation ($method: String!) {
  attachPaymentMethod(input: {stripePaymentMethodId: $method, makeDefault: true}) {
    paymentMethod { id brand last4 expMonth expYear } errors { code message path }
  }
}"""
REMOVE_CARD = """
mutation ($method: ID!) {
  detachPaymentMethod(input: {paymentMethodId: $method}) { paymentMethod { id } errors { code message path } }
}"""
SUBSCRIPTION = """
fragment S on BillingSubscription {
  id status plan { name } currentPeriodEnd trialEnd nextAction { type }
  invoices(first: 1) { edges { node { payments { stripePaymentIntentId } } } }
}"""
SUBSCRIBE = SUBSCRIPTION + """
mutation ($input: CreateSubscriptionInput!) {
  createSubscription(input: $input) { subscription { ...S } errors { code message path } }
}"""
CHANGE_PREVIEW = """
query ($subscription: ID!, $plan: ID!) {
  planChangePreview(subscriptionId: $subscription, planId: $plan) {
    dueNow { formatted } credit { formatted } nextInvoice { formatted }
  }
}"""
CHANGE_PLAN = SUBSCRIPTION + """
mutation ($input: ChangeSubscriptionPlanInput!) {
  changeSubscriptionPlan(input: $input) { subscription { ...S } errors { code message path } }
}"""
PAUSE = SUBSCRIPTION + """
mutation ($input: PauseSubscriptionInput!) {
  pauseSubscription(input: $input) { subscription { ...S } errors { code message path } }
}"""
RESUME = SUBSCRIPTION + """
mutation ($input: ResumeSubscriptionInput!) {
  resumeSubscription(input: $input) { subscription { ...S } errors { code message path } }
}"""
CANCEL = SUBSCRIPTION + """
mutation ($input: CancelSubscriptionInput!) {
  cancelSubscription(input: $input) { subscription { ...S } errors { code message path } }
}"""
CHANGES = """
subscription ($subscription: ID!) {
  subscriptionStatusChanged(subscriptionId: $subscription) {
    cursor previousStatus status subscription { plan { name } nextPlan { name } cancelAtPeriodEnd }
  }
}"""
INVOICES = """
query ($subscription: ID!) {
  subscription(id: $subscription) {
    invoices(first: 10) {
      edges {
        node {
          number status total { formatted } amountPaid { formatted }
          lines { description amount { formatted } } payments { id }
        }
      }
    }
  }
}"""
ENTITLEMENTS = "{ viewer { entitlements { feature expiresAt } } }"
IS_ENTITLED = """
query ($user: String!, $feature: String!) { isEntitled(userExternalId: $user, feature: $feature) }"""


class SubscriberChapter:
    """A subscriber's life: the steps, each printed as it happens."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.guest, self.guest2, self.service = stage.guest, stage.guest2, stage.service
        self.wanted = _plans(f"demo-{int(time.time() * 1000)}")

    async def run(self) -> None:
        """All of them; at the end nothing is left that a second run would come upon."""
        self.stage.chapter("A subscriber")
        basic, plus = await self.offer()
        await self.try_out(basic)
        card = await self.save_card()
        subscription = await self.subscribe(basic)
        async with self.guest.listening(CHANGES, _change, subscription=subscription["id"]):
            await self.begin(subscription)
            await self.upgrade(subscription, plus)
            payment = await self.invoices(subscription)
            await self.rest(subscription)
            await self.leave(subscription, card)
        self.stage.step("The ledger of the last invoice's payment")
        await self.stage.ledger(self.guest, payment)
        await self.withdraw()

    async def offer(self) -> list[dict[str, Any]]:
        """The platform's backend tells of two plans."""
        self.stage.step("The platform's backend tells Paydesk of two plans")
        plans = []
        for wanted in self.wanted:
            plan = (await self.service.act(UPSERT_PLAN, input=wanted))["plan"]
            trial = f", {plan['trialDays']} days free" if plan["trialDays"] else ""
            features = ", ".join(plan["features"])
            self.stage.say(f"{plan['name']}, {plan['price']['formatted']} a month{trial}: {features}")
            plans.append(plan)
        return plans

    async def withdraw(self) -> None:
        """The platform's backend takes the plans off the list; who has them keeps them."""
        self.stage.step("The platform's backend offers the plans no longer")
        for wanted in self.wanted:
            plan = (await self.service.act(UPSERT_PLAN, input={**wanted, "active": False}))["plan"]
            self.stage.say(f"{plan['name']} takes no new subscribers")

    async def try_out(self, plan: dict[str, Any]) -> None:
        """A guest begins with a trial, and decides against the plan."""
        self.stage.step("A guest tries a plan without a card, and does not keep it")
        made = await self.guest2.act(SUBSCRIBE, input={"planId": plan["id"], "idempotencyKey": str(uuid4())})
        subscription = made["subscription"]
        self.stage.say(f"[green]{subscription['status']}[/green] until {_day(subscription['trialEnd'])}")
        await self.entitlements(self.guest2)
        canceled = await self._do(self.guest2, CANCEL, subscription)
        self.stage.say(f"canceled: {canceled['status']} until {_day(canceled['currentPeriodEnd'])}")
        await self.entitlements(self.guest2)

    async def save_card(self) -> str:
        """Another guest saves a card whose bank asks for a confirmation of what is paid."""
        self.stage.step("Another guest saves a card")
        saved = await self.guest.act(SAVE_CARD, method="pm_card_authenticationRequired")
        card = saved["paymentMethod"]
        self.stage.say(f"{card['brand']} •••• {card['last4']}, valid to {card['expMonth']}/{card['expYear']}")
        return str(card["id"])

    async def subscribe(self, plan: dict[str, Any]) -> dict[str, Any]:
        """The guest subscribes without the trial, with the card that was saved."""
        self.stage.step("The guest subscribes, and the bank wants a confirmation (3-D Secure)")
        wanted = {"planId": plan["id"], "trial": False, "idempotencyKey": str(uuid4())}
        subscription = dict((await self.guest.act(SUBSCRIBE, input=wanted))["subscription"])
        action = subscription["nextAction"]["type"]
        self.stage.say(f"{subscription['status']}: Stripe.js goes on with the clientSecret ({action})")
        await self.entitlements(self.guest)
        return subscription

    async def begin(self, subscription: dict[str, Any]) -> None:
        """The guest confirms the first payment."""
        await self._confirm(subscription)
        await self.guest.until(lambda change: bool(change["status"] == "ACTIVE"))
        self.stage.say(f"[green]ACTIVE[/green] until {_day(subscription['currentPeriodEnd'])}")
        await self.entitlements(self.guest)

    async def upgrade(self, subscription: dict[str, Any], plan: dict[str, Any]) -> None:
        """The guest looks at what a dearer plan costs, and takes it."""
        self.stage.step("The guest looks at a dearer plan, and changes to it")
        preview = await self.guest.ask(CHANGE_PREVIEW, subscription=subscription["id"], plan=plan["id"])
        cost = preview["planChangePreview"]
        self.stage.say(
            f"{cost['dueNow']['formatted']} now, with {cost['credit']['formatted']} for unused time taken off; then"
            f" {cost['nextInvoice']['formatted']} a month"
        )
        waiting = await self._do(self.guest, CHANGE_PLAN, subscription, planId=plan["id"])
        self.stage.say(f"{waiting['plan']['name']} stays until the guest has confirmed the payment")
        await self._confirm(waiting)
        await self.guest.until(lambda change: bool(change["subscription"]["plan"]["name"] == plan["name"]))
        self.stage.say(f"[green]{plan['name']}[/green]")
        await self.entitlements(self.guest)
        asked = {"user": self.guest.name, "feature": plan["features"][-1]}
        granted = (await self.service.ask(IS_ENTITLED, **asked))["isEntitled"]
        self.stage.say(f"asked by the platform's backend, isEntitled({asked['user']}, {asked['feature']}): {granted}")

    async def invoices(self, subscription: dict[str, Any]) -> str:
        """What was billed so far; the id of the newest payment."""
        self.stage.step("What the guest was billed")
        found = await self.guest.ask(INVOICES, subscription=subscription["id"])
        bills = [edge["node"] for edge in found["subscription"]["invoices"]["edges"]]
        rows: list[tuple[str, ...]] = []
        for bill in reversed(bills):
            rows += [("", line["description"], line["amount"]["formatted"], "") for line in bill["lines"]]
            rows.append((bill["number"], "total", bill["total"]["formatted"], bill["status"]))
        self.stage.show(rows, "invoice", "what for", "amount", "status")
        if any(bill["amountPaid"] != bill["total"] for bill in bills):
            raise DemoError("an invoice is not paid")
        return str(bills[0]["payments"][0]["id"])

    async def rest(self, subscription: dict[str, Any]) -> None:
        """The guest pauses, and comes back."""
        self.stage.step("The guest rests a while: nothing is charged until it goes on")
        paused = await self._do(self.guest, PAUSE, subscription)
        resumed = await self._do(self.guest, RESUME, subscription)
        self.stage.say(f"{paused['status']}, then [green]{resumed['status']}[/green]")

    async def leave(self, subscription: dict[str, Any], card: str) -> None:
        """The guest cancels, takes that back, ends it at once and takes the card away."""
        self.stage.step("The guest cancels, thinks again, and leaves for good")
        canceled = await self._do(self.guest, CANCEL, subscription)
        self.stage.say(f"canceled: {canceled['status']} until {_day(canceled['currentPeriodEnd'])}")
        resumed = await self._do(self.guest, RESUME, subscription)
        self.stage.say(f"resumed: [green]{resumed['status']}[/green]")
        ended = await self._do(self.guest, CANCEL, subscription, atPeriodEnd=False)
        await self.guest.until(lambda change: bool(change["status"] == "CANCELED"))
        await self.guest.act(REMOVE_CARD, method=card)
        self.stage.say(f"ended at once: {ended['status']}; the card is not saved any more")
        await self.entitlements(self.guest)

    async def entitlements(self, person: Person) -> None:
        """What a guest's plans grant now."""
        granted = (await person.ask(ENTITLEMENTS))["viewer"]["entitlements"]
        features = [f"{entitlement['feature']} until {_day(entitlement['expiresAt'])}" for entitlement in granted]
        self.stage.say(f"granted, any grace included: {', '.join(features) or 'nothing'}")

    async def _confirm(self, subscription: dict[str, Any]) -> None:
        """What the guest does on the bank's page."""
        [invoice] = subscription["invoices"]["edges"]
        intent = invoice["node"]["payments"][0]["stripePaymentIntentId"]
        await self.stage.person(f"payment_intents/{intent}/authenticate", {"outcome": "success"})

    async def _do(self, person: Person, document: str, subscription: dict[str, Any], **given: Any) -> dict[str, Any]:
        """Act on a subscription; it as it is now."""
        wanted = {"subscriptionId": subscription["id"], "idempotencyKey": str(uuid4()), **given}
        return dict((await person.act(document, input=wanted))["subscription"])


def _plans(run: str) -> list[dict[str, Any]]:
    """Two plans of this run's own: a guest can try each but once."""
    return [
        {
            "externalId": f"{run}-explorer", "name": "Explorer", "price": {"amount": "9.00", "currency": "USD"},
            "interval": "MONTH", "trialDays": 14, "features": ["early_booking"],
        },
        {
            "externalId": f"{run}-plus", "name": "Explorer Plus", "price": {"amount": "19.00", "currency": "USD"},
            "interval": "MONTH", "trialDays": 0, "features": ["early_booking", "free_cancellation"],
        },
    ]  # fmt: skip


def _change(change: dict[str, Any]) -> str:
    subscription = change["subscription"]
    plan, following = subscription["plan"], subscription["nextPlan"]
    name = plan["name"] if following is None else f"{plan['name']}, then {following['name']}"
    ends = ", ends with its period" if subscription["cancelAtPeriodEnd"] else ""
    return f"{change['previousStatus'] or 'new'} → {change['status']}, {name}{ends}"


def _day(moment: str) -> str:
    return moment[:10]
