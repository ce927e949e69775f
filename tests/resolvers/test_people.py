from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from models.ledger import LedgerTransactionKind
from models.money import Money
from schema.ids import global_id
from services.ledger import FEES, GUESTS, PLATFORM, LedgerBatch, host_balance
from services.viewer import Viewer
from tests.resolvers.conftest import ADMIN, SERVICE, Api, Market, user
from tests.support.rows import add_account, add_activity, add_rsvp, add_user

if TYPE_CHECKING:
    from models.sets import AnyConnection


async def test_the_viewer_is_whoever_the_token_names(api: Api, market: Market, connection: AnyConnection) -> None:
    query = """{ viewer { user { externalId email }
        connectAccount { id chargesEnabled onboardingComplete user { name } }
        rsvps { edges { node { status quantity activity { title } } } pageInfo { hasNextPage } } } }"""
    guest = (await api.data(query, user("gustav")))["viewer"]
    assert guest == {
        "user": {"externalId": "gustav", "email": "gustav@example.com"}, "connectAccount": None,
        "rsvps": {
            "edges": [{"node": {"status": "CONFIRMED", "quantity": 1, "activity": {"title": "Wine tasting"}}}],
            "pageInfo": {"hasNextPage": False},
        },
    }  # fmt: skip
    host = (await api.data(query, user("henriette")))["viewer"]
    assert host["connectAccount"]["chargesEnabled"] is True
    assert host["connectAccount"]["user"] == {"name": "Henriette"}
    assert host["rsvps"]["edges"] == []
    for unknown in (user("nobody"), SERVICE, None):
        assert await api.data(query, unknown) == {"viewer": None}


