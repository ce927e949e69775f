"""What becomes of an invoice: it is drafted, finalized, collected, and closed."""
