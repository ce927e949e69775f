"""The enums of the models as clients see them. The schema takes them from here, so that they are described first."""

from __future__ import annotations

from models.activities import PayoutTiming
from models.activity_cancellations import CancellationOutcome, CancellationStatus
from models.connect_accounts import ConnectAccountType, RequirementUrgency
from models.disputes import DisputeStatus, EvidenceFileField
from models.invoices import CreditNoteStatus, InvoiceStatus
from models.ledger import LedgerPlace
from models.merkle import ProofSide
from models.payments import PaymentAdvice, PaymentStatus, SettlementStatus
from models.payouts import PayoutInterval, PayoutStatus, Weekday
from models.plans import PlanInterval
from models.reconciliations import DriftKind, DriftRepair
from models.refunds import RefundReason, RefundStatus
from models.rsvps import RsvpStatus
from models.subscriptions import BillingSubscriptionStatus
from models.transfers import TransferHold
from models.webhook_events import WebhookEventStatus
from schema.described import expose
from settings import DunningEnd

__all__ = [
    "BillingSubscriptionStatus", "CancellationOutcome", "CancellationStatus", "ConnectAccountType",
    "CreditNoteStatus", "DisputeStatus", "DriftKind", "DriftRepair", "DunningEnd", "EvidenceFileField",
    "InvoiceStatus", "LedgerPlace", "PaymentAdvice", "PaymentStatus", "PayoutInterval", "PayoutStatus",
    "PayoutTiming", "PlanInterval", "ProofSide", "RefundReason", "RefundStatus", "RequirementUrgency", "RsvpStatus",
    "SettlementStatus", "TransferHold", "WebhookEventStatus", "Weekday",
]  # fmt: skip

