"""What the database itself refuses: checks, append-only tables, postings that do not sum to zero; and its indexes.

Written as SQL: Tortoise drops a CheckConstraint of a table's first migration without a word.
"""

from tortoise import migrations
from tortoise.migrations.operations import RunSQL

DEFAULTS = """
DO $$
DECLARE col record;
BEGIN
    FOR col IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND column_name IN ('created_at', 'updated_at')
          AND table_name <> 'tortoise_migrations'
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT now()', col.table_name, col.column_name);
    END LOOP;
END $$;
ALTER TABLE activities ALTER seats_taken SET DEFAULT 0;
ALTER TABLE payments ALTER version SET DEFAULT 1, ALTER position SET DEFAULT 0, ALTER captured_minor SET DEFAULT 0,
    ALTER refunded_minor SET DEFAULT 0, ALTER refund_pending_minor SET DEFAULT 0, ALTER fee_refunded_minor SET DEFAULT 0;
ALTER TABLE payment_allocations ALTER transferred_minor SET DEFAULT 0, ALTER reversed_minor SET DEFAULT 0,
    ALTER owed_minor SET DEFAULT 0;
ALTER TABLE operations ALTER attempts SET DEFAULT 0, ALTER status SET DEFAULT 'RUNNING';
ALTER TABLE operation_steps ALTER status SET DEFAULT 'PLANNED', ALTER attempt SET DEFAULT 1;
ALTER TABLE webhook_events ALTER status SET DEFAULT 'RECEIVED', ALTER attempts SET DEFAULT 0;
"""

CHECKS = """
ALTER TABLE activities
    ADD CONSTRAINT activities_price_is_positive CHECK (price_minor > 0),
    ADD CONSTRAINT activities_capacity_is_positive CHECK (capacity > 0),
    ADD CONSTRAINT activities_are_never_oversold CHECK (seats_taken >= 0 AND seats_taken <= coalesce(capacity, seats_taken));
ALTER TABLE rsvps
    ADD CONSTRAINT rsvps_quantity_is_positive CHECK (quantity > 0),
    ADD CONSTRAINT rsvps_status_is_known CHECK (status IN ('HELD', 'CONFIRMED', 'CANCELED', 'EXPIRED'));
ALTER TABLE payments
    ADD CONSTRAINT payments_amount_is_positive CHECK (amount_minor > 0),
    ADD CONSTRAINT payments_capture_is_within_amount CHECK (captured_minor BETWEEN 0 AND amount_minor),
    ADD CONSTRAINT payments_refunds_are_within_capture CHECK (
        refunded_minor >= 0 AND refund_pending_minor >= 0 AND refunded_minor + refund_pending_minor <= captured_minor),
    ADD CONSTRAINT payments_parts_add_up CHECK (
        platform_fee_minor >= 0 AND host_amount_minor >= 0 AND platform_fee_minor + host_amount_minor
        = CASE WHEN captured_minor > 0 THEN captured_minor ELSE amount_minor END),
    ADD CONSTRAINT payments_fee_refund_is_within_fee CHECK (fee_refunded_minor BETWEEN 0 AND platform_fee_minor),
    ADD CONSTRAINT payments_status_is_known CHECK (status IN ('PENDING', 'REQUIRES_ACTION', 'PROCESSING', 'AUTHORIZED',
        'SUCCEEDED', 'FAILED', 'CANCELED', 'PARTIALLY_REFUNDED', 'REFUNDED')),
    ADD CONSTRAINT payments_captured_is_in_the_status CHECK (
        (captured_minor > 0) = (status IN ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED'))),
    ADD CONSTRAINT payments_charge_model_is_known CHECK (charge_model IN ('DESTINATION', 'SEPARATE', 'DIRECT'));
ALTER TABLE payment_allocations
    ADD CONSTRAINT payment_allocations_amounts_are_in_order CHECK (
        amount_minor >= 0 AND owed_minor >= 0 AND reversed_minor BETWEEN 0 AND transferred_minor
        AND transferred_minor <= amount_minor);
ALTER TABLE refunds
    ADD CONSTRAINT refunds_amount_is_positive CHECK (amount_minor > 0),
    ADD CONSTRAINT refunds_parts_add_up CHECK (fee_minor >= 0 AND host_minor >= 0 AND fee_minor + host_minor = amount_minor),
    ADD CONSTRAINT refunds_status_is_known CHECK (
        status IN ('PENDING', 'REQUIRES_ACTION', 'SUCCEEDED', 'FAILED', 'CANCELED'));
ALTER TABLE operations
    ADD CONSTRAINT operations_are_known_by_caller_and_key UNIQUE (caller, idempotency_key),
    ADD CONSTRAINT operations_status_is_known CHECK (status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'PARKED')),
    ADD CONSTRAINT operations_end_with_their_time CHECK ((finished_at IS NOT NULL) = (status IN ('SUCCEEDED', 'FAILED')));
ALTER TABLE operation_steps
    ADD CONSTRAINT operation_steps_status_is_known CHECK (status IN ('PLANNED', 'DONE', 'REFUSED')),
    ADD CONSTRAINT operation_steps_end_with_their_time CHECK ((answered_at IS NULL) = (status = 'PLANNED'));
ALTER TABLE ledger_accounts
    ADD CONSTRAINT ledger_accounts_are_one_per_owner UNIQUE NULLS NOT DISTINCT (owner_id, kind, currency);
ALTER TABLE ledger_transactions
    ADD CONSTRAINT ledger_transactions_are_posted_once UNIQUE (reference, occurred_at);
ALTER TABLE ledger_postings
    ADD CONSTRAINT ledger_postings_move_something CHECK (amount_minor <> 0);
ALTER TABLE ledger_settlements
    ADD CONSTRAINT ledger_settlements_are_known_once UNIQUE (transaction_id, balance_transaction_id);
ALTER TABLE events
    ADD CONSTRAINT events_are_one_per_version UNIQUE (subject_id, version),
    ADD CONSTRAINT events_position_is_not_below_its_transaction CHECK (position >= xid);
ALTER TABLE webhook_events
    DROP CONSTRAINT webhook_events_pkey,
    ADD PRIMARY KEY (id, stripe_created_at),
    ADD CONSTRAINT webhook_events_are_stored_once UNIQUE (stripe_event_id, account, stripe_created_at),
    ADD CONSTRAINT webhook_events_status_is_known CHECK (status IN ('RECEIVED', 'PROCESSED', 'FAILED', 'IGNORED'));
"""

