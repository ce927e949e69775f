"""Ids and secrets in Stripe's form."""

from __future__ import annotations

import os

_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TABLE = bytes(_ALPHABET[i % len(_ALPHABET)] for i in range(256))


def random_text(length: int) -> str:
    """Random letters and digits."""
    return os.urandom(length).translate(_TABLE).decode()


def new_id(prefix: str) -> str:
    """`pi_3…`: a prefix and 24 letters and digits."""
    return f"{prefix}_3{random_text(23)}"


def new_account_id() -> str:
    """`acct_1…`, which is shorter than the others."""
    return f"acct_1{random_text(15)}"


def client_secret(id_: str) -> str:
    """What a browser needs to act on one intent."""
    return f"{id_}_secret_{random_text(25)}"
