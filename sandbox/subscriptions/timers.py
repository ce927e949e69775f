"""What is going to happen to a subscription by itself, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox import clocks
from sandbox.subscriptions import bodies
from sandbox.subscriptions.periods import DAY_S

if TYPE_CHECKING:
    from sandbox.errors import Json
    from sandbox.work import Work

RENEW: Final = "renew_subscription"
END_TRIAL: Final = "end_trial"
END: Final = "end_subscription"
EXPIRE: Final = "expire_incomplete"
EXPIRE_UPDATE: Final = "expire_pending_update"
EXPIRE_RESUMPTION: Final = "expire_resumption"
REMIND_TRIAL: Final = "remind_trial"
REMIND_UPCOMING: Final = "remind_upcoming"
RESUME_COLLECTION: Final = "resume_collection"
_ALL: Final = (
    END, END_TRIAL, RENEW, EXPIRE, EXPIRE_UPDATE, EXPIRE_RESUMPTION, REMIND_TRIAL, REMIND_UPCOMING, RESUME_COLLECTION,
)  # fmt: skip
TRIAL_WARNING_S: Final = 3 * DAY_S
UPCOMING_S: Final = 7 * DAY_S


def plan(work: Work, subscription: Json) -> None:
    """Schedule what a subscription's fields say, in place of what was scheduled before."""
    for action in _ALL:
        clocks.unschedule(work, action, subscription["id"])
    for action, due in _due(work, subscription).items():
        if due is not None:
            clocks.schedule(work, subscription["customer"], due, action, subscription["id"])


def _due(work: Work, subscription: Json) -> dict[str, int | None]:
    status = subscription["status"]
    if status in bodies.ENDED:
        return {}
    due: dict[str, int | None] = {
        END: subscription["cancel_at"],
        RESUME_COLLECTION: (subscription["pause_collection"] or {}).get("resumes_at"),
        EXPIRE_UPDATE: (subscription["pending_update"] or {}).get("expires_at"),
        EXPIRE_RESUMPTION: subscription.get("_resuming", {}).get("expires_at"),
    }
    if status == "incomplete":
        due[EXPIRE] = subscription["created"] + bodies.INCOMPLETE_S
    if status in bodies.RUNNING:
        end = bodies.period_end(subscription)
        due[END_TRIAL if status == "trialing" else RENEW] = end
        if status == "trialing":
            due[REMIND_TRIAL] = _to_come(work, subscription["trial_end"] - TRIAL_WARNING_S)
        if subscription["cancel_at"] is None or subscription["cancel_at"] > end:
            due[REMIND_UPCOMING] = _to_come(work, end - UPCOMING_S)
    return due


def _to_come(work: Work, due: int) -> int | None:
    return due if due > work.now else None


def warn_of_short_trial(work: Work, subscription: Json) -> None:
    """Say at once that a trial will end, where that is less than three days off."""
    end = subscription["trial_end"]
    if subscription["status"] == "trialing" and end - TRIAL_WARNING_S <= work.now:
        work.emit("customer.subscription.trial_will_end", subscription)
