"""Stripe's own books, mirrored, and joined to the ledger: every movement of a balance has its counterpart here."""
