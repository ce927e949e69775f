"""A stand-in for Stripe's API that keeps state: same paths, form encoding, ids, errors, events and signed webhooks.

    python -m sandbox --port 12111 --data-dir .data/sandbox

It follows API version 2026-10-28.endive. Nothing in here talks to Stripe; money is made up.
"""

API_VERSION = "2026-10-28.endive"
