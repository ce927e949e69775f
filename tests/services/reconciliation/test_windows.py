"""Stripe's lists in windows: nothing is missing, nothing comes twice, and no more than a page is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reconciliation.windows import Window, windows
from services.stripe_requests import StripeRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.stripe_gateway import StripeGateway


class Listed:
    """A list at Stripe, by the seconds in which its objects were made."""

    def __init__(self, seconds: list[int]) -> None:
        self.objects: list[dict[str, Any]] = [
            {"id": str(number), "created": second} for number, second in enumerate(sorted(seconds)[::-1])
        ]

    def listing(self, first: int, until: int) -> StripeRequest:
        return StripeRequest.build("get", "/v1/charges", {"first": first, "until": until})

    async def list_all(self, request: StripeRequest, **_: Any) -> AsyncIterator[dict[str, Any]]:
        first, until = (int(part.split("=")[1]) for part in request.body.split("&"))
        for each in self.objects:
            if first <= each["created"] < until:
                yield each

    async def windows(self, first: int, until: int) -> list[Window]:
        stripe = cast("StripeGateway", self)
        return [window async for window in windows(stripe, self.listing, first, until)]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
async def test_they_cover_the_period_without_a_gap(count: int) -> None:
    listed = Listed([10 + number // 3 for number in range(count)])
    found = await listed.windows(5, 1000)
    assert found[0].until == 1000
    assert found[-1].first == 5
    assert [window.first for window in found[:-1]] == [window.until for window in found[1:]]
    for window in found:
        assert all(window.first <= each["created"] < window.until for each in window.objects)
    assert [each["id"] for window in found for each in window.objects] == [each["id"] for each in listed.objects]


@given(st.lists(st.integers(0, 30), max_size=400), st.integers(0, 3))
async def test_whoever_breaks_off_goes_on_without_loss(seconds: list[int], done: int) -> None:
    listed = Listed(seconds)
    begun = (await listed.windows(0, 31))[:done]
    left = await listed.windows(0, begun[-1].first if begun else 31) if not begun or begun[-1].first else []
    ids = [each["id"] for window in [*begun, *left] for each in window.objects]
    assert ids == [each["id"] for each in listed.objects]


async def test_a_second_that_is_longer_than_a_page_is_one_window() -> None:
    found = await Listed([7] * 250 + [9]).windows(0, 10)
    assert [(window.first, window.until, len(window.objects)) for window in found] == [(8, 10, 1), (0, 8, 250)]


async def test_no_more_than_a_page_and_a_second_is_held() -> None:
    found = await Listed([number // 2 for number in range(5000)]).windows(0, 5000)
    assert max(len(window.objects) for window in found) <= 102
