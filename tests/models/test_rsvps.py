"""Which RSVPs take seats."""

from __future__ import annotations

import pytest

from models.activities import Activity
from models.rsvps import RsvpStatus


@pytest.mark.parametrize("status", list(RsvpStatus))
def test_seats_are_taken_while_held_and_once_confirmed(status: RsvpStatus) -> None:
    assert status.takes_seats == (status in {RsvpStatus.HELD, RsvpStatus.CONFIRMED})


def test_an_activity_without_capacity_has_no_seats_to_count() -> None:
    assert Activity(capacity=None, seats_taken=5).seats_left is None
    assert Activity(capacity=7, seats_taken=5).seats_left == 2
