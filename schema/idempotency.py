"""What is said of idempotency keys wherever one is sent in."""

KEY = (
    "1 to 255 characters, one per intent of the caller; the same key answers the same thing for at least 24 hours,"
    " whether the first try finished, failed on the way or is still under way."
)
