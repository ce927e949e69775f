"""The audit trail: reading it, sealing it, and proving that nothing in it was changed."""
