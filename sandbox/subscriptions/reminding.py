"""Word of the next renewal, some days ahead ("invoice.upcoming")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.invoices import preview
from sandbox.operations import Call
from sandbox.subscriptions import bodies

if TYPE_CHECKING:
    from sandbox.work import Work


def remind_upcoming(work: Work, id_: str) -> None:
    """A subscription renews in seven days (the action `remind_upcoming`)."""
    subscription = work.find("subscription", id_)
    if subscription is None or subscription["status"] not in bodies.RUNNING:
        return
    coming = preview.preview(Call(work, {"subscription": id_}, {}, ""))
    # It gets an id when it is made.
    work.emit("invoice.upcoming", {name: value for name, value in coming.items() if name != "id"})
