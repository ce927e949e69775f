"""Hosts' connected accounts at Stripe, and what keeps one from being paid."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tortoise import fields

from models.base import Changing

if TYPE_CHECKING:
    from models.users import User


class ConnectAccountType(StrEnum):
    """Who faces the host: Stripe's Express dashboard, Stripe's own dashboard, or the platform."""

    EXPRESS = "EXPRESS"
    STANDARD = "STANDARD"
    CUSTOM = "CUSTOM"


class RequirementUrgency(StrEnum):
    """How soon Stripe wants a requirement met (Account object, `requirements`), the most pressing first."""

    PAST_DUE = "PAST_DUE"
    CURRENTLY_DUE = "CURRENTLY_DUE"
    PENDING_VERIFICATION = "PENDING_VERIFICATION"
    EVENTUALLY_DUE = "EVENTUALLY_DUE"


class ConnectAccount(Changing):
    """One connected account of a host.

    `capabilities` maps a capability to its status; `requirements` is a list of {field, urgency, error, deadline}, as
    Stripe's Account object says them. A host has at most one account that is not deauthorized.
    `version` and `position` order its changes in the event stream.
    """

    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="connect_accounts", on_delete=fields.RESTRICT
    )
    user_id: UUID
    stripe_account_id = fields.CharField(max_length=64, null=True, unique=True)
    type = fields.CharEnumField(ConnectAccountType, max_length=16)
    country = fields.CharField(max_length=2)
    default_currency = fields.CharField(max_length=3)
    details_submitted = fields.BooleanField(default=False)
    stripe_charges_enabled = fields.BooleanField(default=False)
    payouts_enabled = fields.BooleanField(default=False)
    capabilities: dict[str, str] = fields.JSONField(default=dict)
    requirements: list[dict[str, Any]] = fields.JSONField(default=list)
    disabled_reason = fields.CharField(max_length=255, null=True)
    payout_schedule: dict[str, Any] | None = fields.JSONField(null=True)
    deauthorized_at: datetime | None = fields.DatetimeField(null=True)
    version: int = fields.IntField(default=1)
    position: int = fields.BigIntField(default=0)

    class Meta:
        table = "connect_accounts"

    def settles(self, platform_country: str) -> bool:
        """Whether the host is the settlement merchant: across a border ("Cross-border payouts", "on_behalf_of")."""
        return self.country != platform_country

    def never_receives(self) -> list[str]:
        """Why this account can never be sent a transfer, in Stripe's names of requirements; empty where it can.

        A STANDARD host's losses are Stripe's, so that transfers are not possible ("Create separate charges and
        transfers").
        """
        return ["standard_accounts_need_direct_charges"] if self.takes_direct_charges else []

    def transfer_hindrances(self) -> list[str]:
        """Why this account cannot be sent a transfer now, in Stripe's names of requirements; empty where it can.

        What makes it ready is the active `transfers` capability ("Account capabilities").
        """
        return self._own_hindrances() or self.never_receives() or self._missing(("transfers",))

    def _own_hindrances(self) -> list[str]:
        if self.stripe_account_id is None:
            return ["account_creation_pending"]
        return ["account_deauthorized"] if self.deauthorized_at is not None else []

    @property
    def takes_direct_charges(self) -> bool:
        """Whether guests are charged on this account itself ("Create direct charges").

        A STANDARD host's losses are Stripe's, so that destination charges are not possible.
        """
        return self.type is ConnectAccountType.STANDARD

    def hindrances(self, platform_country: str) -> list[str]:
        """Why Paydesk cannot pay this host now, in Stripe's names of requirements; empty where it can.

        What makes a host ready is the active `transfers` capability ("Account capabilities"), with `card_payments`
        too where the host is the settlement merchant, and that alone for direct charges.
        """
        own = self._own_hindrances()
        if own:
            return own
        if self.takes_direct_charges:
            return self._missing(("card_payments",))
        return self._missing(("transfers", "card_payments") if self.settles(platform_country) else ("transfers",))

    def _missing(self, needed: tuple[str, ...]) -> list[str]:
        missing = [name for name in needed if self.capabilities.get(name) != "active"]
        if not missing:
            return []
        pressing = [
            entry["field"]
            for entry in self.requirements
            if entry["urgency"] in {RequirementUrgency.PAST_DUE, RequirementUrgency.CURRENTLY_DUE}
        ]
        if pressing:
            return pressing
        if self.disabled_reason:
            return [self.disabled_reason]
        pending = [entry["field"] for entry in self.requirements]
        return pending or [f"capability.{name}" for name in missing]

    def can_be_paid(self, platform_country: str) -> bool:
        """Whether Paydesk can pay this host now."""
        return not self.hindrances(platform_country)
