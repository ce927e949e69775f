"""What the database itself refuses, each invariant by its name; a refused statement leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from models.ledger import LedgerAccountKind
from services.ledger import Pot
from tests.support.postgres import create_database, drop_database
from tests.support.rows import (
    add_account,
    add_activity,
    add_allocation,
    add_dispute,
    add_dunning,
    add_invoice,
    add_method,
    add_operation,
    add_payment,
    add_plan,
    add_refund,
    add_rsvp,
    add_subscription,
    add_user,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer


def two_seals(**changed: str) -> str:
    """The statement that seals twice, with another value in some of the columns."""
    columns = {
        "id": "gen_random_uuid()", "number": "n", "first_position": "n", "last_position": "n", "count": "1",
        "first_id": "md5('')::uuid", "last_id": "md5('')::uuid", "root": "sha256('')", "hash": "sha256('')",
        "previous_hash": "sha256(n::text::bytea)", "leaves": "decode(repeat('00', 48), 'hex')", **changed,
    }  # fmt: skip
    return (
        f"INSERT INTO audit_seals ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
        " FROM generate_series(1, 2) n"
    )


def payout(stripe_id: str | None, status: str, *, account: str = "") -> str:
    """The statement that writes a payout of the platform."""
    return (
        "INSERT INTO payouts (id, stripe_account, stripe_payout_id, amount_minor, currency, status, instant, automatic,"
        " fee_minor, contents_known, requested_by, version, position) VALUES (gen_random_uuid(),"
        f" '{account}', nullif('{stripe_id or ''}', ''), 1, 'USD', '{status}', false, false, 0, false, 'stripe', 1, 0)"
    )


def reconciled(drifts: int = 0, **changed: str) -> str:
    """The statement that writes a run of the reconciliation with so many drifts of one object."""
    columns = {
        "from_at": "now() - interval '1 day'", "to_at": "now()", "checked": "1", "matched": "1",
        "kind": "'MISSING_HERE'", "repair": "NULL", **changed,
    }  # fmt: skip
    return (
        "WITH r AS (INSERT INTO reconciliation_runs (id, from_at, to_at, requested_by, checked, matched, progress)"
        f" VALUES (gen_random_uuid(), {columns['from_at']}, {columns['to_at']}, 'admin:anna', {columns['checked']},"
        f" {columns['matched']}, '{{{{}}}}') RETURNING id) INSERT INTO drifts (id, run_id, kind, object_type,"
        f" stripe_id, stripe_account, detail, repair) SELECT gen_random_uuid(), r.id, {columns['kind']}, 'charge',"
        f" 'ch_1', '', '', {columns['repair']} FROM r, generate_series(1, {drifts})"
    )


def cancellation(outcome: str = "PENDING", items: int = 1, **changed: str) -> str:
    """The statement that cancels the activity, with so many items of one payment."""
    columns = {"status": "'RUNNING'", "total": "2", "done": "1", "failed": "0", "finished_at": "NULL", **changed}
    return (
        "WITH c AS (INSERT INTO activity_cancellations (id, activity_id, requested_by, version, position,"
        f" {', '.join(columns)}) VALUES (gen_random_uuid(), '{{activity}}', 'service:platform', 1, 0,"
        f" {', '.join(columns.values())}) RETURNING id)"
        " INSERT INTO activity_cancellation_items (id, cancellation_id, payment_id, outcome, attempts)"
        f" SELECT gen_random_uuid(), c.id, p.id, '{outcome}', 0 FROM c, payments p, generate_series(1, {items})"
    )


def transfers(**changed: str) -> str:
    """The statement that makes a transfer of an allocation."""
    columns = {"amount_minor": "1", "covers_minor": "1", "status": "'PLANNED'", **changed}
    return (
        "INSERT INTO transfers (id, payment_id, allocation_id, operation_id, stripe_account_id, currency,"
        f" {', '.join(columns)}) SELECT gen_random_uuid(), payment_id, id, gen_random_uuid(), 'acct_1', 'USD',"
        f" {', '.join(columns.values())} FROM payment_allocations"
    )


def reversal(**changed: str) -> str:
    """The statement that takes something of a transfer back."""
    columns = {"amount_minor": "1", "covers_minor": "1", "status": "'PLANNED'", "refund_id": "NULL",
               "dispute_id": "NULL", **changed}  # fmt: skip
    return (
        "INSERT INTO transfer_reversals (id, payment_id, allocation_id, operation_id, stripe_transfer_id, currency,"
        f" {', '.join(columns)}) SELECT gen_random_uuid(), payment_id, id, gen_random_uuid(), 'tr_1', 'USD',"
        f" {', '.join(columns.values())} FROM payment_allocations"
    )


def balance_transactions(**columns: str) -> str:
    """Two rows that have these in common, and are alike but for their ids."""
    id_ = "'txn_1'" if "stripe_account" in columns else "'txn_' || n"
    return (
        "INSERT INTO balance_transactions (id, stripe_balance_transaction_id, stripe_account, type, reporting_category,"
        " amount_minor, fee_minor, currency, stripe_created_at, available_on"
        f"{''.join(f', {name}' for name in columns if name != 'stripe_account')})"
        f" SELECT gen_random_uuid(), {id_}, '', 'charge', 'charge', 1, 0, 'USD', now(), now()"
        f"{''.join(f', {value}' for name, value in columns.items() if name != 'stripe_account')}"
        " FROM generate_series(1, 2) AS n"
    )


# The statement that breaks each CHECK and UNIQUE; in braces the ids of rows that are there.
REFUSED = {
    "activities_price_is_positive": "UPDATE activities SET price_minor = 0",
    "activities_capacity_is_positive": "UPDATE activities SET capacity = 0, seats_taken = 0",
    "activities_are_never_oversold": "UPDATE activities SET capacity = 2, seats_taken = 3",
    "rsvps_quantity_is_positive": "UPDATE rsvps SET quantity = 0",
    "rsvps_status_is_known": "UPDATE rsvps SET status = 'MAYBE'",
    "payments_amount_is_positive":
        "UPDATE payments SET amount_minor = 0, platform_fee_minor = 0, host_amount_minor = 0 WHERE status = 'PENDING'",
    "payments_capture_is_within_amount":
        "UPDATE payments SET captured_minor = 2001, host_amount_minor = 1801 WHERE status = 'SUCCEEDED'",
    "payments_refunds_are_within_capture":
        "UPDATE payments SET refunded_minor = 1500, refund_pending_minor = 501 WHERE status = 'SUCCEEDED'",
    "payments_parts_add_up": "UPDATE payments SET host_amount_minor = 1799",
    "payments_fee_refund_is_within_fee": "UPDATE payments SET fee_refunded_minor = 201",
    "payments_status_is_known": "UPDATE payments SET status = 'LOST' WHERE status = 'PENDING'",
    "payments_captured_is_in_the_status": "UPDATE payments SET status = 'SUCCEEDED' WHERE captured_minor = 0",
    "payments_charge_model_is_known": "UPDATE payments SET charge_model = 'BARTER'",
    "payment_allocations_sent_is_within_amount":
        "UPDATE payment_allocations SET transferred_minor = amount_minor + 1",
    "payment_allocations_share_is_a_share": "UPDATE payment_allocations SET share = 0",
    "activities_end_after_they_start": "UPDATE activities SET ends_at = starts_at - interval '1 second'",
    "payments_payout_timing_is_known": "UPDATE payments SET payout_timing = 'NEVER'",
    "payments_of_hosts_accounts_are_direct": "UPDATE payments SET stripe_account = 'acct_1'",
    "payments_retries_are_not_negative": "UPDATE payments SET retries = -1",
    "payments_that_are_released_later_are_separate": "UPDATE payments SET payout_timing = 'AFTER_ACTIVITY'",
    "transfers_amounts_are_positive": transfers(amount_minor="0"),
    "transfers_status_is_known": transfers(status="'LOST'"),
    "transfers_that_are_paid_are_at_stripe": transfers(status="'PAID'"),
    "transfer_reversals_take_something": reversal(amount_minor="0", covers_minor="0"),
    "transfer_reversals_status_is_known": reversal(status="'LOST'"),
    "transfer_reversals_have_one_cause": reversal(
        refund_id="(SELECT id FROM refunds)", dispute_id="(SELECT id FROM disputes)"),
    "refunds_amount_is_positive": "UPDATE refunds SET amount_minor = 0, fee_minor = 0, host_minor = 0",
    "refunds_bearers_add_up": "UPDATE refunds SET fee_minor = 99",
    "refunds_take_no_less_than_nothing": "UPDATE refunds SET transfer_reversed_minor = -1",
    "refunds_status_is_known": "UPDATE refunds SET status = 'LOST'",
    "operations_are_known_by_caller_and_key":
        "INSERT INTO operations"
        " (id, caller, idempotency_key, kind, arguments_hash, arguments, subject_id, leased_until)"
        " SELECT gen_random_uuid(), caller, idempotency_key, 'other', arguments_hash, '{{}}', subject_id, now()"
        " FROM operations",
    "operations_status_is_known": "UPDATE operations SET status = 'LOST'",
    "operations_end_with_their_time": "UPDATE operations SET status = 'SUCCEEDED'",
    "operation_steps_status_is_known": "UPDATE operation_steps SET status = 'LOST', answered_at = now()",
    "operation_steps_end_with_their_time": "UPDATE operation_steps SET status = 'DONE'",
    "ledger_accounts_are_one_per_owner":
        "INSERT INTO ledger_accounts (id, kind, currency) VALUES (gen_random_uuid(), 'PLATFORM_BALANCE', 'USD')",
    "ledger_transactions_are_posted_once":
        "INSERT INTO ledger_transactions (id, kind, reference, occurred_at, stripe_account)"
        " SELECT gen_random_uuid(), kind, reference, occurred_at, '' FROM ledger_transactions",
    "ledger_postings_move_something":
        "INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)"
        " SELECT gen_random_uuid(), '{transaction}', id, 0, currency FROM ledger_accounts",
    "ledger_postings_sum_to_zero":
        "INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)"
        " SELECT gen_random_uuid(), '{transaction}', id, 5, currency FROM ledger_accounts",
    "ledger_postings_are_in_the_account_s_currency":
        "INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)"
        " SELECT gen_random_uuid(), '{transaction}', a.id, v.amount, 'EUR'"
        " FROM ledger_accounts a, (VALUES (5), (-5)) AS v(amount)",
    "balance_transactions_are_known_once": balance_transactions(stripe_account="''"),
    "balance_transactions_settle_once": balance_transactions(settles_id="'{transaction}'"),
    "balance_transactions_settle_fees_once": balance_transactions(fee_settles_id="'{transaction}'"),
    "ledger_days_are_added_up_once":
        "INSERT INTO ledger_days (id, day, kind, currency, amount_minor)"
        " SELECT gen_random_uuid(), '2026-01-01', 'BANK', 'USD', 1 FROM generate_series(1, 2)",
    "events_are_one_per_version":
        "INSERT INTO events (id, subject_type, subject_id, version, position, xid, status, detail)"
        " SELECT gen_random_uuid(), 'PAYMENT', '{transaction}', 1, 9, 9, 'PENDING', '{{}}' FROM generate_series(1, 2)",
    "events_position_is_not_below_its_transaction":
        "INSERT INTO events (id, subject_type, subject_id, version, position, xid, status, detail)"
        " VALUES (gen_random_uuid(), 'PAYMENT', '{transaction}', 1, 8, 9, 'PENDING', '{{}}')",
    "webhook_events_are_stored_once":
        "INSERT INTO webhook_events (id, stripe_event_id, account, stripe_created_at, type, payload)"
        " SELECT gen_random_uuid(), 'evt_1', '', '2026-01-01Z', 'ping', '{{}}' FROM generate_series(1, 2)",
    "webhook_events_status_is_known":
        "INSERT INTO webhook_events (id, stripe_event_id, account, stripe_created_at, type, payload, status)"
        " VALUES (gen_random_uuid(), 'evt_1', '', '2026-01-01Z', 'ping', '{{}}', 'LOST')",
    "connect_accounts_one_live_per_user":
        "INSERT INTO connect_accounts (id, user_id, type, country, default_currency, details_submitted,"
        " stripe_charges_enabled, payouts_enabled, capabilities, requirements, version, position)"
        " SELECT gen_random_uuid(), user_id, type, country, default_currency, false, false, false, '{{}}', '[]', 1, 0"
        " FROM connect_accounts",
    "payments_are_for_one_thing":
        "UPDATE payments SET invoice_id = '{invoice}', charge_model = 'PLATFORM', host_amount_minor = 0,"
        " platform_fee_minor = amount_minor WHERE activity_id IS NOT NULL",
    "payments_of_invoices_are_the_platform_s":
        "UPDATE payments SET invoice_id = '{invoice}' WHERE activity_id IS NULL",
    "users_methods_are_asked_for_first": "UPDATE users SET methods_settled = 1",
    "payment_methods_default_is_attached": "UPDATE payment_methods SET detached_at = now()",
    "payment_methods_keep_no_number": "UPDATE payment_methods SET last4 = '4-4'",
    "payment_methods_one_default_per_user":
        "INSERT INTO payment_methods (id, user_id, stripe_payment_method_id, stripe_customer_id, type, is_default,"
        " attached_at) SELECT gen_random_uuid(), user_id, 'pm_2', 'cus_1', 'card', true, now() FROM payment_methods",
    "plans_trial_is_not_negative": "UPDATE plans SET trial_days = -1",
    "plans_revision_is_positive": "UPDATE plans SET revision = 0",
    "plan_prices_amount_is_not_negative": "UPDATE plan_prices SET amount_minor = -1",
    "plan_prices_interval_is_known": "UPDATE plan_prices SET interval = 'DECADE'",
    "plan_prices_interval_count_is_positive": "UPDATE plan_prices SET interval_count = 0",
    "plan_prices_one_current_per_plan":
        "INSERT INTO plan_prices (id, plan_id, currency, amount_minor, currency_options, interval, interval_count,"
        " current, archived) SELECT gen_random_uuid(), plan_id, 'USD', 1, '{{}}', 'DAY', 1, true, false"
        " FROM plan_prices",
    "subscriptions_status_is_known": "UPDATE subscriptions SET status = 'LOST'",
    "subscriptions_are_at_stripe_before_they_begin": "UPDATE subscriptions SET stripe_subscription_id = NULL",
    "subscriptions_period_is_in_order":
        "UPDATE subscriptions SET current_period_end = current_period_start - interval '1 second'",
    "subscriptions_one_live_per_plan":
        "INSERT INTO subscriptions (id, user_id, plan_id, price_id, currency, status, version, position,"
        " cancel_at_period_end) SELECT gen_random_uuid(), user_id, plan_id, price_id, 'USD', 'INCOMPLETE', 1, 0, false"
        " FROM subscriptions",
    "invoices_status_is_known": "UPDATE invoices SET status = 'LOST'",
    "invoices_amounts_are_not_negative": "UPDATE invoices SET amount_remaining_minor = -1",
    "invoices_owe_no_less_than_nothing": "UPDATE invoices SET receivable_minor = -1",
    "invoice_lines_are_known_once":
        "INSERT INTO invoice_lines (id, invoice_id, stripe_line_id, position, amount_minor, discount_minor, currency,"
        " proration, period_start, period_end)"
        " SELECT gen_random_uuid(), '{invoice}', 'il_1', 0, 1, 0, 'USD', false, now(), now()"
        " FROM generate_series(1, 2)",
    "credit_notes_amounts_are_not_negative":
        "INSERT INTO credit_notes (id, invoice_id, stripe_credit_note_id, number, status, type, currency, total_minor,"
        " refunded_minor, credited_minor, stripe_created_at)"
        " VALUES (gen_random_uuid(), '{invoice}', 'cn_1', '1', 'ISSUED', 'post_payment', 'USD', -1, 0, 0, now())",
    "credit_notes_status_is_known":
        "INSERT INTO credit_notes (id, invoice_id, stripe_credit_note_id, number, status, type, currency, total_minor,"
        " refunded_minor, credited_minor, stripe_created_at)"
        " VALUES (gen_random_uuid(), '{invoice}', 'cn_1', '1', 'LOST', 'post_payment', 'USD', 1, 0, 0, now())",
    "dunnings_status_is_known": "UPDATE dunnings SET status = 'LOST', next_attempt_at = NULL",
    "dunnings_retries_are_not_negative": "UPDATE dunnings SET retries = -1",
    "dunnings_that_ended_try_no_more": "UPDATE dunnings SET status = 'EXHAUSTED'",
    "dunnings_of_ours_end": "UPDATE dunnings SET ends_at = NULL",
    "dunnings_end_in_a_known_way": "UPDATE dunnings SET ended_as = 'cancel'",
    "payouts_status_is_known": payout("po_1", "LOST"),
    "payouts_have_their_account": payout("po_1", "PAID", account="acct_1"),
    "payouts_under_way_are_at_stripe": payout(None, "IN_TRANSIT"),
    "payments_disputes_are_not_negative": "UPDATE payments SET disputed_minor = -1",
    "disputes_amounts_are_not_negative": "UPDATE disputes SET withdrawn_minor = -1",
    "disputes_status_is_known": "UPDATE disputes SET status = 'FORGOTTEN'",
    "audit_seals_are_numbered": two_seals(number="1"),
    "audit_seals_have_one_successor": two_seals(previous_hash="sha256('one')"),
    "audit_seals_end_apart": two_seals(first_position="0", last_position="9"),
    "audit_seals_begin_before_they_end": two_seals(first_position="9"),
    "audit_seals_keep_what_they_count": two_seals(count="2"),
    "audit_seals_hashes_are_whole": two_seals(root="''"),
    "reconciliation_runs_period_is_in_order": reconciled(from_at="now()"),
    "reconciliation_runs_match_what_they_check": reconciled(matched="2"),
    "reconciliation_runs_one_at_a_time": reconciled() + "; " + reconciled(),
    "drifts_kind_is_known": reconciled(1, kind="'LOST'"),
    "drifts_repair_is_known": reconciled(1, repair="'FORGET'"),
    "drifts_are_found_once_a_run": reconciled(2),
    "activity_cancellations_status_is_known": cancellation(status="'LOST'"),
    "activity_cancellations_end_with_their_time": cancellation(status="'FINISHED'"),
    "activity_cancellations_counts_are_in_order": cancellation(failed="2"),
    "activity_cancellation_items_are_there_once": cancellation(items=2),
    "activity_cancellation_items_outcome_is_known": cancellation("LOST"),
    "billing_reviews_one_at_a_time":
        "INSERT INTO billing_reviews (id, total, checked, repaired, failed)"
        " SELECT gen_random_uuid(), 1, 0, 0, 0 FROM generate_series(1, 2)",
}  # fmt: skip

# Triggers name the constraint that they stand for.
BY_TRIGGER = {"ledger_postings_sum_to_zero", "ledger_postings_are_in_the_account_s_currency"}


@pytest.fixture(scope="module")
async def shared_database_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """One database for the module: every test rolls back."""
    name = await create_database(postgres)
    yield postgres.database(name)
    await drop_database(postgres, name)


@pytest.fixture
async def db(shared_database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection in a transaction that is rolled back."""
    connection = await asyncpg.connect(shared_database_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
async def ids(db: asyncpg.Connection[Any]) -> dict[str, Any]:
    """A row of everything, and some ids."""
    host, guest = await add_user(db), await add_user(db)
    await add_account(db, host)
    activity = await add_activity(db, host)
    rsvp = await add_rsvp(db, activity, guest)
    await add_payment(db, guest, rsvp_id=rsvp.id, activity_id=activity.id)
    made = await add_payment(db, guest, captured=True)
    await add_allocation(db, made, host)
    await add_refund(db, made)
    operation = await add_operation(db)
    await db.execute(
        "INSERT INTO operation_steps (id, operation_id, step, method, path, body, api_version)"
        " VALUES (gen_random_uuid(), $1, 'create', 'post', '/v1/x', '', 'v')",
        operation.id,
    )
    account = Pot(LedgerAccountKind.PLATFORM_BALANCE).account("USD")
    await db.execute(
        "INSERT INTO ledger_accounts (id, kind, currency) VALUES ($1, $2, 'USD')", account.id, account.kind
    )
    transaction = await db.fetchval(
        "INSERT INTO ledger_transactions (id, kind, reference, occurred_at, stripe_account)"
        " VALUES (gen_random_uuid(), 'CHARGE', 'charge:ch_1', now(), '') RETURNING id"
    )
    await add_method(db, guest)
    subscription = await add_subscription(db, guest, await add_plan(db))
    invoice = await add_invoice(db, subscription)
    await add_dunning(db, invoice)
    await add_dispute(db, made)
    return {
        "transaction": transaction, "host": host.id, "guest": guest.id, "activity": activity.id, "rsvp": rsvp.id,
        "invoice": invoice.id,
    }  # fmt: skip


@pytest.mark.parametrize("constraint", sorted(REFUSED))
async def test_the_database_refuses_by_name(
    db: asyncpg.Connection[Any], ids: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await db.execute(REFUSED[constraint].format(**ids))
    assert refused.value.constraint_name == constraint


async def test_every_check_and_every_unique_key_of_the_database_has_its_refusal_here(
    db: asyncpg.Connection[Any],
) -> None:
    names = await db.fetch(
        """
        SELECT conname AS name FROM pg_constraint JOIN pg_class t ON t.oid = conrelid
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'u') AND t.relname <> 'tortoise_migrations'
        UNION
        SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid
        WHERE c.relnamespace = 'public'::regnamespace AND indisunique AND indpred IS NOT NULL
        """
    )
    # Those that Tortoise makes of `unique` are named by a digest, and tested below.
    unique = {record["name"] for record in names}
    ours = {name for name in unique if not name.startswith(("uid_", "uidx_")) and not name.endswith("_key")}
    assert ours <= set(REFUSED), ours - set(REFUSED)
    assert set(REFUSED) - BY_TRIGGER <= unique


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("users", "external_id"), ("users", "stripe_customer_id"), ("activities", "external_id"),
        ("connect_accounts", "stripe_account_id"), ("payments", "stripe_payment_intent_id"), ("payments", "rsvp_id"),
        ("payment_attempts", "stripe_charge_id"), ("payouts", "stripe_payout_id"), ("refunds", "stripe_refund_id"),
        ("transfers", "stripe_transfer_id"), ("transfer_reversals", "stripe_reversal_id"),
        ("disputes", "stripe_dispute_id"), ("fraud_warnings", "stripe_warning_id"),
        ("stream_epochs", "epoch"), ("sweep_watermarks", "account"),
        ("webhook_events", "stripe_event_id,account,stripe_created_at"),
        ("operation_steps", "operation_id,step,attempt"),
    ],
)  # fmt: skip
async def test_what_names_a_row_is_unique(db: asyncpg.Connection[Any], table: str, column: str) -> None:
    keys = await db.fetch(
        """
        SELECT string_agg(a.attname, ',' ORDER BY k.place) AS columns FROM pg_index i
        JOIN unnest(i.indkey) WITH ORDINALITY AS k(number, place) ON true
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE i.indrelid = $1::regclass AND i.indisunique GROUP BY i.indexrelid
        """,
        table,
    )
    assert column in {key["columns"] for key in keys}


