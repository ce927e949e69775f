"""The other ends of an invoice: void, uncollectible, deleted ("Void an invoice", "Mark an invoice uncollectible")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work


def void(work: Work, invoice: Json) -> None:
    """Void a finalized invoice that is not paid; its payment intent is canceled.

    Raises: ApiError for another status.
    """
    raise NotImplementedError


def mark_uncollectible(work: Work, invoice: Json, reason: str = "user_forgiven") -> None:
    """Give an open invoice up; it can still be paid or voided.

    Raises: ApiError for another status.
    """
    raise NotImplementedError


def delete_draft(work: Work, invoice: Json) -> Json:
    """Delete a draft; its items wait for the next invoice again.

    Raises: ApiError for what is no draft.
    """
    raise NotImplementedError
