"""What the database itself refuses of subscriptions, invoices and saved methods; and their indexes."""

from tortoise import migrations
from tortoise.migrations.operations import RunSQL

TABLES = (
    "payment_methods", "plans", "plan_prices", "subscriptions", "invoices", "invoice_lines", "credit_notes", "dunnings",
    "billing_reviews",
)  # fmt: skip

DEFAULTS = "".join(
    f"ALTER TABLE {table} ALTER created_at SET DEFAULT now();"
    + ("" if table == "invoice_lines" else f"ALTER TABLE {table} ALTER updated_at SET DEFAULT now();")
    for table in TABLES
) + "ALTER TABLE users ALTER methods_asked SET DEFAULT 0, ALTER methods_settled SET DEFAULT 0;"

CHECKS = """
ALTER TABLE users ADD CONSTRAINT users_methods_are_asked_for_first CHECK (methods_settled <= methods_asked);
ALTER TABLE payment_methods
    ADD CONSTRAINT payment_methods_default_is_attached CHECK (NOT (is_default AND detached_at IS NOT NULL)),
    ADD CONSTRAINT payment_methods_keep_no_number CHECK (last4 ~ '^[0-9A-Za-z]{1,4}$');
ALTER TABLE plans
    ADD CONSTRAINT plans_trial_is_not_negative CHECK (trial_days >= 0),
    ADD CONSTRAINT plans_revision_is_positive CHECK (revision > 0);
ALTER TABLE plan_prices
    ADD CONSTRAINT plan_prices_amount_is_not_negative CHECK (amount_minor >= 0),
    ADD CONSTRAINT plan_prices_interval_is_known CHECK (interval IN ('DAY', 'WEEK', 'MONTH', 'YEAR')),
    ADD CONSTRAINT plan_prices_interval_count_is_positive CHECK (interval_count > 0);
ALTER TABLE subscriptions
    ADD CONSTRAINT subscriptions_status_is_known CHECK (status IN ('INCOMPLETE', 'INCOMPLETE_EXPIRED', 'TRIALING',
        'ACTIVE', 'PAST_DUE', 'UNPAID', 'PAUSED', 'CANCELED')),
    ADD CONSTRAINT subscriptions_are_at_stripe_before_they_begin CHECK (
        status IN ('INCOMPLETE', 'CANCELED') OR stripe_subscription_id IS NOT NULL),
    ADD CONSTRAINT subscriptions_period_is_in_order CHECK (current_period_end >= current_period_start);
ALTER TABLE invoices
    ADD CONSTRAINT invoices_status_is_known CHECK (status IN ('DRAFT', 'OPEN', 'PAID', 'UNCOLLECTIBLE', 'VOID')),
    ADD CONSTRAINT invoices_amounts_are_not_negative CHECK (
        amount_due_minor >= 0 AND amount_paid_minor >= 0 AND amount_remaining_minor >= 0 AND attempt_count >= 0),
    ADD CONSTRAINT invoices_owe_no_less_than_nothing CHECK (receivable_minor >= 0 AND written_off_minor >= 0);
ALTER TABLE invoice_lines
    ADD CONSTRAINT invoice_lines_are_known_once UNIQUE (invoice_id, stripe_line_id);
ALTER TABLE credit_notes
    ADD CONSTRAINT credit_notes_amounts_are_not_negative CHECK (
        total_minor >= 0 AND refunded_minor >= 0 AND credited_minor >= 0),
    ADD CONSTRAINT credit_notes_status_is_known CHECK (status IN ('ISSUED', 'VOID'));
ALTER TABLE dunnings
    ADD CONSTRAINT dunnings_status_is_known CHECK (status IN ('TRYING', 'RECOVERED', 'EXHAUSTED', 'CLOSED')),
    ADD CONSTRAINT dunnings_retries_are_not_negative CHECK (retries >= 0),
    ADD CONSTRAINT dunnings_that_ended_try_no_more CHECK (status = 'TRYING' OR next_attempt_at IS NULL),
    ADD CONSTRAINT dunnings_of_ours_end CHECK (by_stripe = (ends_at IS NULL)),
    ADD CONSTRAINT dunnings_end_in_a_known_way CHECK (
        ended_as IN ('cancel', 'unpaid', 'pause') AND (ended_as IS NULL OR status IN ('EXHAUSTED', 'RECOVERED')));
ALTER TABLE payments
    DROP CONSTRAINT payments_charge_model_is_known,
    ADD CONSTRAINT payments_charge_model_is_known CHECK (
        charge_model IN ('DESTINATION', 'SEPARATE', 'DIRECT', 'PLATFORM')),
    ADD CONSTRAINT payments_are_for_one_thing CHECK (num_nonnulls(activity_id, invoice_id) <= 1),
    ADD CONSTRAINT payments_of_invoices_are_the_platform_s CHECK (
        (invoice_id IS NOT NULL) = (charge_model = 'PLATFORM')
        AND (charge_model <> 'PLATFORM' OR (host_amount_minor = 0 AND host_id IS NULL)));
"""

