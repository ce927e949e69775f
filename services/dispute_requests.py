"""Requests to Stripe about disputes, the files of their evidence, and early fraud warnings, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

UPLOAD_PATH: Final = "/v1/files"


def retrieve_dispute(dispute: str, *, stripe_account: str = "") -> StripeRequest:
    """ "Retrieve a dispute", with its balance transactions; `stripe_account` is that of a direct charge."""
    return StripeRequest.build("get", f"/v1/disputes/{dispute}", stripe_account=stripe_account or None)


def update_dispute(
    dispute: str, *, evidence: Mapping[str, str], submit: bool, metadata: Mapping[str, str], stripe_account: str = ""
) -> StripeRequest:
    """ "Update a dispute": its evidence, by Stripe's names of texts and files, staged or handed in at once.

    Args:
        evidence: what is empty is taken away; what is not named stays as it was.
    """
    return StripeRequest.build(
        "post",
        f"/v1/disputes/{dispute}",
        {"evidence": dict(evidence), "submit": submit, "metadata": dict(metadata)},
        stripe_account=stripe_account or None,
    )


def close_dispute(dispute: str, *, stripe_account: str = "") -> StripeRequest:
    """ "Close a dispute": it is given up, and lost for good."""
    return StripeRequest.build("post", f"/v1/disputes/{dispute}/close", stripe_account=stripe_account or None)


def upload_evidence(*, evidence_file: str, stripe_account: str = "") -> StripeRequest:
    """ "Create a file" of evidence. It names our row of the file: the content is put in as it is sent."""
    return StripeRequest.build(
        "post",
        UPLOAD_PATH,
        {"purpose": "dispute_evidence", "file": evidence_file},
        stripe_account=stripe_account or None,
    )


def retrieve_fraud_warning(warning: str, *, stripe_account: str = "") -> StripeRequest:
    """ "Retrieve an early fraud warning"."""
    return StripeRequest.build(
        "get", f"/v1/radar/early_fraud_warnings/{warning}", stripe_account=stripe_account or None
    )
