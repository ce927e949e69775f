"""What a client can act on, as data: each error of the services has exactly one type here."""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import strawberry

from models.money import Money as Amount
from schema.described import interface_type, object_type
from schema.money import Money
from services import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


@interface_type
class UserError:
    """What a client can act on.

    Everything expected that can go wrong in a mutation is one of these, never a GraphQL error.
    """

    code: str = strawberry.field(description="Stable and machine-readable: CARD_DECLINED, HOST_NOT_READY …")
    message: str = strawberry.field(description="Fit to be shown to people.")
    path: list[str] | None = strawberry.field(
        description='The input field at fault, from the argument down: `["input", "quantity"]`.'
    )


@object_type
class InvalidInput(UserError):
    """A value that cannot be."""


@object_type
class NotFound(UserError):
    """There is no such thing, or the viewer may not see it."""


@object_type
class Forbidden(UserError):
    """The viewer's role may never do this."""


@object_type
class IdempotencyKeyReused(UserError):
    """The same idempotency key came with other arguments."""


@object_type
class CardDeclined(UserError):
    """The guest's bank said no."""

    decline_code: str | None = strawberry.field(description="Stripe's decline code: insufficient_funds, lost_card …")
    retryable: bool = strawberry.field(description="False where trying the same card again cannot help.")


@object_type
class HostNotReady(UserError):
    """The host cannot be paid at the moment."""

    requirements: list[str] = strawberry.field(description="What is missing, in Stripe's names.")


@object_type
class SoldOut(UserError):
    """There are not that many seats left."""

    seats_left: int = strawberry.field(description="How many there are.")


@object_type
class PriceChanged(UserError):
    """The price is not what the client expected."""

    price: Money = strawberry.field(description="What it is now.")


@object_type
class RefundExceedsBalance(UserError):
    """More than is left to refund."""

    refundable: Money = strawberry.field(description="What is left, refunds under way taken off.")


@object_type
class InvalidState(UserError):
    """The move is not possible from the state the thing is in."""

    state: str = strawberry.field(description="The state that it is in.")


@object_type
class OperationInProgress(UserError):
    """The same operation is still under way; the same key may be sent again after the wait."""

    retry_after_seconds: int = strawberry.field(description="How long to wait.")


@object_type
class StripeUnavailable(UserError):
    """Stripe cannot be reached or is overloaded; nothing is lost, and the same key may be sent again after the wait."""

    retry_after_seconds: int = strawberry.field(description="How long to wait.")


def error_types() -> Mapping[type[errors.DomainError], type[UserError]]:
    """The type of each error that a mutation can answer."""
    return {
        errors.InvalidInput: InvalidInput,
        errors.NotFound: NotFound,
        errors.Forbidden: Forbidden,
        errors.IdempotencyKeyReused: IdempotencyKeyReused,
        errors.CardDeclined: CardDeclined,
        errors.HostNotReady: HostNotReady,
        errors.SoldOut: SoldOut,
        errors.PriceChanged: PriceChanged,
        errors.RefundExceedsBalance: RefundExceedsBalance,
        errors.InvalidState: InvalidState,
        errors.OperationInProgress: OperationInProgress,
        errors.StripeUnavailable: StripeUnavailable,
    }


def user_error(error: errors.DomainError) -> UserError:
    """An error as clients see it: the type of its name, with the values of its fields.

    Raises: the error itself, where no payload may carry it (Unauthenticated).
    """
    kind = error_types().get(type(error))
    if kind is None:
        raise error
    values: dict[str, Any] = {"code": error.code, **{item.name: getattr(error, item.name) for item in fields(error)}}
    shown: dict[str, Any] = {
        name: Money.of(value) if isinstance(value, Amount) else value for name, value in values.items()
    }
    return kind(**shown)


def user_errors(error: errors.DomainError | None) -> list[UserError]:
    """A payload's errors, from the one that there may be."""
    return [] if error is None else [user_error(error)]


def payload(
    kind: Callable[..., Answer],
) -> Callable[[Callable[Arguments, Awaitable[Answer]]], Callable[Arguments, Awaitable[Answer]]]:
    """A mutation's resolver that answers `kind` with the error alone, where one of the services' errors is raised.

    Only those: anything else is a bug and stays an exception, and so does Unauthenticated.
    """

    def decorate(resolver: Callable[Arguments, Awaitable[Answer]]) -> Callable[Arguments, Awaitable[Answer]]:
        @wraps(resolver)
        async def answer(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            try:
                return await resolver(*args, **kwargs)
            except errors.DomainError as error:
                return kind(errors=user_errors(error))

        return answer

    return decorate


@object_type
class Payload:
    """What the payloads of mutations share."""

    errors: list[UserError] = strawberry.field(
        default_factory=list, description="What went wrong; empty where nothing did."
    )


