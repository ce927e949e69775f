"""What the database itself refuses of transfers, payouts, disputes, mirrored balances and reconciliation; indexes."""

from tortoise import migrations
from tortoise.migrations.operations import DeleteModel, RunSQL

TABLES = {
    "transfers": True, "transfer_reversals": True, "payouts": True, "disputes": True, "evidence_files": False,
    "fraud_warnings": True, "balance_transactions": False, "balance_watermarks": True, "reconciliation_runs": True,
    "drifts": True, "activity_cancellations": True, "activity_cancellation_items": True,
    "ledger_days": False, "ledger_rollups": True,
}  # fmt: skip
"""New tables, and whether their rows change."""

DEFAULTS = "".join(
    f"ALTER TABLE {table} ALTER created_at SET DEFAULT now()" + (", ALTER updated_at SET DEFAULT now();" if changing else ";")
    for table, changing in TABLES.items()
)

COLUMNS = """
ALTER TABLE payments ALTER disputed_minor SET DEFAULT 0, ALTER retries SET DEFAULT 0, ALTER stripe_account SET DEFAULT '';
ALTER TABLE payment_allocations ALTER share SET DEFAULT 1;
ALTER TABLE balance_transactions ALTER application_fee_minor SET DEFAULT 0;
UPDATE payments p SET payout_timing = 'IMMEDIATE' WHERE charge_model = 'DESTINATION';
"""

