"""Reserve: claim the operation, hold the seats and write the payment, for many guests in one transaction."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from models.activities import Activity
from models.base import from_record, new_id, new_row
from models.connect_accounts import ConnectAccount
from models.currencies import currency
from models.money import WIRE_AMOUNT_MAX, Money
from models.operations import Operation, OperationStep
from models.payments import ChargeModel, Payment, PaymentAllocation, PaymentStatus
from models.rsvps import Rsvp, RsvpStatus
from models.sets import Writes, from_joined, insert_rows, joined_columns
from models.users import User
from services.changes import ChangeSet
from services.errors import DomainError, InvalidInput, InvalidState, NotFound, PriceChanged, SoldOut
from services.fees import platform_fee
from services.operations import Claimed, Intent, PlannedStep, new_operation, new_step, same_intent
from services.payments.charging import Charging, Part, Split, charging_of, split_path
from services.payments.history import record_change
from services.stripe_requests import StripeRequest, create_payment_intent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from models.sets import AnyConnection
    from settings import Settings

CREATE_INTENT = "create_payment_intent"
SUFFIX_LENGTH = 12


@dataclass(frozen=True, slots=True)
class PaymentReservation:
    """What a guest asks for; times are the caller's clock, so that tests can move it."""

    intent: Intent
    payer_external_id: str
    activity_id: UUID
    quantity: int
    payment_method: str
    expected_amount: Money | None
    capture_later: bool
    save_payment_method: bool
    return_url: str
    hold_expires_at: datetime
    leased_until: datetime
    off_session: bool = False
    splits: Sequence[Split] = ()
    """Whose part it is, where that is not the activity's host alone."""


@dataclass(frozen=True, slots=True)
class ReservedPayment:
    """The claimed operation; where it is new its payment, payer and first call (none: the guest is no customer yet)."""

    claimed: Claimed
    payment: Payment | None = None
    step: OperationStep | None = None
    payer: User | None = None


@dataclass(slots=True)
class _Draft:
    """The rows that one reservation writes."""

    operation: Operation
    payer: User
    payment: Payment
    rsvp: Rsvp
    allocations: list[PaymentAllocation]
    step: OperationStep | None


_SEATS = """
UPDATE activities a SET seats_taken = a.seats_taken + v.seats
FROM unnest($1::uuid[], $2::int[]) AS v(id, seats) WHERE a.id = v.id
"""


@cache
def _activities() -> str:
    return f"""
    SELECT a.*, u.external_id AS host_external_id, pg_current_xact_id()::text::bigint AS xid,
        {joined_columns(ConnectAccount, "c")}
    FROM activities a JOIN users u ON u.id = a.host_id
    LEFT JOIN connect_accounts c ON c.user_id = a.host_id AND c.deauthorized_at IS NULL
    WHERE a.id = ANY($1) ORDER BY a.id FOR NO KEY UPDATE OF a
    """


@cache
def _hosts() -> str:
    return f"""
    SELECT u.id AS host_id, u.external_id AS host_external_id, {joined_columns(ConnectAccount, "c")} FROM users u
    LEFT JOIN connect_accounts c ON c.user_id = u.id AND c.deauthorized_at IS NULL
    WHERE u.external_id = ANY($1)
    """


