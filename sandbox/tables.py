"""The tables that the sandbox keeps, and by which fields its objects are found."""

from __future__ import annotations

from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, kind TEXT NOT NULL,
    created INTEGER NOT NULL, listed INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_in_order ON objects (account, kind, created, seq) WHERE listed;
CREATE TABLE IF NOT EXISTS links (
    account TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (account, field, value, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, type TEXT NOT NULL,
    created INTEGER NOT NULL, body BLOB NOT NULL, clock_time INTEGER
);
CREATE INDEX IF NOT EXISTS events_in_order ON events (account, created, seq);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, attempt INTEGER NOT NULL, due REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
CREATE TABLE IF NOT EXISTS timers (
    id INTEGER PRIMARY KEY, due REAL NOT NULL, account TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
    clock TEXT
);
CREATE TABLE IF NOT EXISTS answers (
    account TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    request_id TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS balances (
    account TEXT NOT NULL, currency TEXT NOT NULL, available_on INTEGER NOT NULL, amount INTEGER NOT NULL,
    PRIMARY KEY (account, currency, available_on)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

# Columns that tables of earlier versions lack.
ADDED: Final = (("events", "clock_time", "INTEGER"), ("timers", "clock", "TEXT"))

# Timers that were made for a date, whose clock is empty for real time, and events of a clock's time. All others have
# NULL there, and cost nothing here.
INDEXES: Final = """
CREATE INDEX IF NOT EXISTS events_of_clocks ON events (clock_time) WHERE clock_time IS NOT NULL;
CREATE INDEX IF NOT EXISTS timers_by_clock ON timers (clock, due, id) WHERE clock IS NOT NULL;
CREATE INDEX IF NOT EXISTS timers_by_subject ON timers (subject, action) WHERE clock IS NOT NULL;
"""

# What objects are listed by. Other filters are tried on each object.
LINKS: Final[dict[str, tuple[str, ...]]] = {
    "payment_intent": ("customer",),
    "charge": ("payment_intent", "customer", "transfer_group"),
    "refund": ("payment_intent", "charge"),
    "transfer": ("transfer_group", "source_transaction", "destination"),
    "transfer_reversal": ("transfer",),
    "application_fee": ("charge",),
    "fee_refund": ("fee",),
    "balance_transaction": ("source", "_payout"),
    "payout": ("destination",),
    "dispute": ("charge", "payment_intent"),
    "radar.early_fraud_warning": ("charge", "payment_intent"),
    "file": ("purpose",),
    "card": ("account",),
    "payment_method": ("customer",),
    "setup_intent": ("customer",),
    "customer": ("test_clock",),
    "customer_balance_transaction": ("customer",),
    "price": ("product", "lookup_key"),
    "promotion_code": ("_code", "customer"),
    "subscription": ("customer",),
    "subscription_item": ("subscription",),
    "subscription_schedule": ("customer",),
    "invoice": ("customer", "_subscription"),
    "invoiceitem": ("invoice", "customer"),
    "invoice_payment": ("invoice", "_payment_intent"),
    "credit_note": ("invoice", "customer"),
    "person": ("account",),
    "bank_account": ("account",),
    "account_link": ("account",),
}
