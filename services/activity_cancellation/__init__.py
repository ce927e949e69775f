"""Cancelling activities: everybody who paid gets their money back."""
