"""What Stripe took back of host and fee for a refund, which one made in its dashboard decides for itself."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.operations import RunSQL

COLUMNS = ("platform_minor", "transfer_reversed_minor", "application_fee_refunded_minor")

FORWARD = """
ALTER TABLE refunds
    ALTER platform_minor SET DEFAULT 0, ALTER transfer_reversed_minor SET DEFAULT 0,
    ALTER application_fee_refunded_minor SET DEFAULT 0;
UPDATE refunds SET transfer_reversed_minor = amount_minor, application_fee_refunded_minor = fee_minor
WHERE stripe_refund_id IS NOT NULL;
ALTER TABLE refunds
    DROP CONSTRAINT refunds_parts_add_up,
    ADD CONSTRAINT refunds_bearers_add_up CHECK (
        fee_minor >= 0 AND fee_minor + host_minor + platform_minor = amount_minor),
    ADD CONSTRAINT refunds_take_no_less_than_nothing CHECK (
        transfer_reversed_minor >= 0 AND application_fee_refunded_minor >= 0);
ALTER TABLE payment_allocations
    DROP CONSTRAINT payment_allocations_amounts_are_in_order,
    ADD CONSTRAINT payment_allocations_transfer_is_within_amount CHECK (
        amount_minor >= 0 AND transferred_minor BETWEEN 0 AND amount_minor);
"""

BACKWARD = """
ALTER TABLE refunds DROP CONSTRAINT refunds_bearers_add_up, DROP CONSTRAINT refunds_take_no_less_than_nothing;
ALTER TABLE refunds
    ADD CONSTRAINT refunds_parts_add_up CHECK (
        fee_minor >= 0 AND host_minor >= 0 AND fee_minor + host_minor = amount_minor);
ALTER TABLE payment_allocations DROP CONSTRAINT payment_allocations_transfer_is_within_amount;
ALTER TABLE payment_allocations
    ADD CONSTRAINT payment_allocations_amounts_are_in_order CHECK (
        amount_minor >= 0 AND owed_minor >= 0 AND reversed_minor BETWEEN 0 AND transferred_minor
        AND transferred_minor <= amount_minor);
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0003_webhook_claims")]

    operations = [
        # Rows that are there already get a value from the database alone; the models know no such default.
        *(
            ops.AddField(model_name="Refund", name=name, field=fields.BigIntField(default=0, db_default=0))
            for name in COLUMNS
        ),
        *(ops.AlterField(model_name="Refund", name=name, field=fields.BigIntField(default=0)) for name in COLUMNS),
        RunSQL(FORWARD, reverse_sql=BACKWARD),
    ]