INDEXES = """
CREATE INDEX payment_methods_user ON payment_methods (user_id, id);
CREATE UNIQUE INDEX payment_methods_one_default_per_user ON payment_methods (user_id) WHERE is_default;
CREATE INDEX payment_methods_expiry ON payment_methods (exp_year, exp_month)
    WHERE detached_at IS NULL AND expiry_noticed_at IS NULL AND exp_year IS NOT NULL;
CREATE INDEX plan_prices_plan ON plan_prices (plan_id, id);
CREATE UNIQUE INDEX plan_prices_one_current_per_plan ON plan_prices (plan_id) WHERE current;
CREATE INDEX subscriptions_user ON subscriptions (user_id, id);
CREATE INDEX subscriptions_plan ON subscriptions (plan_id, id);
CREATE INDEX subscriptions_price ON subscriptions (price_id);
CREATE INDEX subscriptions_next_price ON subscriptions (next_price_id) WHERE next_price_id IS NOT NULL;
CREATE INDEX subscriptions_trial_plan ON subscriptions (trial_plan_id, user_id) WHERE trial_plan_id IS NOT NULL;
CREATE UNIQUE INDEX subscriptions_one_live_per_plan ON subscriptions (user_id, plan_id)
    WHERE status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED');
CREATE INDEX subscriptions_entitling ON subscriptions (user_id, entitled_until)
    WHERE status IN ('TRIALING', 'ACTIVE', 'PAST_DUE', 'PAUSED');
CREATE INDEX subscriptions_live ON subscriptions (id)
    WHERE status NOT IN ('CANCELED', 'INCOMPLETE_EXPIRED') AND stripe_subscription_id IS NOT NULL;
CREATE INDEX invoices_user ON invoices (user_id, id);
CREATE INDEX invoices_subscription ON invoices (subscription_id, id);
CREATE INDEX credit_notes_invoice ON credit_notes (invoice_id, id);
CREATE INDEX dunnings_due ON dunnings (next_attempt_at) WHERE status = 'TRYING' AND next_attempt_at IS NOT NULL;
CREATE INDEX dunnings_end ON dunnings (ends_at) WHERE status = 'TRYING';
CREATE INDEX dunnings_left_unpaid ON dunnings (id) WHERE status = 'EXHAUSTED' AND ended_as = 'unpaid';
CREATE INDEX dunnings_subscription ON dunnings (subscription_id, id);
CREATE INDEX payments_invoice ON payments (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX payments_subscription ON payments (subscription_id, id) WHERE subscription_id IS NOT NULL;
CREATE UNIQUE INDEX billing_reviews_one_at_a_time ON billing_reviews ((true)) WHERE finished_at IS NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0005_subscriptions")]

    operations = [RunSQL(sql) for sql in (DEFAULTS, CHECKS, INDEXES)]
