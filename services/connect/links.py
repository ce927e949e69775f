"""Links that take a host to Stripe: to finish onboarding, and to look at its account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from models.connect_accounts import ConnectAccountType
from services.connect.calls import call_stripe
from services.connect.own import own_account
from services.errors import InvalidState
from services.payments.facts import instant
from services.return_urls import allowed_return_url
from services.stripe_requests import create_account_link, create_login_link

if TYPE_CHECKING:
    from datetime import datetime

    from services.core import Services
    from services.viewer import Viewer

# Stripe's own dashboard, where STANDARD hosts log in by themselves ("Stripe Dashboard account").
STRIPE_DASHBOARD = "https://dashboard.stripe.com/"


@dataclass(frozen=True, slots=True)
class OnboardingLink:
    """A link that works once, until it expires ("The Account Link object")."""

    url: str
    expires_at: datetime


async def create_onboarding_link(
    services: Services, *, viewer: Viewer, return_url: str, refresh_url: str
) -> OnboardingLink:
    """A link to Stripe's onboarding for the viewer's account.

    Args:
        return_url: where the host comes back to; it says nothing of whether onboarding is complete.
        refresh_url: where the host is sent when the link is used up or expired; make a new one there.

    Raises: Forbidden, InvalidInput, InvalidState where there is no account, StripeUnavailable.
    """
    back = allowed_return_url(services.settings, return_url, field="returnUrl")
    anew = allowed_return_url(services.settings, refresh_url, field="refreshUrl")
    account = await own_account(viewer)
    # Links work once: each gets a key of its own, so that a repeated call never answers a used one.
    request = create_account_link(account.stripe_account_id or "", return_url=back, refresh_url=anew, key=str(uuid4()))
    body = await call_stripe(services, request, "Stripe refused to make an onboarding link.")
    return OnboardingLink(url=body["url"], expires_at=instant(body["expires_at"]))


async def create_dashboard_link(services: Services, *, viewer: Viewer) -> str:
    """A link to the dashboard of the viewer's account: a login link for EXPRESS, Stripe's own dashboard for STANDARD.

    Raises: Forbidden; InvalidState for CUSTOM, without an account, or before onboarding; StripeUnavailable.
    """
    account = await own_account(viewer)
    if account.type is ConnectAccountType.CUSTOM:
        raise InvalidState("Custom accounts have no dashboard at Stripe.", state=account.type.value)
    if account.type is ConnectAccountType.STANDARD:
        return STRIPE_DASHBOARD
    if not account.details_submitted:
        raise InvalidState("Finish the onboarding first.", state="ONBOARDING")
    request = create_login_link(account.stripe_account_id or "", key=str(uuid4()))
    body = await call_stripe(services, request, "Stripe refused to make a dashboard link.")
    return str(body["url"])