CHECKS = """
ALTER TABLE activities ADD CONSTRAINT activities_end_after_they_start CHECK (ends_at >= starts_at);
ALTER TABLE payments
    ADD CONSTRAINT payments_disputes_are_not_negative CHECK (disputed_minor >= 0),
    ADD CONSTRAINT payments_payout_timing_is_known CHECK (payout_timing IN ('IMMEDIATE', 'AFTER_ACTIVITY')),
    ADD CONSTRAINT payments_of_hosts_accounts_are_direct CHECK ((charge_model = 'DIRECT') = (stripe_account <> '')),
    ADD CONSTRAINT payments_that_are_released_later_are_separate CHECK (
        payout_timing IS DISTINCT FROM 'AFTER_ACTIVITY' OR charge_model = 'SEPARATE'),
    ADD CONSTRAINT payments_retries_are_not_negative CHECK (retries >= 0);
ALTER TABLE payment_allocations
    DROP CONSTRAINT payment_allocations_transfer_is_within_amount,
    ADD CONSTRAINT payment_allocations_sent_is_within_amount CHECK (
        amount_minor >= 0 AND transferred_minor >= 0
        AND transferred_minor - greatest(reversed_minor, 0) <= amount_minor),
    ADD CONSTRAINT payment_allocations_share_is_a_share CHECK (share > 0 AND share <= 1);
ALTER TABLE transfers
    ADD CONSTRAINT transfers_amounts_are_positive CHECK (amount_minor > 0 AND covers_minor > 0),
    ADD CONSTRAINT transfers_status_is_known CHECK (status IN ('PLANNED', 'PAID', 'REFUSED')),
    ADD CONSTRAINT transfers_that_are_paid_are_at_stripe CHECK ((status = 'PAID') = (stripe_transfer_id IS NOT NULL));
ALTER TABLE transfer_reversals
    ADD CONSTRAINT transfer_reversals_take_something CHECK (
        amount_minor >= 0 AND covers_minor >= 0 AND amount_minor + covers_minor > 0),
    ADD CONSTRAINT transfer_reversals_status_is_known CHECK (status IN ('PLANNED', 'PAID', 'REFUSED')),
    ADD CONSTRAINT transfer_reversals_have_one_cause CHECK (num_nonnulls(refund_id, dispute_id) <= 1);
ALTER TABLE payouts
    ADD CONSTRAINT payouts_status_is_known CHECK (status IN ('PENDING', 'IN_TRANSIT', 'PAID', 'FAILED', 'CANCELED')),
    ADD CONSTRAINT payouts_have_their_account CHECK ((connect_account_id IS NOT NULL) = (stripe_account <> '')),
    ADD CONSTRAINT payouts_under_way_are_at_stripe CHECK (
        stripe_payout_id IS NOT NULL OR status IN ('PENDING', 'FAILED'));
ALTER TABLE disputes
    ADD CONSTRAINT disputes_amounts_are_not_negative CHECK (amount_minor >= 0 AND withdrawn_minor >= 0),
    ADD CONSTRAINT disputes_status_is_known CHECK (status IN ('WARNING_NEEDS_RESPONSE', 'WARNING_UNDER_REVIEW',
        'WARNING_CLOSED', 'NEEDS_RESPONSE', 'UNDER_REVIEW', 'WON', 'LOST', 'PREVENTED'));
ALTER TABLE balance_transactions
    ADD CONSTRAINT balance_transactions_are_known_once UNIQUE (stripe_account, stripe_balance_transaction_id);
ALTER TABLE ledger_days ADD CONSTRAINT ledger_days_are_added_up_once UNIQUE (day, kind, currency);
ALTER TABLE reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_period_is_in_order CHECK (from_at < to_at),
    ADD CONSTRAINT reconciliation_runs_match_what_they_check CHECK (matched <= checked);
ALTER TABLE drifts
    ADD CONSTRAINT drifts_kind_is_known CHECK (
        kind IN ('MISSING_HERE', 'MISSING_AT_STRIPE', 'AMOUNT_DIFFERS', 'STATUS_DIFFERS')),
    ADD CONSTRAINT drifts_repair_is_known CHECK (repair IN ('SETTLE', 'POST', 'MIRROR')),
    ADD CONSTRAINT drifts_are_found_once_a_run UNIQUE (run_id, kind, object_type, stripe_id, stripe_account);
ALTER TABLE activity_cancellations
    ADD CONSTRAINT activity_cancellations_status_is_known CHECK (status IN ('RUNNING', 'FINISHED')),
    ADD CONSTRAINT activity_cancellations_end_with_their_time CHECK ((status = 'FINISHED') = (finished_at IS NOT NULL)),
    ADD CONSTRAINT activity_cancellations_counts_are_in_order CHECK (0 <= failed AND failed <= done AND done <= total);
ALTER TABLE activity_cancellation_items
    ADD CONSTRAINT activity_cancellation_items_are_there_once UNIQUE (payment_id),
    ADD CONSTRAINT activity_cancellation_items_outcome_is_known CHECK (
        outcome IN ('PENDING', 'REFUNDED', 'CANCELED', 'NOTHING_TO_REFUND', 'FAILED'));
"""

