"""What every kind of object has to say for itself to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from models.connect_accounts import ConnectAccountType
from models.reconciliations import DriftRepair
from services.stripe_gateway import Priority, StripeInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from models.reconciliations import Drift
    from models.sets import AnyConnection
    from services.core import Services
    from services.reconciliation.sides import Difference, Side
    from services.stripe_requests import StripeRequest


@dataclass(frozen=True, slots=True)
class ComparedAccount:
    """One account at Stripe: '' for the platform's own, which has no type."""

    id: str
    type: ConnectAccountType | None = None

    @property
    def takes_charges(self) -> bool:
        """Whether charges that are ours are made on it: on the platform, and directly on STANDARD hosts."""
        return self.type in {None, ConnectAccountType.STANDARD}


@dataclass(frozen=True, slots=True)
class Remedy:
    """What can be done about a difference, and what that would do, in words."""

    repair: DriftRepair | None
    words: str


A_PERSON_HAS_TO_LOOK: Final = Remedy(None, "Nothing can safely be done about it: a person has to look.")
CORRECTION: Final = Remedy(DriftRepair.POST, "The repair posts what the ledger lacks of it, as a correction.")
POSTED: Final = "amount posted in the ledger"
"""What the amount of an object is called that the ledger has of it."""

_INTENTS: Final = """
SELECT stripe_payment_intent_id FROM payments WHERE stripe_payment_intent_id = ANY($1) AND stripe_account = $2
"""


async def of_known_intents(
    connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
) -> set[str]:
    """Stripe's ids of those objects that name the payment intent of a payment that is known here."""
    intents = {body["id"]: body.get("payment_intent") for body in bodies}
    records = await connection.fetch(_INTENTS, sorted({intent for intent in intents.values() if intent}), account)
    known = {record[0] for record in records}
    return {id_ for id_, intent in intents.items() if intent in known}


class ObjectKind:
    """A kind of object at Stripe."""

    name: ClassVar[str]
    """What Stripe calls it."""

    def is_on(self, account: ComparedAccount) -> bool:
        """Whether this account has any that concern us."""
        raise NotImplementedError

    def listing(self, account: str, first: int, until: int) -> StripeRequest:
        """The list of those that were made in [first, until), in seconds since the epoch."""
        raise NotImplementedError

    def retrieving(self, account: str, id_: str) -> StripeRequest:
        """One of them."""
        raise NotImplementedError

    def there(self, body: Mapping[str, Any]) -> Side | None:
        """What Stripe says of one; None for what is no business of ours."""
        raise NotImplementedError

    async def here(self, connection: AnyConnection, account: str, ids: Sequence[str]) -> dict[str, Side]:
        """What we say of those of them that we know, by Stripe's ids."""
        raise NotImplementedError

    async def made_between(
        self, connection: AnyConnection, account: str, first: datetime, until: datetime
    ) -> set[str]:
        """Stripe's ids of those that we hold to have been made then."""
        raise NotImplementedError

    def remedy(self, difference: Difference, body: Mapping[str, Any] | None, *, known: bool) -> Remedy:
        """What can be done about a difference.

        Args:
            body: as Stripe has it, None where it has it not.
            known: whether what it belongs to is ours.
        """
        raise NotImplementedError

    async def owned(
        self, connection: AnyConnection, account: str, bodies: Sequence[Mapping[str, Any]]
    ) -> set[str]:
        """Stripe's ids of those objects, none of them known here, that belong to something that is."""
        raise NotImplementedError

    async def mend(self, services: Services, drift: Drift, body: Mapping[str, Any], *, actor: str) -> None:
        """Carry out the repair of a drift; that it is gone by then is for the caller to see.

        Raises: InvalidState where it cannot be carried out; StripeError.
        """
        raise NotImplementedError

    async def fetch(self, services: Services, account: str, id_: str) -> dict[str, Any] | None:
        """One of them as Stripe has it now; None where it has not.

        Raises: StripeError.
        """
        try:
            response = await services.stripe.send(self.retrieving(account, id_), priority=Priority.BACKGROUND)
        except StripeInvalidRequest as error:
            if error.code != "resource_missing":
                raise
            return None
        return response.body
