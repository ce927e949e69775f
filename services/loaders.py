"""Related rows, gathered over one request: however many things ask, each kind of row costs one statement.

A loader gives what belongs to something that the viewer already sees, except `visible`, which decides.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.activities import Activity
from models.activity_cancellations import ActivityCancellation, ActivityCancellationItem
from models.base import from_record
from models.connect_accounts import ConnectAccount
from models.disputes import Dispute, EvidenceFile, FraudWarning
from models.invoices import CreditNote, Invoice, InvoiceLine
from models.payment_methods import SavedPaymentMethod
from models.payments import Payment, PaymentAttempt, SettlementStatus
from models.payouts import Payout
from models.plans import Plan, PlanPrice
from models.reconciliations import Drift
from models.refunds import Refund
from models.rsvps import Rsvp
from models.subscriptions import BillingSubscription
from models.users import User
from services.activity_cancellation.reading import refunded_by
from services.audit.proofs import InclusionProof, inclusion_proofs
from services.balances.unexplained import unexplained_of
from services.disputes.evidence import gathered_evidence
from services.dunning.reading import Recovery, recoveries
from services.errors import DomainError, Unauthenticated
from services.history import histories
from services.movements import Movement, visible_movements
from services.payment_methods.reading import attached_methods
from services.payments.settlement_status import settlement_statuses
from services.payouts.reading import payments_inside
from services.row_loaders import RowLoaders, loader_of
from services.transfers.debts import Debt, debts_of
from services.transfers.reading import HostShare, host_shares
from services.visibility import visible_rows

if TYPE_CHECKING:
    from uuid import UUID

    from aiodataloader import DataLoader
    from tortoise.models import Model

    from models.activity_cancellations import CancellationOutcome
    from models.events import EventSubject
    from models.money import Money
    from services.core import Services
    from services.live import LiveChange
    from services.pages import Page, PageRequest
    from services.row_loaders import Pages, Row
    from services.viewer import Viewer


class Loaders(RowLoaders):
    """The loaders of one request."""

    def __init__(self, services: Services, viewer: Viewer | None) -> None:
        super().__init__(services)
        self._viewer = viewer
        self._visible: dict[type[Model], DataLoader[UUID, Any]] = {}
        self._cancellation_items: dict[CancellationOutcome | None, Pages[ActivityCancellationItem]] = {}

    @cached_property
    def users(self) -> DataLoader[UUID, User]:
        """By id, of rows that others point at: there is one."""
        return self._required(User)

    @cached_property
    def users_by_external_id(self) -> DataLoader[str, User | None]:
        """By the platform's own id."""
        return self._rows(User, "external_id")

    @cached_property
    def activities(self) -> DataLoader[UUID, Activity]:
        """By id, of rows that others point at: there is one."""
        return self._required(Activity)

    @cached_property
    def activity_cancellations(self) -> DataLoader[UUID, ActivityCancellation]:
        """By id, of rows that others point at: there is one."""
        return self._required(ActivityCancellation)

    @cached_property
    def cancellations_of_activities(self) -> DataLoader[UUID, ActivityCancellation | None]:
        """By the id of the activity."""
        return self._rows(ActivityCancellation, "activity_id")

    def cancellation_items(self, outcome: CancellationOutcome | None) -> Pages[ActivityCancellationItem]:
        """By the id of the cancellation and the page that is wanted: those of one outcome where it is given."""
        if outcome not in self._cancellation_items:
            condition = "" if outcome is None else f"AND r.outcome = '{outcome.value}'"
            self._cancellation_items[outcome] = self._paged(ActivityCancellationItem, "cancellation_id", condition)
        return self._cancellation_items[outcome]

    @cached_property
    def refunded_by_cancellation(self) -> DataLoader[UUID, list[Money]]:
        """By the id of the cancellation: what its guests have got back, by currency."""
        return loader_of(self._refunded_by)

    @cached_property
    def payments(self) -> DataLoader[UUID, Payment]:
        """By id, of rows that others point at: there is one."""
        return self._required(Payment)

    @cached_property
    def payments_by_rsvp(self) -> DataLoader[UUID, Payment | None]:
        """By the id of the RSVP that it pays for."""
        return self._rows(Payment, "rsvp_id")

    @cached_property
    def rsvps(self) -> DataLoader[UUID, Rsvp]:
        """By id, of rows that others point at: there is one."""
        return self._required(Rsvp)

    @cached_property
    def connect_accounts(self) -> DataLoader[UUID, ConnectAccount]:
        """By id, of rows that others point at: there is one."""
        return self._required(ConnectAccount)

    @cached_property
    def live_accounts(self) -> DataLoader[UUID, ConnectAccount | None]:
        """By the id of the host: the account that is not deauthorized."""
        return self._rows(ConnectAccount, "user_id", "AND deauthorized_at IS NULL")

    @cached_property
    def debts(self) -> DataLoader[UUID, list[Debt]]:
        """By the id of the host: what they owe the platform, one for each currency."""
        return loader_of(self._debts)

    @cached_property
    def plans(self) -> DataLoader[UUID, Plan]:
        """By id, of rows that others point at: there is one."""
        return self._required(Plan)

    @cached_property
    def plan_prices(self) -> DataLoader[UUID, PlanPrice]:
        """By id, of rows that others point at: there is one."""
        return self._required(PlanPrice)

    @cached_property
    def offered_prices(self) -> DataLoader[UUID, PlanPrice]:
        """By the id of the plan: what new subscribers pay; of a plan that is being made, what they will."""
        return loader_of(self._offered_prices)

    @cached_property
    def host_shares(self) -> DataLoader[UUID, list[HostShare]]:
        """By the id of the payment: who gets what of it."""
        return loader_of(self._host_shares)

    @cached_property
    def attempts(self) -> DataLoader[UUID, list[PaymentAttempt]]:
        """By the id of the payment: its charges, the oldest first."""
        return self._several(PaymentAttempt, "payment_id", order="stripe_created_at, id")

    @cached_property
    def settlement_statuses(self) -> DataLoader[UUID, SettlementStatus | None]:
        """By the id of the payment; none until it is captured."""
        return loader_of(self._settlement_statuses)

    @cached_property
    def movements(self) -> DataLoader[UUID, list[Movement]]:
        """By the id of the payment: those that the viewer sees."""
        return loader_of(self._movements)

    @cached_property
    def unexplained(self) -> DataLoader[UUID, list[Money]]:
        """By the id of the payment."""
        return loader_of(self._unexplained)

    @cached_property
    def histories(self) -> DataLoader[tuple[EventSubject, UUID, int | None, str | None], Page[LiveChange]]:
        """By what it is a history of, its id and the page that is wanted (`first`, `after`)."""
        return loader_of(self._histories)

    @cached_property
    def refunds_by_id(self) -> DataLoader[UUID, Refund | None]:
        """By id."""
        return self._rows(Refund)

    @cached_property
    def refunds(self) -> Pages[Refund]:
        """By the id of the payment and the page that is wanted."""
        return self._paged(Refund, "payment_id")

    @cached_property
    def drifts(self) -> Pages[Drift]:
        """By the id of the reconciliation and the page that is wanted."""
        return self._paged(Drift, "run_id")

    @cached_property
    def payouts(self) -> DataLoader[UUID, Payout]:
        """By id, of rows that others point at: there is one."""
        return self._required(Payout)

    @cached_property
    def payouts_of_accounts(self) -> Pages[Payout]:
        """By the id of the connected account and the page that is wanted."""
        return self._paged(Payout, "connect_account_id")

    @cached_property
    def payments_inside(self) -> Pages[Payment]:
        """By the id of the payout and the page that is wanted."""
        return loader_of(self._payments_inside)

    @cached_property
    def disputes(self) -> Pages[Dispute]:
        """By the id of the payment and the page that is wanted."""
        return self._paged(Dispute, "payment_id")

    @cached_property
    def disputes_by_id(self) -> DataLoader[UUID, Dispute]:
        """By id, of rows that others point at: there is one."""
        return self._required(Dispute)

    @cached_property
    def evidence_files(self) -> DataLoader[UUID, list[EvidenceFile]]:
        """By the id of the dispute, in the order in which they were given."""
        return self._several(EvidenceFile, "dispute_id", order="id")

    @cached_property
    def gathered_evidence(self) -> DataLoader[UUID, dict[str, str]]:
        """By the id of the dispute: what is known without being told."""
        return loader_of(self._gathered_evidence)

    @cached_property
    def fraud_warnings(self) -> DataLoader[UUID, list[FraudWarning]]:
        """By the id of the payment, the oldest first."""
        return self._several(FraudWarning, "payment_id", order="id")

    @cached_property
    def subscriptions(self) -> DataLoader[UUID, BillingSubscription]:
        """By id, of rows that others point at: there is one."""
        return self._required(BillingSubscription)

    @cached_property
    def invoices(self) -> DataLoader[UUID, Invoice]:
        """By id, of rows that others point at: there is one."""
        return self._required(Invoice)

    @cached_property
    def invoices_of_subscriptions(self) -> Pages[Invoice]:
        """By the id of the subscription and the page that is wanted."""
        return self._paged(Invoice, "subscription_id")

    @cached_property
    def invoice_lines(self) -> DataLoader[UUID, list[InvoiceLine]]:
        """By the id of the invoice, in its order."""
        return self._several(InvoiceLine, "invoice_id", order="position")

    @cached_property
    def credit_notes(self) -> DataLoader[UUID, list[CreditNote]]:
        """By the id of the invoice, the oldest first."""
        return self._several(CreditNote, "invoice_id", order="stripe_created_at, id")

    @cached_property
    def payments_of_invoices(self) -> DataLoader[UUID, list[Payment]]:
        """By the id of the invoice, the oldest first."""
        return self._several(Payment, "invoice_id", order="id")

    @cached_property
    def recoveries(self) -> DataLoader[UUID, Recovery | None]:
        """By the id of the subscription: what is done about a renewal that failed."""
        return loader_of(self._recoveries)

    @cached_property
    def attached_methods(self) -> DataLoader[UUID, list[SavedPaymentMethod]]:
        """By the id of the guest: what can be paid with, the default first, then the newest."""
        return loader_of(self._attached_methods)

    @cached_property
    def attached_by_stripe_id(self) -> DataLoader[str, SavedPaymentMethod | None]:
        """By Stripe's id, where it is saved."""
        return self._rows(SavedPaymentMethod, "stripe_payment_method_id", "AND detached_at IS NULL")

    @cached_property
    def inclusion_proofs(self) -> DataLoader[UUID, InclusionProof | None]:
        """By the id of the audit entry: the proof that it is sealed, once it is."""
        return loader_of(self._inclusion_proofs)

    def visible(self, model: type[Row]) -> DataLoader[UUID, Row | None]:
        """By id, only what the viewer may see."""
        if model not in self._visible:

            async def load(ids: list[UUID]) -> list[Row | None]:
                rows = await visible_rows(self._services, viewer=self._viewer, model=model, ids=ids)
                return [rows.get(id_) for id_ in ids]

            self._visible[model] = loader_of(load)
        return self._visible[model]

    async def _offered_prices(self, plan_ids: list[UUID]) -> list[PlanPrice]:
        sql = """
            SELECT DISTINCT ON (plan_id) * FROM plan_prices WHERE plan_id = ANY($1)
            ORDER BY plan_id, current DESC, id DESC
        """
        rows = {record["plan_id"]: from_record(PlanPrice, record) for record in await self._fetch(sql, plan_ids)}
        return [rows[id_] for id_ in plan_ids]

    async def _payments_inside(self, wanted: list[tuple[UUID, PageRequest]]) -> list[Page[Payment]]:
        found: dict[tuple[UUID, PageRequest], Page[Payment]] = {}
        for request in dict.fromkeys(request for _, request in wanted):
            pages = await payments_inside(self._services, [id_ for id_, other in wanted if other == request], request)
            found |= {(id_, request): page for id_, page in pages.items()}
        return [found[key] for key in wanted]

    async def _debts(self, host_ids: list[UUID]) -> list[list[Debt]]:
        found = await debts_of(self._services, host_ids)
        return [[debt for debt in found if debt.host_id == id_] for id_ in host_ids]

    async def _host_shares(self, payment_ids: list[UUID]) -> list[list[HostShare]]:
        found = await host_shares(self._services, payment_ids)
        return [found[id_] for id_ in payment_ids]

    async def _refunded_by(self, cancellation_ids: list[UUID]) -> list[list[Money]]:
        sums = await refunded_by(self._services, cancellation_ids)
        return [sums.get(id_, []) for id_ in cancellation_ids]

    async def _recoveries(self, subscription_ids: list[UUID]) -> list[Recovery | None]:
        found = await recoveries(self._services, subscription_ids)
        return [found.get(id_) for id_ in subscription_ids]

    async def _gathered_evidence(self, dispute_ids: list[UUID]) -> list[dict[str, str]]:
        disputes = await self.disputes_by_id.load_many(dispute_ids)
        gathered = await gathered_evidence(self._services, disputes)
        return [gathered[id_] for id_ in dispute_ids]

    async def _attached_methods(self, user_ids: list[UUID]) -> list[list[SavedPaymentMethod]]:
        methods = await attached_methods(self._services, user_ids)
        return [methods[id_] for id_ in user_ids]

    async def _inclusion_proofs(self, entry_ids: list[UUID]) -> list[InclusionProof | None]:
        if self._viewer is None:
            raise Unauthenticated
        proofs = await inclusion_proofs(self._services, viewer=self._viewer, entry_ids=entry_ids)
        return [proofs.get(id_) for id_ in entry_ids]

    async def _unexplained(self, payment_ids: list[UUID]) -> list[list[Money]]:
        found = await unexplained_of(self._services, payment_ids)
        return [found.get(id_, []) for id_ in payment_ids]

    async def _settlement_statuses(self, payment_ids: list[UUID]) -> list[SettlementStatus | None]:
        found = await settlement_statuses(self._services, payment_ids)
        return [found.get(id_) for id_ in payment_ids]

    async def _movements(self, payment_ids: list[UUID]) -> list[list[Movement]]:
        if self._viewer is None:
            raise Unauthenticated
        movements = await visible_movements(self._services, viewer=self._viewer, payment_ids=payment_ids)
        return [movements.get(id_, []) for id_ in payment_ids]

    async def _histories(self, wanted: list[tuple[EventSubject, UUID, int | None, str | None]]) -> list[Any]:
        """A service call for each different page that is asked for; one that is refused is refused alone."""
        found: dict[tuple[EventSubject, UUID, int | None, str | None], Page[LiveChange] | DomainError] = {}
        for subject, first, after in dict.fromkeys((subject, first, after) for subject, _, first, after in wanted):
            ids = [id_ for other, id_, *page in wanted if (other, *page) == (subject, first, after)]
            try:
                pages = await histories(self._services, subject, ids, first=first, after=after)
            except DomainError as error:
                found |= {(subject, id_, first, after): error for id_ in ids}
            else:
                found |= {(subject, id_, first, after): pages[id_] for id_ in ids}
        return [found[key] for key in wanted]