INDEXES = """
DROP INDEX payment_allocations_host;
CREATE INDEX payment_allocations_host ON payment_allocations (host_id, payment_id);
CREATE INDEX payment_allocations_release ON payment_allocations (release_at) WHERE release_at IS NOT NULL;
CREATE INDEX payment_allocations_debts ON payment_allocations (host_id, currency, id) WHERE owed_minor < 0;
CREATE INDEX payment_allocations_transfer ON payment_allocations (stripe_transfer_id) WHERE stripe_transfer_id IS NOT NULL;
CREATE INDEX payments_next_attempt ON payments (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX payments_direct_unanswered ON payments (stripe_account)
    WHERE stripe_account <> '' AND stripe_payment_intent_id IS NULL;
CREATE INDEX payments_charge ON payments (stripe_charge_id) WHERE stripe_charge_id IS NOT NULL;
CREATE INDEX transfers_payment ON transfers (payment_id, id);
CREATE INDEX transfers_allocation ON transfers (allocation_id, id);
CREATE INDEX transfers_refused ON transfers (updated_at) WHERE status = 'REFUSED';
CREATE INDEX transfer_reversals_payment ON transfer_reversals (payment_id, id);
CREATE INDEX transfer_reversals_allocation ON transfer_reversals (allocation_id, id);
CREATE INDEX transfer_reversals_transfer ON transfer_reversals (transfer_id) WHERE transfer_id IS NOT NULL;
CREATE INDEX payouts_account ON payouts (connect_account_id, id);
CREATE INDEX disputes_payment ON disputes (payment_id, id);
CREATE INDEX disputes_account ON disputes (stripe_account, id) WHERE stripe_account <> '';
CREATE INDEX disputes_changed ON disputes (updated_at);
CREATE INDEX disputes_due ON disputes (evidence_due_by) WHERE status IN ('NEEDS_RESPONSE', 'WARNING_NEEDS_RESPONSE');
CREATE INDEX evidence_files_dispute ON evidence_files (dispute_id, id);
CREATE INDEX fraud_warnings_payment ON fraud_warnings (payment_id, id);
CREATE INDEX balance_transactions_created ON balance_transactions (stripe_account, stripe_created_at, id);
CREATE INDEX balance_transactions_available ON balance_transactions (stripe_account, available_on);
CREATE INDEX balance_transactions_source ON balance_transactions (source_id) WHERE source_id IS NOT NULL;
CREATE INDEX balance_transactions_payment ON balance_transactions (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX balance_transactions_payout ON balance_transactions (payout_id) WHERE payout_id IS NOT NULL;
CREATE UNIQUE INDEX balance_transactions_settle_once ON balance_transactions (settles_id, stripe_account)
    WHERE settles_id IS NOT NULL;
CREATE UNIQUE INDEX balance_transactions_settle_fees_once ON balance_transactions (fee_settles_id, stripe_account)
    WHERE fee_settles_id IS NOT NULL;
CREATE INDEX balance_transactions_waiting ON balance_transactions (stripe_account, stripe_created_at, id)
    WHERE settles_id IS NULL AND (amount_minor <> 0 OR fee_minor <> 0);
CREATE INDEX balance_transactions_nobodys ON balance_transactions (stripe_created_at, id) WHERE settles_id = posting_id;
CREATE INDEX balance_watermarks_due ON balance_watermarks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ledger_transactions_object ON ledger_transactions (stripe_object_id) WHERE stripe_object_id IS NOT NULL;
CREATE INDEX ledger_transactions_occurred ON ledger_transactions (occurred_at, id);
CREATE UNIQUE INDEX ledger_rollups_one ON ledger_rollups ((true));
CREATE UNIQUE INDEX reconciliation_runs_one_at_a_time ON reconciliation_runs ((true)) WHERE finished_at IS NULL;
CREATE INDEX drifts_run ON drifts (run_id, id);
CREATE INDEX activity_cancellation_items_listed ON activity_cancellation_items (cancellation_id, id);
CREATE INDEX activity_cancellation_items_due ON activity_cancellation_items (cancellation_id, id) WHERE outcome = 'PENDING';
CREATE INDEX activity_cancellation_items_unpaid ON activity_cancellation_items (cancellation_id, id)
    WHERE outcome IN ('FAILED', 'NOTHING_TO_REFUND');
CREATE INDEX activity_cancellation_items_failed ON activity_cancellation_items (updated_at) WHERE outcome = 'FAILED';
CREATE INDEX refunds_given_up ON refunds (updated_at) WHERE status IN ('FAILED', 'CANCELED');
CREATE INDEX activity_cancellations_running ON activity_cancellations (id) WHERE status = 'RUNNING';
"""


# What Stripe credited for each movement is in its own books, which are mirrored whole, and again from their beginning.
SETTLEMENTS = """
DROP TRIGGER ledger_settlements_append_only ON ledger_settlements;
ALTER TABLE ledger_settlements DROP CONSTRAINT ledger_settlements_are_known_once;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0008_hosts_money")]

    operations = [
        *(RunSQL(sql) for sql in (DEFAULTS, COLUMNS, CHECKS, INDEXES, SETTLEMENTS)), DeleteModel("LedgerSettlement"),
    ]  # fmt: skip
