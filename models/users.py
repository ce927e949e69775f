"""People: guests and hosts alike, as the platform knows them."""

from __future__ import annotations

from tortoise import fields

from models.base import Changing


class User(Changing):
    """One person; `external_id` is the platform's own id, the `sub` of a token.

    `methods_asked` counts how often Stripe was asked for the person's payment methods, and `methods_settled` is the
    latest asking that was written down: an answer to an earlier one is old.
    """

    external_id = fields.CharField(max_length=255, unique=True)
    email = fields.CharField(max_length=320)
    name = fields.CharField(max_length=255)
    country = fields.CharField(max_length=2, null=True)
    locale = fields.CharField(max_length=35, null=True)
    stripe_customer_id = fields.CharField(max_length=64, null=True, unique=True)
    methods_asked = fields.IntField(default=0)
    methods_settled = fields.IntField(default=0)

    class Meta:
        table = "users"
