"""A guest whose renewal fails, on a test clock, with Stripe's own retries switched on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from models.audit import AuditEntry
from models.dunning import Dunning
from models.invoices import Invoice
from models.operations import Operation, OperationStatus
from models.payments import Payment
from services.dunning.collection import collect
from services.entitlements import list_entitlements
from services.payments.actions import retry_payment
from tests.support.billing import DAY, Subscriber
from tests.support.shop import as_user

if TYPE_CHECKING:
    from models.subscriptions import BillingSubscription
    from services.core import Services
    from services.payments.result import PaymentResult
    from services.viewer import Viewer
    from tests.support.clock import Clock
    from tests.support.sandbox import Sandbox

HOUR = 3600


@dataclass
class Debtor:
    """A guest who has subscribed and paid once; what becomes of the next month is up to the test."""

    guest: Subscriber
    row: BillingSubscription
    method: str

    @property
    def services(self) -> Services:
        """Those of the guest."""
        return self.guest.services

    async def behaves_as(self, test: str) -> None:
        """The bank says this of the guest's card from now on."""
        await self.guest.sandbox.act(f"payment_methods/{self.method}/behave_as", test=test)

    async def renewal_fails(self, test: str = "pm_card_chargeCustomerFail") -> Dunning:
        """The month is over, and an hour later the invoice is final and its payment is declined."""
        await self.behaves_as(test)
        await self.renew()
        return await self.dunning()

    async def renew(self) -> None:
        """To the second in which the renewal's invoice becomes final."""
        ends_at = (await self.subscription()).current_period_end
        assert ends_at is not None
        await self.guest.let_pass(int(ends_at.timestamp()) + HOUR - self.guest.frozen)
        await self.guest.deliver()

    async def days(self, days: float, *, step: float = 0.25) -> list[float]:
        """Days go by with the job at work all the time; those on which Stripe was asked for the money."""
        asked: list[float] = []
        count = len(await self.charges())
        for tick in range(round(days / step)):
            await self.guest.let_pass(round(step * DAY))
            await self.guest.deliver()
            await self.work()
            now = len(await self.charges())
            asked += [(tick + 1) * step] * (now - count)
            count = now
        return asked

    async def work(self) -> None:
        """The jobs run."""
        await collect(self.services)
        await self.services.operations.recover(self.services)
        await self.guest.deliver()

    async def dunning(self) -> Dunning:
        """Of the newest invoice that has one."""
        return (await Dunning.filter(subscription_id=self.row.id).order_by("-id"))[0]

    async def subscription(self) -> BillingSubscription:
        """As it is now."""
        return await self.guest.now(self.row)

    async def invoice(self) -> Invoice:
        """The newest."""
        return (await self.guest.invoices())[-1]

    async def retry(
        self, method: str = "pm_card_visa", *, viewer: Viewer | None = None, key: str = ""
    ) -> PaymentResult:
        """The guest pays by hand, the newest of the failed payments."""
        payment = (await Payment.filter(payer_id=self.guest.user.id).order_by("-id"))[0]
        return await retry_payment(
            self.services, viewer=viewer or as_user(self.guest.user), payment_id=payment.id, payment_method=method,
            return_url=None, idempotency_key=key or str(uuid4()),
        )  # fmt: skip

    async def features(self) -> list[str]:
        """What the guest's plans grant now."""
        external_id = self.guest.user.external_id
        found = await list_entitlements(self.services, viewer=as_user(self.guest.user), external_id=external_id)
        return [entry.feature for entry in found]

    async def charges(self) -> list[dict[str, Any]]:
        """All that Stripe has tried to take."""
        return list(await self.guest.sandbox.every("/v1/charges", {"customer": self.guest.customer}))

    async def told(self) -> list[str]:
        """What the audit trail has of dunning."""
        entries = await AuditEntry.filter(subject_id=self.row.id, action__startswith="dunning.").order_by("id")
        return [entry.action.removeprefix("dunning.") for entry in entries]

    async def rests(self) -> None:
        """Nothing is under way, and all that must hold does."""
        left = await Operation.filter(status__not_in=[OperationStatus.SUCCEEDED, OperationStatus.FAILED])
        assert [(operation.kind, operation.status) for operation in left] == []
        await self.guest.check()

    def day(self, moment: datetime | None, since: datetime) -> float | None:
        """Days between two times, to the hour."""
        return None if moment is None else round((moment - since) / timedelta(days=1), 1)


async def in_debt(services: Services, sandbox: Sandbox, clock: Clock, **subscription: Any) -> Debtor:
    """A guest who has paid for the first month."""
    guest = await Subscriber.begin(services, sandbox, clock, method=None)
    method = await guest.give("pm_card_visa")
    row = await guest.subscribe(await guest.plan(), **subscription)
    await guest.deliver()
    return Debtor(guest, row, method)


@pytest.fixture
async def debtor(services: Services, sandbox: Sandbox, clock: Clock) -> Debtor:
    """A guest who has paid for the first month."""
    return await in_debt(services, sandbox, clock)


def with_settings(services: Services, **values: Any) -> Services:
    """The same services with other settings."""
    return replace(services, settings=services.settings.model_copy(update=values))
