"""Stripe's resources, one noun a file: the object, its operations, its rules."""