class ReservePayments:
    """The batch of `services.reservations`: a fixed number of statements, however many guests are in it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def __call__(
        self, connection: AnyConnection, items: Sequence[PaymentReservation]
    ) -> list[ReservedPayment | Exception]:
        """An outcome for each: reserved, known already, or refused; a refusal leaves nothing behind."""
        operations = await self._claim(connection, items)
        existing = await _existing(connection, [i for i, made in zip(items, operations, strict=True) if made is None])
        activities = await connection.fetch(_activities(), sorted({item.activity_id for item in items}))
        payers = await connection.fetch(
            "SELECT * FROM users WHERE external_id = ANY($1)", list({item.payer_external_id for item in items})
        )
        named = {split.host_external_id for item in items for split in item.splits}
        hosts = await connection.fetch(_hosts(), sorted(named)) if named else []
        draft = _Drafting(
            self.settings,
            {record["id"]: record for record in activities},
            {record["host_external_id"]: _part(record) for record in (*activities, *hosts)},
            {record["external_id"]: from_record(User, record) for record in payers},
        )
        refused: dict[UUID, DomainError] = {}
        for item, operation in zip(items, operations, strict=True):
            if operation is not None:
                try:
                    draft.add(item, operation)
                except DomainError as error:
                    refused[operation.id] = error
        if refused:
            await connection.execute("DELETE FROM operations WHERE id = ANY($1)", list(refused))
        await draft.write(connection)
        return [
            _outcome(item, operation, existing, refused, draft.drafts)
            for item, operation in zip(items, operations, strict=True)
        ]

    async def _claim(
        self, connection: AnyConnection, items: Sequence[PaymentReservation]
    ) -> list[Operation | None]:
        """The new operation of each item; None where its key is known."""
        operations = [
            new_operation(
                item.intent, subject_id=new_id(), leased_until=item.leased_until,
                arguments={
                    "payment_method": item.payment_method,
                    "return_url": item.return_url,
                    "save_payment_method": item.save_payment_method,
                    "off_session": item.off_session,
                },
            )  # fmt: skip
            for item in items
        ]
        # Sorted, since two batches that claim the same keys wait for one another.
        ordered = sorted(operations, key=lambda operation: (operation.caller, operation.idempotency_key))
        made = await insert_rows(
            connection, Operation, ordered, conflict="ON CONFLICT (caller, idempotency_key) DO NOTHING RETURNING id"
        )
        new = {record["id"] for record in made}
        return [operation if operation.id in new else None for operation in operations]


async def _existing(
    connection: AnyConnection, items: Sequence[PaymentReservation]
) -> dict[tuple[str, str], Operation]:
    if not items:
        return {}
    records = await connection.fetch(
        """
        SELECT o.* FROM operations o JOIN unnest($1::text[], $2::text[]) AS v(caller, key)
            ON o.caller = v.caller AND o.idempotency_key = v.key
        """,
        [item.intent.caller for item in items],
        [item.intent.idempotency_key for item in items],
    )
    return {(record["caller"], record["idempotency_key"]): from_record(Operation, record) for record in records}


def _part(record: Any) -> Part:
    return Part(record["host_id"], from_joined(ConnectAccount, record, "c"))


def _outcome(
    item: PaymentReservation,
    operation: Operation | None,
    existing: dict[tuple[str, str], Operation],
    refused: dict[UUID, DomainError],
    drafts: dict[UUID, _Draft],
) -> ReservedPayment | Exception:
    if operation is None:
        known = existing[item.intent.caller, item.intent.idempotency_key]
        try:
            claimed = Claimed(same_intent(known, item.intent), new=False)
        except DomainError as error:
            return error
        # Of two equal ones in this very batch, the first may have been refused.
        return refused.get(known.id) or ReservedPayment(claimed)
    if operation.id in refused:
        return refused[operation.id]
    draft = drafts[operation.id]
    return ReservedPayment(Claimed(operation, new=True), draft.payment, draft.step, draft.payer)


class _Drafting:
    """Decides on each reservation in turn, against the locked activities, and collects the rows."""

    def __init__(
        self,
        settings: Settings,
        activities: dict[UUID, Any],
        hosts: dict[str, Part],
        payers: dict[str, User],
    ) -> None:
        self.settings = settings
        self.hosts = hosts
        self.records = activities
        self.activities = {id_: from_record(Activity, record) for id_, record in activities.items()}
        self.payers = payers
        self.drafts: dict[UUID, _Draft] = {}
        self.seats: Counter[UUID] = Counter()

    def add(self, item: PaymentReservation, operation: Operation) -> None:
        """Take one reservation in.

        Raises: NotFound, InvalidState, InvalidInput, PriceChanged, SoldOut, HostNotReady.
        """
        payer = self.payers.get(item.payer_external_id)
        activity = self.activities.get(item.activity_id)
        if activity is None:
            raise NotFound("There is no such activity.", path=["input", "activityId"])
        if activity.canceled_at is not None:
            raise InvalidState("This activity has been canceled.", state="CANCELED")
        if payer is None:
            raise InvalidState("You are not known here yet. Please try again in a moment.", state="UNKNOWN_USER")
        amount = _price(activity, item)
        parts = self._parts(item, self.records[activity.id]["host_external_id"])
        charging = charging_of(activity, parts, self.settings.platform_country, shared=bool(item.splits))
        left = activity.seats_left
        if left is not None and item.quantity > left:
            raise SoldOut(seats_left=left)
        activity.seats_taken += item.quantity
        self.seats[activity.id] += item.quantity
        fee = platform_fee(self.settings, amount, self.records[activity.id]["host_external_id"])
        self.drafts[operation.id] = self._draft(item, operation, payer, activity, charging, amount, fee)

    def _parts(self, item: PaymentReservation, host_external_id: str) -> list[Part]:
        if not item.splits:
            return [self.hosts[host_external_id]]
        parts = []
        for index, split in enumerate(item.splits):
            part = self.hosts.get(split.host_external_id)
            if part is None:
                raise InvalidInput(path=split_path(index, "hostExternalId"), message="There is no such host.")
            parts.append(replace(part, share=split.share))
        return parts

    def _draft(
        self, item: PaymentReservation, operation: Operation, payer: User, activity: Activity, charging: Charging,
        amount: Money, fee: Money,
    ) -> _Draft:  # fmt: skip
        rsvp = new_row(
            Rsvp,
            id=new_id(), activity_id=activity.id, user_id=payer.id, status=RsvpStatus.HELD, quantity=item.quantity,
            hold_expires_at=item.hold_expires_at,
        )  # fmt: skip
        payment = new_row(
            Payment,
            id=operation.subject_id, payer_id=payer.id, activity_id=activity.id, host_id=activity.host_id,
            rsvp_id=rsvp.id, charge_model=charging.model, stripe_account=charging.stripe_account,
            payout_timing=activity.payout_timing, status=PaymentStatus.PENDING,
            currency=amount.currency, amount_minor=amount.minor, platform_fee_minor=fee.minor,
            host_amount_minor=(amount - fee).minor, capture_later=item.capture_later,
            on_behalf_of=charging.on_behalf_of,
        )  # fmt: skip
        allocations = [
            new_row(
                PaymentAllocation,
                id=new_id(), payment_id=payment.id, host_id=part.host_id, stripe_account_id=part.stripe_account_id,
                amount_minor=its.minor, currency=amount.currency, share=part.share,
            )
            for part, its in zip(charging.parts, charging.amounts(amount - fee), strict=True)
        ]  # fmt: skip
        step = None
        # A direct charge begins with a method of the host's account (services/payments/direct.py).
        if payer.stripe_customer_id is not None and charging.model is not ChargeModel.DIRECT:
            request = intent_request(
                payment, operation, customer=payer.stripe_customer_id, host=allocations[0].stripe_account_id,
                title=activity.title,
            )  # fmt: skip
            step = new_step(operation.id, PlannedStep(CREATE_INTENT, request))
        return _Draft(operation, payer, payment, rsvp, allocations, step)

    async def write(self, connection: AnyConnection) -> None:
        """Write what was taken in, in one statement."""
        drafts = list(self.drafts.values())
        if not drafts:
            return
        xid = next(iter(self.records.values()))["xid"]
        changes = ChangeSet("guest", xid)
        for draft in drafts:
            record_change(changes, draft.payment, "payment.created", None, actor=draft.operation.caller)
        writes = Writes()
        writes.add("taken", _SEATS, list(self.seats.keys()), list(self.seats.values()))
        writes.insert(Rsvp, [draft.rsvp for draft in drafts])
        writes.insert(Payment, [draft.payment for draft in drafts])
        writes.insert(PaymentAllocation, [allocation for draft in drafts for allocation in draft.allocations])
        writes.insert(OperationStep, [draft.step for draft in drafts if draft.step is not None])
        changes.add_to(writes)
        await writes.run(connection)


def intent_request(
    payment: Payment, operation: Operation, *, customer: str | None, host: str, title: str,
    payment_method: str | None = None,
) -> StripeRequest:  # fmt: skip
    """The call that creates and confirms the payment intent ("Create destination charges", "Create separate charges and
    transfers", "Create direct charges").

    Args:
        customer: None for a direct charge: the platform's customers are not on the host's account, nor their methods.
        host: the account that a destination charge goes to.
        payment_method: the method on that account of a direct charge.
    """
    separate = payment.charge_model is ChargeModel.SEPARATE
    is_direct = payment.charge_model is ChargeModel.DIRECT
    return create_payment_intent(
        amount=payment.amount.wire,
        currency=payment.currency.lower(),
        customer=customer,
        payment_method=payment_method or operation.arguments["payment_method"],
        capture_method="manual" if payment.capture_later else "automatic",
        application_fee_amount=None if separate else payment.platform_fee.wire,
        destination=None if separate or is_direct else host,
        transfer_group=str(payment.id) if separate else None,
        on_behalf_of=payment.on_behalf_of,
        setup_future_usage="off_session" if operation.arguments["save_payment_method"] and not is_direct else None,
        off_session=operation.arguments.get("off_session", False),
        return_url=operation.arguments["return_url"],
        statement_descriptor_suffix=descriptor_suffix(title),
        metadata={"payment_id": str(payment.id), "operation_id": str(operation.id)},
        stripe_account=payment.stripe_account,
    )


def descriptor_suffix(title: str) -> str | None:
    """What of the title can stand on a card statement; None where nothing of it can ("Statement descriptors")."""
    plain = re.sub(r"[^A-Za-z0-9 .,-]", "", title).strip()[:SUFFIX_LENGTH].strip()
    return plain if re.search("[A-Za-z]", plain) else None


def _price(activity: Activity, item: PaymentReservation) -> Money:
    """The server's price.

    Raises: PriceChanged where the client expected another; InvalidInput where the sum is less or more than a charge can
        be.
    """
    amount = activity.price * item.quantity
    if item.expected_amount is not None and item.expected_amount != amount:
        raise PriceChanged(price=amount)
    least = Money(currency(amount.currency).minimum_charge_minor, amount.currency)
    if amount < least:
        raise InvalidInput("quantity", f"A payment is of {least} at least.")
    if amount.wire > WIRE_AMOUNT_MAX:
        raise InvalidInput("quantity", "So many seats cost more than one payment can be.")
    return amount
