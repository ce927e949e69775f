"""Files on their way to Stripe: a stored step names the row that keeps the content until Stripe has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from services.dispute_requests import UPLOAD_PATH
from services.stripe_requests import Upload

if TYPE_CHECKING:
    from services.database import Database
    from services.stripe_requests import StripeRequest


async def with_upload(database: Database, request: StripeRequest) -> StripeRequest:
    """The request with its file, where it uploads one, and as it is where it does not.

    Raises: LookupError for a file whose content is not kept any more: only a person can tell what became of it.
    """
    if request.path != UPLOAD_PATH or request.method != "post":
        return request
    [id_] = parse_qs(request.body)["file"]
    record = await database.pool.fetchrow("SELECT * FROM evidence_files WHERE id = $1::uuid", id_)
    if record is None or record["content"] is None:
        raise LookupError(f"evidence file {id_} is not kept any more")
    return replace(
        request, upload=Upload(record["filename"], record["media_type"], bytes(record["content"]))
    )