APPEND_ONLY = (
    "ledger_transactions", "ledger_postings", "audit_entries", "audit_seals", "events",
)  # fmt: skip


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET created_at = now()", "DELETE FROM {}", "TRUNCATE {}"])
async def test_what_is_written_once_stays(db: asyncpg.Connection[Any], table: str, statement: str) -> None:
    with pytest.raises(asyncpg.RestrictViolationError, match="append only"):
        await db.execute(statement.format(table))


async def test_postings_that_sum_to_zero_per_currency_are_taken(
    db: asyncpg.Connection[Any], ids: dict[str, Any]
) -> None:
    await db.execute(
        "INSERT INTO ledger_postings (id, transaction_id, account_id, amount_minor, currency)"
        " SELECT gen_random_uuid(), $1, a.id, v.amount, 'USD'"
        " FROM ledger_accounts a, (VALUES (7), (-3), (-4)) AS v(amount)",
        ids["transaction"],
    )
    assert await db.fetchval("SELECT count(*) FROM ledger_postings") == 3


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users WHERE id = '{host}'", "DELETE FROM users WHERE id = '{guest}'",
        "DELETE FROM activities WHERE id = '{activity}'", "DELETE FROM rsvps WHERE id = '{rsvp}'",
        "DELETE FROM payments", "UPDATE payments SET payer_id = '{transaction}'",
        "UPDATE rsvps SET activity_id = '{transaction}'", "UPDATE refunds SET payment_id = '{transaction}'",
    ],
)  # fmt: skip
async def test_what_others_refer_to_cannot_go(
    db: asyncpg.Connection[Any], ids: dict[str, Any], statement: str
) -> None:
    with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.RestrictViolationError)):
        await db.execute(statement.format(**ids))


async def test_a_host_may_have_a_new_account_once_the_old_one_is_deauthorized(
    db: asyncpg.Connection[Any], ids: dict[str, Any]
) -> None:
    await db.execute("UPDATE connect_accounts SET deauthorized_at = now()")
    await db.execute(REFUSED["connect_accounts_one_live_per_user"].format(**ids))
    assert await db.fetchval("SELECT count(*) FROM connect_accounts WHERE user_id = $1", ids["host"]) == 2


async def test_two_guests_cannot_take_the_last_seat_at_once(database_url: str) -> None:
    one, two = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    activity = await add_activity(one, await add_user(one), capacity=1)
    take = "UPDATE activities SET seats_taken = seats_taken + 1 WHERE id = $1"
    transaction = one.transaction()
    await transaction.start()
    await one.execute(take, activity.id)
    second = asyncio.create_task(two.execute(take, activity.id))
    while not await one.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        pass  # until the second waits for the first
    await transaction.commit()
    with pytest.raises(asyncpg.CheckViolationError):
        await second
    assert await one.fetchval("SELECT seats_taken FROM activities") == 1
    await one.close()
    await two.close()

