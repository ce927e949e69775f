"""Amounts of money, out and in."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import strawberry
from iso4217 import Currency as IsoCurrency

from models.currencies import CODES
from models.money import Money as Amount
from models.money import MoneyError
from schema.context import Info
from schema.described import expose, field, input_type, object_type
from schema.locales import format_money
from schema.scalars import BigInt
from services.errors import InvalidInput

MINOR_MAX = 10**15

if TYPE_CHECKING:

    class CurrencyCode(StrEnum):
        """A member for each code of `models.currencies`."""

else:
    CurrencyCode = StrEnum("CurrencyCode", {code: code for code in CODES})
    CurrencyCode.__doc__ = "ISO 4217 codes, all that Stripe can present."


def _name(code: str) -> str:
    return IsoCurrency(code).currency_name if code in IsoCurrency.__members__ else f"{code}, withdrawn from ISO 4217"


expose(CurrencyCode, **{code: _name(code) for code in CODES})


@object_type
class Money:
    """An exact amount of money."""

    amount: Decimal = strawberry.field(description="Major units, with exactly as many decimals as the currency has.")
    currency: CurrencyCode = strawberry.field(description="The currency.")
    minor_units: BigInt = strawberry.field(description="The same in the currency's smallest unit: 1250 for 12.50 EUR.")
    value: strawberry.Private[Amount]

    @classmethod
    def of(cls, value: Amount) -> Money:
        """From the models' own amount."""
        # Serializing a member of an enum walks all its values; the plain code is looked up in one step.
        code = cast("CurrencyCode", value.currency)
        return cls(amount=value.amount, currency=code, minor_units=BigInt(value.minor), value=value)

    @field
    async def formatted(
        self,
        info: Info,
        locale: Annotated[
            str | None,
            strawberry.argument(description="BCP 47, such as `de-AT`; one that is not known is taken by its language."),
        ] = None,
    ) -> str:
        """As people write it in that locale; by default the viewer's own, else what Accept-Language wants most."""
        return format_money(self.value, locale or await info.context.preferred_locale())


@input_type
class MoneyInput:
    """An amount of money, no finer than its currency can be charged."""

    amount: Decimal = strawberry.field(description='Major units: "12.50".')
    currency: CurrencyCode = strawberry.field(description="The currency.")

    def to_money(self, path: list[str]) -> Amount:
        """The models' own amount.

        Raises: InvalidInput where the currency cannot express it, or it is beyond all measure.
        """
        try:
            value = Amount.from_amount(self.amount, self.currency.value)
        except MoneyError as error:
            raise InvalidInput(path=path, message=str(error)) from None
        if abs(value.minor) > MINOR_MAX:
            raise InvalidInput(path=path, message="This amount is too large.")
        return value


def money_or_none(given: MoneyInput | None, path: list[str]) -> Amount | None:
    """An optional amount.

    Raises: InvalidInput.
    """
    return None if given is None else given.to_money(path)


