"""Which way a charge reaches its hosts, who they are, and what of it is whose."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from models.activities import PayoutTiming
from models.payments import ChargeModel, shares_of
from services.errors import HostNotReady, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from models.activities import Activity
    from models.connect_accounts import ConnectAccount
    from models.money import Money

HOSTS_MAX = 20
SHARE_DECIMALS = 18


@dataclass(frozen=True, slots=True)
class Split:
    """One host's share of the hosts' part."""

    host_external_id: str
    share: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """One host of a payment, with the account that there is, which need not be able to take money yet."""

    host_id: UUID
    account: ConnectAccount | None
    share: Decimal = Decimal(1)

    @property
    def stripe_account_id(self) -> str:
        """The host's account at Stripe; '' where there is none yet."""
        return (self.account.stripe_account_id if self.account else None) or ""


@dataclass(frozen=True, slots=True)
class Charging:
    """How one payment is charged."""

    model: ChargeModel
    parts: Sequence[Part]
    on_behalf_of: str | None = None
    """The host who is the settlement merchant ("on_behalf_of")."""
    stripe_account: str = ""
    """The connected account that a direct charge is made on; '' for the platform."""

    def amounts(self, hosts_part: Money) -> list[Money]:
        """What of the hosts' part is whose, in the order of the parts."""
        return [hosts_part] if len(self.parts) == 1 else shares_of(hosts_part, [part.share for part in self.parts])


def charging_of(activity: Activity, parts: Sequence[Part], platform_country: str, *, shared: bool) -> Charging:
    """Pick the way: the one host of an activity who is paid at once is the destination of the charge, or is charged for
    on the host's own account where that is a STANDARD one ("Create direct charges"); else the platform charges, and
    sends each host's part when it is due ("Create separate charges and transfers").

    A host who is paid at once has to be able to take the money. Separate parts wait for their hosts, but not for those
    who can never be sent any.

    Args:
        shared: whether the guest's side said whose parts they are.

    Raises: HostNotReady.
    """
    if not shared and activity.payout_timing is PayoutTiming.IMMEDIATE:
        return _to_host(parts[0], platform_country)
    for index, part in enumerate(parts):
        never = part.account.never_receives() if part.account else []
        if never:
            path = split_path(index, "hostExternalId") if shared else None
            raise HostNotReady(requirements=never, path=path)
    return Charging(ChargeModel.SEPARATE, parts, _merchant(activity, parts, platform_country))


def _to_host(part: Part, platform_country: str) -> Charging:
    account = part.account
    if account is None or account.stripe_account_id is None:
        raise HostNotReady(requirements=["account_missing"])
    hindrances = account.hindrances(platform_country)
    if hindrances:
        raise HostNotReady(requirements=hindrances)
    if account.takes_direct_charges:
        return Charging(ChargeModel.DIRECT, (part,), stripe_account=account.stripe_account_id)
    merchant = account.stripe_account_id if account.settles(platform_country) else None
    return Charging(ChargeModel.DESTINATION, (part,), merchant)


def _merchant(activity: Activity, parts: Sequence[Part], platform_country: str) -> str | None:
    """The activity's host, where they have a part in it, are across a border, and can be the settlement merchant."""
    for part in parts:
        account = part.account
        if part.host_id == activity.host_id and account is not None and account.settles(platform_country):
            return account.stripe_account_id if account.can_be_paid(platform_country) else None
    return None


def check_splits(splits: Sequence[Split] | None) -> tuple[Split, ...]:
    """The splits that a caller asks for, as they can be; none where nothing is said.

    Raises: InvalidInput naming the one that cannot be.
    """
    if splits is None:
        return ()
    if not 1 <= len(splits) <= HOSTS_MAX:
        raise InvalidInput("splits", f"A payment is shared among 1 to {HOSTS_MAX} hosts.")
    seen: set[str] = set()
    for index, split in enumerate(splits):
        if split.host_external_id in seen:
            raise InvalidInput(path=split_path(index, "hostExternalId"), message="This host is named twice.")
        seen.add(split.host_external_id)
        share = split.share
        if not share.is_finite() or not 0 < share <= 1:
            raise InvalidInput(path=split_path(index, "share"), message="A share is more than 0, and 1 at most.")
        if share != round(share, SHARE_DECIMALS):
            raise InvalidInput(
                path=split_path(index, "share"), message=f"A share has {SHARE_DECIMALS} decimals at most."
            )
    total = sum((split.share for split in splits), Decimal(0))
    if total != 1:
        raise InvalidInput("splits", f"The shares add up to {total.normalize():f}, not to 1.")
    return tuple(splits)


def split_path(index: int, name: str) -> list[str]:
    """Where a value of one of the splits was given."""
    return ["input", "splits", str(index), name]