async def test_an_account_is_seen_by_its_host_and_the_platform(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    account = await add_account(connection, market.stranger)
    query = "query($id: ID!) { node(id: $id) { ... on ConnectAccount { stripeAccountId defaultCurrency type } } }"
    id_ = global_id("ConnectAccount", account.id)
    seen = {"stripeAccountId": account.stripe_account_id, "defaultCurrency": "USD", "type": "EXPRESS"}
    for viewer, found in ((user("stella"), seen), (SERVICE, seen), (ADMIN, seen), (user("gustav"), None)):
        assert await api.data(query, viewer, id=id_) == {"node": found}


async def test_an_account_that_was_cut_off_or_is_being_opened_is_none(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    query = "{ viewer { connectAccount { id } } }"
    await add_account(connection, market.stranger, deauthorized_at=datetime.now(UTC))
    assert await api.data(query, user("stella")) == {"viewer": {"connectAccount": None}}
    opening = await add_account(connection, market.stranger, stripe_account_id=None)
    assert await api.data(query, user("stella")) == {"viewer": {"connectAccount": None}}
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert await api.data(node, user("stella"), id=global_id("ConnectAccount", opening.id)) == {"node": None}


async def test_an_account_that_stripe_restricts_says_why(api: Api, market: Market, connection: AnyConnection) -> None:
    requirement = {
        "field": "individual.verification.document", "urgency": "PAST_DUE", "error": "It cannot be read.",
        "deadline": "2030-06-01T18:00:00+00:00",
    }  # fmt: skip
    await add_account(
        connection, market.stranger, capabilities={"transfers": "inactive"}, requirements=[requirement]
    )
    query = "{ viewer { connectAccount { chargesEnabled requirements { field urgency error deadline } } } }"
    account = (await api.data(query, user("stella")))["viewer"]["connectAccount"]
    assert account == {
        "chargesEnabled": False, "requirements": [{**requirement, "deadline": "2030-06-01T18:00:00Z"}]
    }  # fmt: skip


async def test_a_host_abroad_cannot_be_paid_without_card_payments(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    await add_account(
        connection, market.stranger, country="DE", capabilities={"transfers": "active", "card_payments": "pending"}
    )
    viewer = (await api.data("{ viewer { connectAccount { chargesEnabled } } }", user("stella")))["viewer"]
    assert viewer == {"connectAccount": {"chargesEnabled": False}}


async def test_activities_are_seen_by_everyone_with_a_token(api: Api, market: Market) -> None:
    query = "query($id: ID!) { activity(id: $id) { title seatsTaken capacity host { name } } }"
    for viewer in (user("stella"), user("nobody"), SERVICE):
        data = await api.data(query, viewer, id=global_id("Activity", market.activity.id))
        assert data["activity"]["seatsTaken"] == 1
    assert await api.data(query, SERVICE, id=global_id("Activity", uuid4())) == {"activity": None}


async def test_amounts_are_written_in_the_locale_of_whoever_asks(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    query = """query($id: ID!, $locale: String) { activity(id: $id) { price { formatted(locale: $locale) } } }"""
    id_ = global_id("Activity", market.activity.id)
    await add_user(connection, external_id="dirk", locale="de-DE")

    async def written(viewer: Viewer, language: str | None, locale: str | None) -> Any:
        data = await api.data(query, viewer, accept_language=language, id=id_, locale=locale)
        return data["activity"]["price"]["formatted"]

    assert await written(user("dirk"), "fr", None) == "20,00\xa0$"
    assert await written(user("dirk"), "fr", "en-US") == "$20.00"
    assert await written(user("gustav"), "de, en;q=0.5", None) == "20,00\xa0$"
    assert await written(SERVICE, None, None) == "$20.00"
    assert await written(SERVICE, None, "xx") == "$20.00"


async def test_rsvps_come_in_pages(api: Api, market: Market, connection: AnyConnection) -> None:
    activity = await add_activity(connection, market.host)
    made = [await add_rsvp(connection, activity, market.stranger) for _ in range(3)]
    query = """query($first: Int, $after: String) { viewer { rsvps(first: $first, after: $after) {
        edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""
    page = (await api.data(query, user("stella"), first=2))["viewer"]["rsvps"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Rsvp", row.id) for row in made[:0:-1]]
    page = (await api.data(query, user("stella"), first=2, after=page["pageInfo"]["endCursor"]))["viewer"]["rsvps"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [global_id("Rsvp", made[0].id)]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (False, True)


async def test_the_movements_of_a_payment_say_where_its_money_is(
    api: Api, market: Market, connection: AnyConnection
) -> None:
    paid, fee = Money(2000, "USD"), Money(200, "USD")
    host = host_balance(market.host.id)
    ledger = LedgerBatch()
    common: dict[str, Any] = {"occurred_at": datetime(2026, 6, 1, tzinfo=UTC), "payment_id": market.payment.id}
    ledger.move(LedgerTransactionKind.CHARGE, "charge:ch_1", [(GUESTS, -paid), (PLATFORM, paid)], **common)
    ledger.move(LedgerTransactionKind.TRANSFER, "transfer:ch_1", [(PLATFORM, -paid), (host, paid)], **common)
    ledger.move(LedgerTransactionKind.APPLICATION_FEE, "application_fee:ch_1", [(host, -fee), (FEES, fee)], **common)
    await ledger.write(connection)
    query = """query($id: ID!) { payment(id: $id) { movements {
        transactionId account amount { amount } occurredAt cause } } }"""
    for viewer in (user("gustav"), user("henriette"), SERVICE, ADMIN):
        data = await api.data(query, viewer, id=global_id("Payment", market.payment.id))
        movements = data["payment"]["movements"]
        assert [(m["account"], m["amount"]["amount"], m["cause"]) for m in movements] == [
            ("guest_clearing", "-20.00", "charge:ch_1"), ("platform_balance", "20.00", "charge:ch_1"),
            ("platform_balance", "-20.00", "transfer:ch_1"), ("host_balance:henriette", "20.00", "transfer:ch_1"),
            ("host_balance:henriette", "-2.00", "application_fee:ch_1"),
            ("application_fees", "2.00", "application_fee:ch_1"),
        ]  # fmt: skip
        assert len({m["transactionId"] for m in movements}) == 3
        assert {m["occurredAt"] for m in movements} == {"2026-06-01T00:00:00Z"}


async def test_an_address_is_read_in_full_by_its_owner_and_the_platform_alone(api: Api, market: Market) -> None:
    query = "query ($id: ID!) { activity(id: $id) { host { email } } }"
    activity = global_id("Activity", market.activity.id)
    seen = {
        viewer.external_id: (await api.data(query, viewer, id=activity))["activity"]["host"]["email"]
        for viewer in (user("henriette"), user("gustav"), SERVICE, ADMIN)
    }
    assert seen.pop("gustav") == "h…@example.com"
    assert set(seen.values()) == {"henriette@example.com"}
