"""Reconciliation: Stripe's books beside ours, object by object."""
