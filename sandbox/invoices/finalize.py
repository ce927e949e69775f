"""Finalizing an invoice ("Status transitions and finalization")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def finalize(work: Work, invoice: Json) -> None:
    """Turn a draft into an open invoice with its payment intent, or a paid one where nothing is due.

    A paid one tells the subscription's side at once (`lifecycle.invoice_paid`).

    Args:
        invoice: to be changed, as from `work.edit("invoice", …)` or `new_invoice`.

    Raises: ApiError for what is no draft.
    """
    raise NotImplementedError