expose(
    LedgerPlace,
    PLATFORM="The platform's balance at Stripe.",
    HOST="The hosts' balances at Stripe.",
    ELSEWHERE="With guests, banks or Stripe, and on its way between them.",
)
expose(
    PayoutTiming,
    IMMEDIATE="With the payment.",
    AFTER_ACTIVITY="Once the activity is over, by its end or else its start, and some time has gone by.",
)
expose(
    ConnectAccountType,
    EXPRESS="Stripe's Express dashboard; the platform bears fees and losses.",
    STANDARD="Stripe's own dashboard; the host bears fees, Stripe losses. Guests are charged on the account itself.",
    CUSTOM="No dashboard: the platform asks for everything itself.",
)
expose(
    RequirementUrgency,
    PAST_DUE="Too late: what the account may do is limited until it is met.",
    CURRENTLY_DUE="Wanted by its deadline.",
    PENDING_VERIFICATION="Handed in; Stripe checks it.",
    EVENTUALLY_DUE="Wanted some day.",
)
expose(
    PaymentAdvice,
    CONFIRM="Pay with the same method again, and confirm it with the bank.",
    CHECK_DETAILS="Check what was typed, and try again.",
    TRY_AGAIN="Try the same method again in a moment.",
    TRY_LATER="Try the same method again later.",
    OTHER_METHOD="Pay with another method.",
    CONTACT_BANK="Ask the bank why it says no.",
    CHECK_PAYMENTS="Look whether the payment was made already.",
)
expose(
    PaymentStatus,
    PENDING="Stripe has not said anything yet.",
    REQUIRES_ACTION="The guest must do something, such as 3-D Secure: see `nextAction`.",
    PROCESSING="The guest's bank works on it, for days with some methods.",
    AUTHORIZED="The money is reserved; it can be captured until `captureBefore`.",
    SUCCEEDED="The money was taken.",
    FAILED="Declined: see `failure`. It can be tried again while the seats are held.",
    CANCELED="Called off; no money was taken, and none will be.",
    PARTIALLY_REFUNDED="A part was given back.",
    REFUNDED="All was given back.",
)
expose(
    RefundStatus,
    PENDING="On its way; it counts against what is left to refund.",
    REQUIRES_ACTION="The guest must say where the money should go.",
    SUCCEEDED="Made; a bank may still send it back.",
    FAILED="It could not be made, or came back; its amount is refundable again.",
    CANCELED="Called off; its amount is refundable again.",
)
expose(
    DisputeStatus,
    WARNING_NEEDS_RESPONSE="The bank asks about it, and has taken nothing: answer by `evidenceDueBy`, or refund.",
    WARNING_UNDER_REVIEW="The bank looks at the answer.",
    WARNING_CLOSED="The bank asked, and did not dispute it.",
    NEEDS_RESPONSE="The bank has taken the money: answer by `evidenceDueBy`, or it is lost.",
    UNDER_REVIEW="The bank looks at the evidence.",
    WON="The money is back.",
    LOST="The money is the guest's. A bank may think again.",
    PREVENTED="It was settled with the guest before it became a dispute.",
)
expose(
    EvidenceFileField,
    CANCELLATION_POLICY="The policy of cancellation, as the guest saw it.",
    CUSTOMER_COMMUNICATION="What was written with the guest.",
    CUSTOMER_SIGNATURE="What the guest has signed.",
    DUPLICATE_CHARGE_DOCUMENTATION="What shows that another charge is not the same.",
    RECEIPT="The receipt that the guest got.",
    REFUND_POLICY="The policy of refunds, as the guest saw it.",
    SERVICE_DOCUMENTATION="What shows that the activity took place.",
    SHIPPING_DOCUMENTATION="What shows that something was shipped.",
    UNCATEGORIZED_FILE="Anything else.",
)
expose(
    RefundReason,
    REQUESTED_BY_CUSTOMER="The guest asked for it.",
    DUPLICATE="The guest paid twice.",
    FRAUDULENT="Someone else paid with the guest's card.",
    ACTIVITY_CANCELED="The activity does not take place, or not with this guest.",
)
expose(
    RsvpStatus,
    HELD="Held for a payment that is under way, until it is made or the hold runs out.",
    CONFIRMED="Paid for.",
    CANCELED="Given up; the seats are free again.",
    EXPIRED="Not paid in time; the seats are free again.",
)
expose(
    CancellationStatus,
    RUNNING="Guests are given their money back.",
    FINISHED="Everybody has been dealt with.",
)
expose(
    CancellationOutcome,
    PENDING="Not yet: it is under way, or waits for a bank.",
    REFUNDED="The refund is made, or on its way.",
    CANCELED="It had not been paid, and never will be.",
    NOTHING_TO_REFUND="It had been given back before, or was lost to the guest in a dispute.",
    FAILED="The guest could not get the money back: see `error`.",
)
expose(
    WebhookEventStatus,
    RECEIVED="Stored; it is handled soon, or again after a failure.",
    PROCESSED="Handled.",
    FAILED="Given up after its last try; it can be replayed.",
    IGNORED="Of a type that nothing here wants.",
)
expose(PlanInterval, DAY="A day.", WEEK="A week.", MONTH="A month.", YEAR="A year.")
expose(
    BillingSubscriptionStatus,
    INCOMPLETE="Its first payment was declined, or waits for the guest: see `clientSecret`. It grants nothing yet.",
    INCOMPLETE_EXPIRED="Its first payment was not made within a day; it has ended.",
    TRIALING="Free for a while; it grants its plan's features.",
    ACTIVE="Paid for.",
    PAST_DUE="A renewal could not be paid for and is tried again; it grants its features for a few days more.",
    UNPAID="A renewal was given up; it grants nothing until that is paid.",
    PAUSED="Nothing is charged until it is resumed; it grants what was paid for before.",
    CANCELED="It has ended.",
)
expose(
    InvoiceStatus,
    DRAFT="Being put together; it can still change.",
    OPEN="Final, and to be paid.",
    PAID="Paid, or nothing was due.",
    UNCOLLECTIBLE="Given up; it can still be paid.",
    VOID="Called off; nothing is owed for it.",
)
expose(CreditNoteStatus, ISSUED="It counts.", VOID="Taken back; it does not count.")
expose(
    DunningEnd,
    CANCEL="The subscription ends.",
    UNPAID="It grants nothing until what is open is paid, and nothing more is charged meanwhile.",
    PAUSE="It is paused, and what is open is given up.",
)
expose(
    PayoutStatus,
    PENDING="Not sent to the bank yet.",
    IN_TRANSIT="The bank has been told.",
    PAID="Arrived; for a few days a bank may still send it back.",
    FAILED="Refused, or sent back by the bank: see `failureMessage`. The money is in the balance.",
    CANCELED="Called off before it left. The money is in the balance.",
)
expose(
    PayoutInterval,
    DAILY="On each working day.",
    WEEKLY="On some days of the week.",
    MONTHLY="On some days of the month.",
    MANUAL="Never: the host asks for each payout.",
)
expose(
    Weekday, MONDAY="Monday.", TUESDAY="Tuesday.", WEDNESDAY="Wednesday.", THURSDAY="Thursday.", FRIDAY="Friday.",
)  # fmt: skip
expose(ProofSide, LEFT="Its hash comes first, ours second.", RIGHT="Our hash comes first, its second.")
expose(
    DriftKind,
    MISSING_HERE="Stripe has it, and here it is missing.",
    MISSING_AT_STRIPE="It is here, and Stripe knows nothing of it.",
    AMOUNT_DIFFERS="Both have it, with different amounts.",
    STATUS_DIFFERS="Both have it, in different states.",
)
expose(
    DriftRepair,
    SETTLE="Stripe is asked for it, and its state and amounts are taken over.",
    POST="What the ledger lacks of it is posted, as a correction; nothing that was posted is rewritten.",
    MIRROR="The copy of Stripe's balance transaction is made again, and joined to what it belongs to.",
)
expose(
    TransferHold,
    ACTIVITY_NOT_OVER="The activity is not over yet: see `releaseAt`.",
    ACTIVITY_CANCELED="The activity was cancelled: its guests are refunded.",
    DISPUTED="The guest's bank disputes the payment.",
    HOST_NOT_READY="The host's account cannot be sent money yet. It will be as soon as it can.",
    REFUND_UNDER_WAY="A refund is under way that may be made of it.",
    SETTLING="Stripe has not said yet what the charge came to.",
    REFUSED="Stripe refused to send it. It is tried again: see `releaseAt`.",
    UNDER_WAY="It is being sent.",
    HELD_BACK="It is not sent by itself: a person took it back at Stripe, or it is too little for any transfer.",
)
expose(
    SettlementStatus,
    CAPTURED="It was taken from the guest; it cannot be used yet.",
    SETTLED="It is in the balance at Stripe of those whose it is, and can be paid out.",
    IN_PAYOUT="It is on its way to the bank.",
    AT_BANK="It was paid out.",
)
