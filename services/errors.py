"""Everything expected that can go wrong, each with what a client can act on.

    DomainError
    ├── InvalidInput            NotFound            Forbidden           Unauthenticated
    ├── IdempotencyKeyReused    OperationInProgress StripeUnavailable
    ├── CardDeclined            HostNotReady        SoldOut             PriceChanged
    └── RefundExceedsBalance    InvalidState        StaleCursor

`str(error)` is fit for a guest to read. Each has one GraphQL type but Unauthenticated and StaleCursor, which no
mutation answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from models.money import Money


@dataclass(eq=False)
class DomainError(Exception):
    """One of them; `path` names the input at fault, from the argument down."""

    code: ClassVar[str] = ""

    message: str = "This is not possible."
    path: list[str] | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return self.message

    def to_record(self) -> dict[str, Any]:
        """As an operation keeps it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        money = {name: {"minor": v.minor, "currency": v.currency} for name, v in values.items() if isinstance(v, Money)}
        return {"type": type(self).__name__, **values, **money}

    @staticmethod
    def from_record(record: dict[str, Any]) -> DomainError:
        """The error that was kept."""
        kind = {error.__name__: error for error in DomainError.__subclasses__()}[record["type"]]
        values = {name: value for name, value in record.items() if name != "type"}
        money = {
            name: Money(**value)
            for name, value in values.items()
            if isinstance(value, dict) and value.keys() == {"minor", "currency"}
        }
        return kind(**{**values, **money})


class InvalidInput(DomainError):
    """A value that cannot be; `field_name` is the input field as the API names it."""

    code = "INVALID_INPUT"

    def __init__(self, field_name: str = "", message: str = "", *, path: list[str] | None = None) -> None:
        super().__init__(message, path=path or ["input", *([field_name] if field_name else [])])


@dataclass(eq=False)
class NotFound(DomainError):
    """There is no such thing, or the viewer may not see it."""

    code = "NOT_FOUND"
    message: str = "There is no such thing."


@dataclass(eq=False)
class Forbidden(DomainError):
    """The viewer's role may never do this."""

    code = "FORBIDDEN"
    message: str = "You may not do this."


@dataclass(eq=False)
class Unauthenticated(DomainError):
    """No valid token came with the request."""

    code = "UNAUTHENTICATED"
    message: str = "This needs a valid token."


@dataclass(eq=False)
class StaleCursor(DomainError):
    """A cursor from before the database was restored."""

    code = "STALE_CURSOR"
    message: str = "This cursor is no longer valid. Read the state anew and subscribe without it."


@dataclass(eq=False)
class IdempotencyKeyReused(DomainError):
    """The same key came with other arguments."""

    code = "IDEMPOTENCY_KEY_REUSED"
    message: str = "This idempotency key was used with other arguments. Use a new key for a new request."


@dataclass(eq=False)
class CardDeclined(DomainError):
    """The guest's bank said no."""

    code = "CARD_DECLINED"
    decline_code: str | None = None
    retryable: bool = False


@dataclass(eq=False)
class HostNotReady(DomainError):
    """The host cannot be paid now; `requirements` are in Stripe's names."""

    code = "HOST_NOT_READY"
    message: str = "The host cannot take payments at the moment."
    requirements: list[str] = field(default_factory=list)


@dataclass(eq=False)
class SoldOut(DomainError):
    """There are not that many seats left."""

    code = "SOLD_OUT"
    message: str = "There are not enough seats left."
    seats_left: int = 0


@dataclass(eq=False)
class PriceChanged(DomainError):
    """The price is no longer what the client expected."""

    code = "PRICE_CHANGED"
    message: str = "The price has changed. Please look at it again."
    price: Money = field(default_factory=lambda: Money(0, "USD"))


@dataclass(eq=False)
class RefundExceedsBalance(DomainError):
    """More than is left to refund."""

    code = "REFUND_EXCEEDS_BALANCE"
    message: str = "This is more than what is left to refund."
    refundable: Money = field(default_factory=lambda: Money(0, "USD"))


@dataclass(eq=False)
class InvalidState(DomainError):
    """The move is not possible from the state the thing is in."""

    code = "INVALID_STATE"
    state: str = ""


@dataclass(eq=False)
class OperationInProgress(DomainError):
    """The same operation is still under way."""

    code = "OPERATION_IN_PROGRESS"
    message: str = "This is still being worked on. Please ask again with the same idempotency key."
    retry_after_seconds: int = 1


@dataclass(eq=False)
class StripeUnavailable(DomainError):
    """Stripe cannot be reached or is overloaded; nothing is lost."""

    code = "STRIPE_UNAVAILABLE"
    message: str = "Payments are not available at the moment. Nothing was lost: please try again with the same key."
    retry_after_seconds: int = 1
