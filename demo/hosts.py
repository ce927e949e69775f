"""What hosts and the platform see of the money: shares, a dispute, a payout, a cancellation, and books that agree.

The co-host is the second guest. What banks do (a dispute, days that pass until money is available) is asked of the
sandbox.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from demo.payments import CREATE_ACCOUNT, MY_ACCOUNT, PAY, UPSERT_ACTIVITY
from demo.people import DemoError
from demo.stage import RETURN_URL

if TYPE_CHECKING:
    from demo.stage import Stage

SPLITS = """
query ($payment: ID!) {
  payment(id: $payment) {
    splits { host { name } amount { formatted } transferred reversedAmount { formatted } }
  }
}"""
REFUND = """
mutation ($input: RefundPaymentInput!) {
  refundPayment(input: $input) { refund { status amount { formatted } } errors { code message } }
}"""
DISPUTES = """
query ($payment: ID!) {
  payment(id: $payment) {
    disputes(first: 1) {
      edges { node { id status reason amount { formatted } evidenceDueBy gatheredEvidence { name text } } }
    }
  }
}"""
SUBMIT = """
mutation ($input: SubmitDisputeEvidenceInput!) {
  submitDisputeEvidence(input: $input) { dispute { id status submissionCount } errors { code message path } }
}"""
DISPUTE_CHANGES = """
subscription { disputeChanged { status dispute { id payment { id } withdrawnAmount { formatted } } } }"""
BALANCE = """
{ viewer { connectAccount { balance { available { amount currency formatted } } } } }"""
PAY_OUT = """
mutation ($input: CreatePayoutInput!) {
  createPayout(input: $input) {
    payout { id status arrivalDate stripePayoutId amount { formatted } } errors { code message path }
  }
}"""
PAYOUT_CHANGES = "subscription { payoutChanged { status payout { id amount { formatted } failureMessage } } }"
PREVIEW = """
query ($activity: ID!) {
  activityCancellationPreview(activityId: $activity) {
    paymentsToRefund totals { guestsReceive { formatted } hostsGive { formatted } platformGives { formatted } }
    stripeFeesLost { formatted } isCovered
  }
}"""
CANCEL = """
mutation ($activity: ID!) {
  cancelActivity(input: {activityId: $activity, reason: "Storm"}) {
    cancellation { id total } errors { code message path }
  }
}"""
CANCELLATION = """
subscription ($activity: ID!) { activityCancellationChanged(activityId: $activity) { status total done failed } }"""
HOW_TO_RECONCILE = "`manage.py reconcile` compares every object with Stripe's"
BOOKS = """
{
  balances { account place amount { formatted } }
  payments(first: 20) { edges { node { settlementStatus unexplained { minorUnits } } } }
}"""


class HostChapter:
    """The hosts' money from the guest's card to the bank."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.host, self.cohost, self.guest = stage.host, stage.guest2, stage.guest
        self.service, self.admin = stage.service, stage.admin

    async def run(self) -> None:
        """All of it."""
        self.stage.chapter("The hosts' money")
        await self.open_account()
        shared = await self.share()
        await self.give_back(shared)
        async with self.host.listening(DISPUTE_CHANGES, _dispute_change):
            await self.dispute()
        async with self.host.listening(PAYOUT_CHANGES, _payout_change):
            await self.pay_out()
        await self.call_off()
        await self.books()

    async def open_account(self) -> None:
        """A second host is onboarded."""
        self.stage.step("A co-host opens an account, too")
        account = ((await self.cohost.ask(MY_ACCOUNT))["viewer"] or {}).get("connectAccount")
        if account is None:
            account = (await self.cohost.act(CREATE_ACCOUNT, key=str(uuid4())))["account"]
        await self.stage.person(f"accounts/{account['stripeAccountId']}/onboard", {})
        self.stage.say(f"{account['stripeAccountId']} is onboarded")

    async def share(self) -> str:
        """A payment whose hosts' part is shared."""
        self.stage.step("A guest pays for a tour of two hosts, who share 70 to 30")
        activity = await self._offer("Ridge walk with a guide", "99.99")
        splits = [{"hostExternalId": "host", "share": "0.7"}, {"hostExternalId": "guest2", "share": "0.3"}]
        payment = await self._paid(activity, splits=splits)
        await self._show_splits(payment)
        return payment

    async def give_back(self, payment: str) -> None:
        """A part is refunded: each host gives their share of it."""
        self.stage.step("A part is refunded, and each host gives their share of it")
        amount = {"amount": "33.33", "currency": "USD"}
        wanted = {"paymentId": payment, "amount": amount, "idempotencyKey": str(uuid4())}
        refund = (await self.host.act(REFUND, input=wanted))["refund"]
        self.stage.say(f"[green]{refund['status']}[/green] {refund['amount']['formatted']}")
        await self._show_splits(payment)
        await self.stage.ledger(self.admin, payment)

    async def dispute(self) -> None:
        """A bank takes a payment back, and the host answers."""
        self.stage.step("A guest's bank disputes a payment; the host answers with what is known already")
        activity = await self._offer("Pottery for beginners", "60.00")
        payment = await self._paid(activity, method="pm_card_createDisputeProductNotReceived")
        await self.host.until(lambda change: bool(change["dispute"]["payment"]["id"] == payment))
        found = (await self.host.ask(DISPUTES, payment=payment))["payment"]["disputes"]["edges"][0]["node"]
        gathered = ", ".join(text["name"] for text in found["gatheredEvidence"])
        self.stage.say(f"[red]{found['status']}[/red] {found['reason']}, to be answered by {found['evidenceDueBy']}")
        self.stage.say(f"gathered: {gathered}")
        evidence = {"uncategorizedText": "winning_evidence"}
        wanted = {"disputeId": found["id"], "evidence": evidence, "idempotencyKey": str(uuid4())}
        await self.host.act(SUBMIT, input=wanted)
        await self.host.until(lambda change: bool(change["status"] == "WON"))
        self.stage.say("[green]WON[/green]: the money is back")

    async def pay_out(self) -> None:
        """The host wants the money at the bank."""
        self.stage.step("Days later the money is available, and the host has it paid out")
        await self.stage.person("balance/settle", {})
        account = (await self.host.ask(BALANCE))["viewer"]["connectAccount"]
        there = account["balance"][0]["available"]
        self.stage.say(f"available: {there['formatted']}")
        amount = {"amount": there["amount"], "currency": there["currency"]}
        wanted = {"amount": amount, "instant": False, "idempotencyKey": str(uuid4())}
        payout = (await self.host.act(PAY_OUT, input=wanted))["payout"]
        self.stage.say(f"{payout['status']} {payout['stripePayoutId']}, there by {payout['arrivalDate']}")
        await self.stage.person(f"payouts/{payout['stripePayoutId']}/pay", {})
        await self.host.until(lambda change: bool(change["status"] == "PAID"))

    async def call_off(self) -> None:
        """An activity is cancelled: everybody gets their money back."""
        self.stage.step("The platform calls an activity off: first what it would cost, then everybody is refunded")
        activity = await self._offer("Sailing", "80.00")
        for _ in range(3):
            await self._paid(activity)
        preview = (await self.service.ask(PREVIEW, activity=activity))["activityCancellationPreview"]
        total = preview["totals"][0]
        self.stage.say(
            f"{preview['paymentsToRefund']} guests get {total['guestsReceive']['formatted']}:"
            f" {total['hostsGive']['formatted']} from hosts, {total['platformGives']['formatted']} from the platform"
        )
        async with self.service.listening(CANCELLATION, _progress, activity=activity):
            await self.service.act(CANCEL, activity=activity)
            await self.service.until(lambda change: bool(change["status"] == "FINISHED"))

    async def books(self) -> None:
        """What every account holds, and whether Stripe's own books have anything that is not explained."""
        self.stage.step("The books: what every kind of account holds, beside Stripe's own")
        found = await self.admin.ask(BOOKS)
        rows: list[tuple[str, ...]] = [
            (entry["account"], entry["place"], entry["amount"]["formatted"]) for entry in found["balances"]
        ]
        self.stage.show(rows, "account", "where", "holds")
        payments = [edge["node"] for edge in found["payments"]["edges"]]
        left = sum(int(money["minorUnits"]) for payment in payments for money in payment["unexplained"])
        if left:
            raise DemoError(f"{left} minor units are unexplained")
        self.stage.say(f"[green]unexplained: 0[/green] in {len(payments)} payments; {HOW_TO_RECONCILE}")

    async def _offer(self, title: str, price: str) -> str:
        starts_at = datetime.now(UTC) + timedelta(days=10)
        made = await self.service.act(
            UPSERT_ACTIVITY,
            input={
                "externalId": f"demo-{title}-{int(time.time() * 1000)}", "title": title, "hostExternalId": "host",
                "price": {"amount": price, "currency": "USD"}, "capacity": 30, "startsAt": starts_at.isoformat(),
                "endsAt": (starts_at + timedelta(hours=3)).isoformat(),
            },
        )  # fmt: skip
        return str(made["activity"]["id"])

    async def _paid(self, activity: str, *, method: str = "pm_card_visa", **more: Any) -> str:
        wanted = {
            "activityId": activity, "paymentMethod": method, "returnUrl": RETURN_URL, "idempotencyKey": str(uuid4()),
            **more,
        }  # fmt: skip
        payment = (await self.guest.act(PAY, input=wanted))["payment"]
        self.stage.say(f"[green]{payment['status']}[/green] {payment['amount']['formatted']}")
        return str(payment["id"])

    async def _show_splits(self, payment: str) -> None:
        rows: list[tuple[str, ...]] = [
            (
                split["host"]["name"], split["amount"]["formatted"], "sent" if split["transferred"] else "owed",
                split["reversedAmount"]["formatted"],
            )
            for split in (await self.host.ask(SPLITS, payment=payment))["payment"]["splits"]
        ]  # fmt: skip
        self.stage.show(rows, "host", "part", "", "taken back")


def _dispute_change(change: dict[str, Any]) -> str:
    return f"dispute {change['status']}, withdrawn {change['dispute']['withdrawnAmount']['formatted']}"


def _payout_change(change: dict[str, Any]) -> str:
    payout = change["payout"]
    return f"payout {change['status']} {payout['amount']['formatted']} {payout['failureMessage'] or ''}".rstrip()


def _progress(change: dict[str, Any]) -> str:
    return f"cancellation {change['status']}: {change['done']} of {change['total']}, {change['failed']} failed"
