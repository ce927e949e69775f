"""Whether the ledger holds: every transaction balances, and the pots of payments and invoices say what rows say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.sets import AnyConnection


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold: which rule, where, and the figures."""

    rule: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What was looked at, what did not hold, and what each account holds now in minor units."""

    transactions: int
    payments: int
    findings: list[Finding]
    mirrored: int
    """Of Stripe's balance transactions: those that are known, ..."""
    waiting: int
    """... of them, those that belong to nothing known here yet, ..."""
    nobodys: int
    """... and those that nobody here meant."""
    balances: list[tuple[str, str | None, str, int]]
    """Kind, owner's external id (None: the platform), currency, minor units."""


_RULES = {
    "postings sum to zero in each transaction and currency": """
        SELECT transaction_id::text AS subject, currency || ' ' || sum(amount_minor) AS detail
        FROM ledger_postings GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0
    """,
    "a transaction has postings": """
        SELECT t.id::text AS subject, t.reference AS detail FROM ledger_transactions t
        WHERE NOT EXISTS (SELECT FROM ledger_postings p WHERE p.transaction_id = t.id)
    """,
    "a posting has its transaction and an account of its currency": """
        SELECT p.id::text AS subject, p.currency AS detail FROM ledger_postings p
        LEFT JOIN ledger_transactions t ON t.id = p.transaction_id
        LEFT JOIN ledger_accounts a ON a.id = p.account_id AND a.currency = p.currency
        WHERE t.id IS NULL OR a.id IS NULL
    """,
    "a payment's pots hold what its row says": """
        WITH pots AS (
            SELECT t.payment_id, a.kind, sum(p.amount_minor)::bigint AS minor
            FROM ledger_transactions t JOIN payments y ON y.id = t.payment_id
            JOIN ledger_postings p ON p.transaction_id = t.id AND p.currency = y.currency
            JOIN ledger_accounts a ON a.id = p.account_id
            WHERE NOT starts_with(t.reference, 'balance:') GROUP BY t.payment_id, a.kind
        ), refunded AS (
            SELECT payment_id, sum(amount_minor) FILTER (WHERE status = 'SUCCEEDED')::bigint AS paid,
                sum(amount_minor) FILTER (WHERE status IN ('PENDING', 'REQUIRES_ACTION'))::bigint AS on_the_way,
                sum(fee_minor) FILTER (WHERE status IN ('SUCCEEDED', 'PENDING', 'REQUIRES_ACTION'))::bigint AS fee,
                sum(host_minor) FILTER (WHERE status IN ('SUCCEEDED', 'PENDING', 'REQUIRES_ACTION'))::bigint AS host,
                sum(platform_minor) FILTER (WHERE status IN ('SUCCEEDED', 'PENDING', 'REQUIRES_ACTION'))::bigint
                    AS platform
            FROM refunds WHERE stripe_refund_id IS NOT NULL GROUP BY payment_id
        ), disputed AS (
            SELECT payment_id, sum(withdrawn_minor)::bigint AS withdrawn, sum(fee_minor)::bigint AS fee,
                sum(host_minor)::bigint AS host,
                sum(withdrawn_minor) FILTER (WHERE status IN ('LOST', 'PREVENTED'))::bigint AS given,
                sum(withdrawn_minor) FILTER (WHERE status NOT IN ('LOST', 'PREVENTED'))::bigint AS held
            FROM disputes GROUP BY payment_id
        ), abroad AS ( -- what was sent in another currency is paid out of the platform's balance in that
            SELECT payment_id, sum(minor)::bigint AS minor FROM (
                SELECT t.payment_id, t.covers_minor AS minor FROM transfers t JOIN payments p ON p.id = t.payment_id
                WHERE t.status = 'PAID' AND t.currency <> p.currency
                UNION ALL
                SELECT b.payment_id, -b.covers_minor FROM transfer_reversals b JOIN payments p ON p.id = b.payment_id
                WHERE b.status = 'PAID' AND b.transfer_id IS NOT NULL AND b.currency <> p.currency
            ) moved GROUP BY payment_id
        ), expected AS (
            SELECT p.id, v.kind, v.minor
            FROM payments p LEFT JOIN refunded r ON r.payment_id = p.id LEFT JOIN abroad ON abroad.payment_id = p.id
            LEFT JOIN disputed d ON d.payment_id = p.id
            CROSS JOIN LATERAL (VALUES
                ('GUEST_CLEARING', coalesce(r.paid, 0) + coalesce(d.given, 0) - p.captured_minor),
                ('DISPUTES', coalesce(d.held, 0)),
                ('REFUNDS', coalesce(r.on_the_way, 0)),
                ('PLATFORM_BALANCE', coalesce(abroad.minor, 0) - coalesce(r.platform, 0)
                    - CASE p.charge_model WHEN 'DIRECT' THEN 0 ELSE coalesce(d.withdrawn - d.fee - d.host, 0) END),
                (CASE p.charge_model WHEN 'PLATFORM' THEN 'SUBSCRIPTION_INCOME' ELSE 'APPLICATION_FEES' END,
                    p.platform_fee_minor - coalesce(r.fee, 0) - coalesce(d.fee, 0)),
                ('HOST', p.host_amount_minor - coalesce(r.host, 0) - coalesce(abroad.minor, 0)
                    - coalesce(CASE p.charge_model WHEN 'DIRECT' THEN d.withdrawn ELSE d.host END, 0))
            ) AS v(kind, minor)
            WHERE p.captured_minor > 0
        ), held AS (
            SELECT payment_id, CASE WHEN kind IN ('HOST_BALANCE', 'HOST_OWED') THEN 'HOST' ELSE kind END AS kind,
                sum(minor) AS minor
            FROM pots GROUP BY 1, 2
        )
        SELECT e.id::text AS subject, e.kind || ' holds ' || coalesce(h.minor, 0) || ', not ' || e.minor AS detail
        FROM expected e LEFT JOIN held h ON h.payment_id = e.id AND h.kind = e.kind
        WHERE coalesce(h.minor, 0) <> e.minor
        UNION ALL
        SELECT p.id::text, 'money moved though nothing was captured'
        FROM payments p
        WHERE p.captured_minor = 0 AND EXISTS (SELECT FROM pots WHERE pots.payment_id = p.id AND minor <> 0)
    """,
    "an invoice's pots hold what its row says": """
        WITH pots AS (
            SELECT t.stripe_object_id, a.kind, p.currency, sum(p.amount_minor)::bigint AS minor
            FROM ledger_accounts a JOIN ledger_postings p ON p.account_id = a.id
            JOIN ledger_transactions t ON t.id = p.transaction_id
            WHERE a.kind IN ('RECEIVABLES', 'UNCOLLECTIBLE') GROUP BY 1, 2, 3
        ), expected AS (
            SELECT i.stripe_invoice_id, i.currency, v.kind, v.minor
            FROM invoices i
            CROSS JOIN LATERAL (
                VALUES ('RECEIVABLES', i.receivable_minor), ('UNCOLLECTIBLE', i.written_off_minor)
            ) AS v(kind, minor)
        )
        SELECT coalesce(e.stripe_invoice_id, h.stripe_object_id, 'no invoice') AS subject,
            coalesce(e.kind, h.kind) || ' holds ' || coalesce(h.minor, 0) || ', not ' || coalesce(e.minor, 0) AS detail
        FROM expected e
        FULL JOIN pots h ON h.stripe_object_id = e.stripe_invoice_id AND h.kind = e.kind AND h.currency = e.currency
        WHERE coalesce(h.minor, 0) <> coalesce(e.minor, 0)
    """,
    "what an invoice owes is what remains of it": """
        SELECT stripe_invoice_id AS subject,
            status || ', ' || amount_remaining_minor || ' remaining, ' || receivable_minor || ' owed, '
                || written_off_minor || ' written off' AS detail
        FROM invoices
        WHERE receivable_minor <> CASE status WHEN 'OPEN' THEN amount_remaining_minor ELSE 0 END
            OR written_off_minor <> CASE status WHEN 'UNCOLLECTIBLE' THEN amount_remaining_minor ELSE 0 END
    """,
    "what subscriptions bring in is what was paid for them, less refunds and what was lost in disputes": """
        WITH held AS (
            SELECT a.currency, sum(p.amount_minor)::bigint AS minor
            FROM ledger_accounts a JOIN ledger_postings p ON p.account_id = a.id
            WHERE a.kind = 'SUBSCRIPTION_INCOME' GROUP BY a.currency
        ), paid AS (
            SELECT currency, sum(captured_minor)::bigint AS minor
            FROM payments WHERE charge_model = 'PLATFORM' GROUP BY currency
        ), refunded AS (
            SELECT currency, sum(minor)::bigint AS minor FROM (
                SELECT r.currency, r.amount_minor AS minor FROM refunds r JOIN payments p ON p.id = r.payment_id
                WHERE p.charge_model = 'PLATFORM' AND r.stripe_refund_id IS NOT NULL
                    AND r.status IN ('SUCCEEDED', 'PENDING', 'REQUIRES_ACTION')
                UNION ALL
                SELECT d.currency, d.fee_minor FROM disputes d JOIN payments p ON p.id = d.payment_id
                WHERE p.charge_model = 'PLATFORM'
            ) given GROUP BY currency
        )
        SELECT coalesce(h.currency, p.currency) AS subject, coalesce(h.minor, 0) || ' held, '
            || coalesce(p.minor, 0) || ' paid, ' || coalesce(r.minor, 0) || ' given back' AS detail
        FROM held h FULL JOIN paid p ON p.currency = h.currency LEFT JOIN refunded r ON r.currency = p.currency
        WHERE coalesce(h.minor, 0) <> coalesce(p.minor, 0) - coalesce(r.minor, 0)
    """,
    "Stripe's balance transactions are in the ledger, to the unit": """
        WITH parts AS (
            SELECT b.id, b.stripe_account, c.user_id AS owner, t.id AS transaction_id
            FROM balance_transactions b LEFT JOIN connect_accounts c ON c.stripe_account_id = b.stripe_account
            CROSS JOIN LATERAL (
                SELECT b.settles_id AS id UNION SELECT b.fee_settles_id UNION SELECT o.id FROM ledger_transactions o
                WHERE o.stripe_object_id = b.stripe_balance_transaction_id AND o.stripe_account = b.stripe_account
                    AND starts_with(o.reference, 'balance:')
                UNION SELECT k.id FROM ledger_transactions m JOIN ledger_transactions k
                    ON k.stripe_object_id = m.stripe_object_id AND k.kind = 'ADJUSTMENT'
                    AND starts_with(k.reference, 'correction:' || m.reference || ':')
                    WHERE m.id IN (b.settles_id, b.fee_settles_id)
            ) t
            WHERE b.settles_id IS NOT NULL AND t.id IS NOT NULL
        ), moved AS (
            SELECT x.id, p.currency, sum(p.amount_minor)::bigint AS minor
            FROM parts x JOIN ledger_postings p ON p.transaction_id = x.transaction_id
            JOIN ledger_accounts a ON a.id = p.account_id
            WHERE CASE x.stripe_account WHEN '' THEN
                a.kind IN ('PLATFORM_BALANCE', 'APPLICATION_FEES', 'SUBSCRIPTION_INCOME', 'HOST_OWED')
                ELSE a.kind = 'HOST_BALANCE' AND a.owner_id = x.owner END
            GROUP BY x.id, p.currency
        ), said AS (
            SELECT id, currency, amount_minor - fee_minor AS minor FROM balance_transactions
            WHERE settles_id IS NOT NULL
        )
        SELECT b.stripe_balance_transaction_id AS subject, coalesce(s.currency, m.currency) || ' '
            || coalesce(m.minor, 0) || ' here, ' || coalesce(s.minor, 0) || ' at Stripe' AS detail
        FROM said s FULL JOIN moved m ON m.id = s.id AND m.currency = s.currency
        JOIN balance_transactions b ON b.id = coalesce(s.id, m.id)
        WHERE coalesce(s.minor, 0) <> coalesce(m.minor, 0)
    """,
    "what Stripe moved in one currency is what was meant": """
        SELECT b.stripe_balance_transaction_id AS subject, p.currency || ' ' || -sum(p.amount_minor) AS detail
        FROM balance_transactions b JOIN ledger_transactions t
            ON t.stripe_object_id = b.stripe_balance_transaction_id AND t.stripe_account = b.stripe_account
        JOIN ledger_postings p ON p.transaction_id = t.id
        JOIN ledger_accounts a ON a.id = p.account_id AND a.kind = 'ADJUSTMENTS'
        WHERE b.settles_id IS NOT NULL AND b.settles_id IS DISTINCT FROM b.posting_id
        GROUP BY b.stripe_balance_transaction_id, p.currency HAVING sum(p.amount_minor) <> 0
    """,
    "seats taken are those held and confirmed": """
        SELECT a.id::text AS subject,
            a.seats_taken || ' taken, ' || coalesce(sum(r.quantity), 0) || ' by RSVPs' AS detail
        FROM activities a LEFT JOIN rsvps r ON r.activity_id = a.id AND r.status IN ('HELD', 'CONFIRMED')
        GROUP BY a.id, a.seats_taken HAVING a.seats_taken <> coalesce(sum(r.quantity), 0)
    """,
}

