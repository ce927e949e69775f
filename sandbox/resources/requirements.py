"""What Stripe wants to know of an account before it may be paid ("Required verification information")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sandbox import money

if TYPE_CHECKING:
    from sandbox.errors import Json

_EU_LIKE: Final = frozenset(
    "AT BE BG CH CY CZ DE DK EE ES FI FR GB GI GR HR HU IE IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()
)

_ADDRESS: Final = ("address.city", "address.line1", "address.postal_code")
_DOB: Final = ("dob.day", "dob.month", "dob.year")
_NAME: Final = ("first_name", "last_name")


def _person_fields(country: str) -> tuple[str, ...]:
    fields: tuple[str, ...] = (*_ADDRESS, *_DOB, "email", *_NAME, "phone")
    if country in ("US", "CA", "AU"):
        fields = (*fields, "address.state")
    if country == "US":
        fields = (*fields, "ssn_last_4")
    elif country not in _EU_LIKE:
        fields = (*fields, "id_number")
    return fields


def _company_fields(country: str) -> tuple[str, ...]:
    fields = (*(f"company.{name}" for name in _ADDRESS), "company.name", "company.phone", "company.tax_id")
    return (*fields, "company.address.state") if country in ("US", "CA", "AU") else fields


def due(account: Json, persons: list[Json]) -> list[str]:
    """The names of what is missing, in order of the alphabet."""
    country = account["country"]
    wanted = ["external_account", "tos_acceptance.date", "tos_acceptance.ip"]
    if not money.is_cross_border_only(country):
        wanted += ["business_profile.mcc", "business_profile.url"]
    kind = account["business_type"]
    if kind is None:
        wanted += ["business_type", *(f"representative.{name}" for name in _person_fields(country))]
    elif kind == "individual":
        wanted += [f"individual.{name}" for name in _person_fields(country)]
    else:
        wanted += [*_company_fields(country), "company.owners_provided"]
        wanted += [f"representative.{name}" for name in (*_person_fields(country), "relationship.title")]
    if account["_forced_due"]:
        wanted += [name for name in account["_forced_due"] if name not in wanted]
    return sorted(name for name in wanted if not _is_there(account, persons, name))


def _is_there(account: Json, persons: list[Json], name: str) -> bool:
    if name in account["_forced_due"]:
        return False
    head, _, rest = name.partition(".")
    if head == "external_account":
        return bool(account["_external_accounts"])
    if head in {"representative", "individual"}:
        person = next((p for p in persons if p["relationship"]["representative"]), None)
        if person is None and head == "individual" and persons:
            person = persons[0]
        return person is not None and _given(person, rest)
    if head == "company":
        return _given(account["_company"], rest)
    return _given(account, name)


def _given(body: Json, path: str) -> bool:
    if path in ("ssn_last_4", "id_number"):
        return bool(body.get("ssn_last_4_provided") if path == "ssn_last_4" else body.get("id_number_provided"))
    if path == "tax_id":
        return bool(body.get("tax_id_provided"))
    value: Any = body
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
        # A product description does for a web address.
        if value is None and part == "url":
            return bool((body.get("business_profile") or {}).get("product_description"))
    return value is not None and value is not False and value != ""


def person_fields(country: str) -> tuple[str, ...]:
    """What is wanted of the person behind an account."""
    return _person_fields(country)
