"""The order in which webhook events are claimed: those that nobody has tried yet, then by when they are due."""

from tortoise import migrations
from tortoise.migrations.operations import RunSQL

FORWARD = """
DROP INDEX webhook_events_due;
CREATE INDEX webhook_events_due ON webhook_events (next_attempt_at NULLS FIRST, id) WHERE status = 'RECEIVED';
"""

BACKWARD = """
DROP INDEX webhook_events_due;
CREATE INDEX webhook_events_due ON webhook_events (next_attempt_at) WHERE status = 'RECEIVED';
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0002_invariants")]

    operations = [RunSQL(FORWARD, reverse_sql=BACKWARD)]