_BALANCES = """
SELECT a.kind, u.external_id, a.currency, coalesce(sum(p.amount_minor), 0)::bigint AS minor
FROM ledger_accounts a LEFT JOIN users u ON u.id = a.owner_id LEFT JOIN ledger_postings p ON p.account_id = a.id
GROUP BY a.id, a.kind, u.external_id, a.currency ORDER BY a.kind, u.external_id NULLS FIRST, a.currency
"""

_MIRROR = """
SELECT count(*) AS mirrored,
    count(*) FILTER (WHERE settles_id IS NULL AND (amount_minor <> 0 OR fee_minor <> 0)) AS waiting,
    count(*) FILTER (WHERE settles_id = posting_id) AS nobodys
FROM balance_transactions
"""


async def check_ledger(connection: AnyConnection) -> LedgerReport:
    """Check every rule against one snapshot of the database."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        findings: list[Finding] = []
        for rule, sql in _RULES.items():
            records: list[Any] = await connection.fetch(sql)
            findings.extend(Finding(rule, record["subject"], record["detail"]) for record in records)
        return LedgerReport(
            transactions=await connection.fetchval("SELECT count(*) FROM ledger_transactions"),
            payments=await connection.fetchval("SELECT count(*) FROM payments"),
            findings=findings,
            **dict(await connection.fetchrow(_MIRROR) or {}),
            balances=[tuple(record) for record in await connection.fetch(_BALANCES)],
        )
