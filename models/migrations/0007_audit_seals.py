"""Seals of the audit trail, and the order of its entries: the id of the transaction that wrote each."""

from models.base import new_id
from tortoise import fields, migrations
from tortoise.migrations import operations as ops
from tortoise.migrations.operations import RunSQL

# Entries that are there already were all committed before this runs, which waits for their writers: they come first,
# in the order of their ids. A restore into another cluster sets a new distance: see `begin_epoch`.
ORDER = """
ALTER TABLE audit_entries ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
CREATE FUNCTION audit_position(xid xid8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT xid::text::bigint + 0 $$;
ALTER TABLE audit_entries ALTER position SET DEFAULT audit_position(pg_current_xact_id());
CREATE INDEX audit_entries_order ON audit_entries (position, id);
"""

ORDER_BACKWARD = """
DROP INDEX audit_entries_order;
ALTER TABLE audit_entries DROP COLUMN position;
DROP FUNCTION audit_position(xid8);
"""

SEALS = """
ALTER TABLE audit_seals
    ALTER created_at SET DEFAULT now(),
    ALTER leaves SET STORAGE EXTERNAL,
    ADD CONSTRAINT audit_seals_are_numbered UNIQUE (number),
    ADD CONSTRAINT audit_seals_have_one_successor UNIQUE (previous_hash),
    ADD CONSTRAINT audit_seals_end_apart UNIQUE (last_position, last_id),
    ADD CONSTRAINT audit_seals_begin_before_they_end CHECK ((first_position, first_id) <= (last_position, last_id)),
    ADD CONSTRAINT audit_seals_keep_what_they_count CHECK (count > 0 AND octet_length(leaves) = 48 * count),
    ADD CONSTRAINT audit_seals_hashes_are_whole CHECK (
        octet_length(root) = 32 AND octet_length(previous_hash) = 32 AND octet_length(hash) = 32);
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0006_subscription_invariants")]

    operations = [
        ops.CreateModel(
            name='AuditSeal',
            fields=[
                ('id', fields.UUIDField(primary_key=True, default=new_id, unique=True, db_index=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ('number', fields.BigIntField()),
                ('first_position', fields.BigIntField()),
                ('first_id', fields.UUIDField()),
                ('last_position', fields.BigIntField()),
                ('last_id', fields.UUIDField()),
                ('count', fields.IntField()),
                ('root', fields.BinaryField()),
                ('previous_hash', fields.BinaryField()),
                ('hash', fields.BinaryField()),
                ('leaves', fields.BinaryField()),
            ],
            options={'table': 'audit_seals', 'app': 'models', 'pk_attr': 'id', 'table_description': 'A run of audit entries that can no longer change unseen, nor lose one, nor gain one; `created_at` is when.'},
            bases=['Identified'],
        ),
        RunSQL(ORDER, reverse_sql=ORDER_BACKWARD),
        RunSQL(SEALS, reverse_sql="DROP TRIGGER audit_seals_append_only ON audit_seals"),
    ]
