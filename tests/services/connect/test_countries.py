"""Where hosts can be: a country that Stripe does not know is refused, and nothing is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.connect_accounts import ConnectAccount, ConnectAccountType
from models.operations import Operation
from services.connect.accounts import create_connect_account
from services.errors import InvalidInput
from tests.support.shop import as_user

if TYPE_CHECKING:
    from tests.support.shop import Shop


@pytest.mark.parametrize("country", ["", "KP", "us", "USA"])
async def test_a_country_without_hosts_is_refused_by_name(shop: Shop, country: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await create_connect_account(
            shop.services, viewer=as_user(shop.guest), type_=ConnectAccountType.EXPRESS, country=country,
            idempotency_key="open",
        )  # fmt: skip
    assert list(refusal.value.path or []) == ["input", "country"]
    assert await ConnectAccount.filter(user_id=shop.guest.id).count() == 0
    assert await Operation.all().count() == 0