INDEXES = """
CREATE INDEX activities_host ON activities (host_id, id);
CREATE INDEX rsvps_activity ON rsvps (activity_id, id);
CREATE INDEX rsvps_user ON rsvps (user_id, id);
CREATE INDEX rsvps_due ON rsvps (hold_expires_at) WHERE status = 'HELD' AND hold_expires_at IS NOT NULL;
CREATE UNIQUE INDEX connect_accounts_one_live_per_user ON connect_accounts (user_id) WHERE deauthorized_at IS NULL;
CREATE INDEX connect_accounts_user ON connect_accounts (user_id);
CREATE INDEX payments_payer ON payments (payer_id, id);
CREATE INDEX payments_host ON payments (host_id, id);
CREATE INDEX payments_activity ON payments (activity_id, id);
CREATE INDEX payments_created ON payments (created_at);
CREATE INDEX payment_allocations_payment ON payment_allocations (payment_id);
CREATE INDEX payment_allocations_host ON payment_allocations (host_id, id);
CREATE INDEX payment_attempts_payment ON payment_attempts (payment_id, id);
CREATE INDEX refunds_payment ON refunds (payment_id, id);
CREATE INDEX operations_unfinished ON operations (leased_until) WHERE status = 'RUNNING';
CREATE INDEX operations_subject ON operations (subject_id, id);
CREATE INDEX events_stream ON events (position, version, subject_id);
CREATE INDEX events_payer ON events (payer_id, position, version, subject_id) WHERE payer_id IS NOT NULL;
CREATE INDEX events_host ON events (host_id, position, version, subject_id) WHERE host_id IS NOT NULL;
CREATE INDEX events_activity ON events (activity_id, position, version, subject_id) WHERE activity_id IS NOT NULL;
CREATE INDEX ledger_transactions_payment ON ledger_transactions (payment_id, id) WHERE payment_id IS NOT NULL;
CREATE INDEX ledger_postings_transaction ON ledger_postings (transaction_id);
CREATE INDEX ledger_postings_account ON ledger_postings (account_id, id);
CREATE INDEX audit_entries_subject ON audit_entries (subject_id, id);
CREATE INDEX webhook_events_due ON webhook_events (next_attempt_at) WHERE status = 'RECEIVED';
CREATE INDEX webhook_events_status ON webhook_events (status, id);
"""

LEDGER_BALANCES = """
CREATE FUNCTION ledger_postings_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM new_postings GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0) THEN
        RAISE EXCEPTION 'the postings of a ledger transaction do not sum to zero'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_postings_sum_to_zero';
    END IF;
    IF EXISTS (SELECT FROM new_postings p LEFT JOIN ledger_accounts a ON a.id = p.account_id
               WHERE a.currency IS DISTINCT FROM p.currency) THEN
        RAISE EXCEPTION 'a ledger posting is not in the currency of its account'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_postings_are_in_the_account_s_currency';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_postings_balance AFTER INSERT ON ledger_postings
    REFERENCING NEW TABLE AS new_postings FOR EACH STATEMENT EXECUTE FUNCTION ledger_postings_must_balance();
"""

APPEND_ONLY_TABLES = ("ledger_transactions", "ledger_postings", "ledger_settlements", "audit_entries", "events")

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
""" + "\n".join(
    f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();"
    for table in APPEND_ONLY_TABLES
)

EPOCH = "INSERT INTO stream_epochs (id, epoch) VALUES (gen_random_uuid(), 1);"


class Migration(migrations.Migration):
    dependencies = [("models", "0001_initial")]

    operations = [RunSQL(sql) for sql in (DEFAULTS, CHECKS, INDEXES, LEDGER_BALANCES, APPEND_ONLY, EPOCH)]
