"""Requests about disputes: with parameters that the pinned version knows, and files in the form that Stripe takes."""

from __future__ import annotations

import inspect

import pytest

from sandbox.multipart import Upload as Decoded
from sandbox.multipart import decode
from services import dispute_requests as requests
from services.multipart import multipart
from services.stripe_requests import StripeRequest, Upload
from tests.support.stripe_params import breaches, decoded

EVIDENCE = {"customer_name": "Ada & Bob", "receipt": "file_1", "billing_address": "", "uncategorized_text": "a\nb"}

# Each builder's calls, the path they go to, and the package's name of their parameters.
CALLS: dict[str, tuple[list[StripeRequest], str, str, str]] = {
    "retrieve_dispute": (
        [requests.retrieve_dispute("du_1", stripe_account=account) for account in ("", "acct_1")],
        "/v1/disputes/du_1", "_dispute_retrieve_params", "DisputeRetrieveParams",
    ),
    "update_dispute": (
        [
            requests.update_dispute("du_1", evidence=EVIDENCE, submit=submit, metadata={"operation_id": "1"})
            for submit in (False, True)
        ],
        "/v1/disputes/du_1", "_dispute_modify_params", "DisputeModifyParams",
    ),
    "close_dispute": (
        [requests.close_dispute("du_1")], "/v1/disputes/du_1/close", "_dispute_close_params", "DisputeCloseParams",
    ),
    "upload_evidence": (
        [requests.upload_evidence(evidence_file="1")], "/v1/files", "_file_create_params", "FileCreateParams",
    ),
    "retrieve_fraud_warning": (
        [requests.retrieve_fraud_warning("issfr_1")], "/v1/radar/early_fraud_warnings/issfr_1",
        "radar._early_fraud_warning_retrieve_params", "EarlyFraudWarningRetrieveParams",
    ),
}  # fmt: skip


def test_every_builder_is_here() -> None:
    builders = {
        name for name, _ in inspect.getmembers(requests, inspect.isfunction)
        if inspect.signature(getattr(requests, name)).return_annotation == "StripeRequest"
    }  # fmt: skip
    assert builders == set(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_parameters_are_those_of_the_pinned_version(name: str) -> None:
    calls, path, module, declared = CALLS[name]
    for call in calls:
        assert call.path == path
        assert call.method == ("get" if name.startswith("retrieve") else "post")
        assert breaches(module, declared, decoded(call.body)) == []
        assert call.stripe_account in {None, "acct_1"}


def test_what_is_to_be_left_out_is_sent_as_empty() -> None:
    [call, _] = CALLS["update_dispute"][0]
    assert decoded(call.body)["evidence"] == EVIDENCE


def test_a_file_goes_out_as_it_is_and_the_same_each_time() -> None:
    content = b"%PDF\r\n--paydesk-\x00\xff\r\n\r\n"
    upload = Upload('a "b"\r\nc ü.pdf', "application/pdf", content)
    request = StripeRequest("post", "/v1/files", "purpose=dispute_evidence&file=row", "op:upload:1", upload=upload)
    body, content_type = multipart(request, upload)
    assert multipart(request, upload) == (body, content_type)
    assert decode(body, content_type) == {
        "purpose": "dispute_evidence", "file": Decoded("a %22b%22%0D%0Ac ü.pdf", content),
    }  # fmt: skip
