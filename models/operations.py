"""Operations: what a caller asked for once, each call to Stripe that it took, and the answer that was given."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from tortoise import fields

from models.base import Changing, Identified


class OperationStatus(StrEnum):
    """RUNNING until it is settled; PARKED where only a person can tell what happened."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PARKED = "PARKED"


class StepStatus(StrEnum):
    """PLANNED is written before the call leaves: it may or may not have reached Stripe."""

    PLANNED = "PLANNED"
    DONE = "DONE"
    REFUSED = "REFUSED"


class Operation(Changing):
    """One intent of a caller, known by (caller, idempotency key).

    `arguments` is what a later process needs to go on with it; `error` the recorded refusal, as
    `DomainError.to_record()` wrote it. While RUNNING, only the holder of the lease may act on it, until `leased_until`.
    """

    caller = fields.CharField(max_length=300)
    idempotency_key = fields.CharField(max_length=255)
    kind = fields.CharField(max_length=64)
    arguments_hash: bytes = fields.BinaryField()
    arguments: dict[str, Any] = fields.JSONField(default=dict)
    subject_id: UUID = fields.UUIDField()
    status = fields.CharEnumField(OperationStatus, max_length=16, default=OperationStatus.RUNNING)
    error: dict[str, Any] | None = fields.JSONField(null=True)
    attempts = fields.IntField(default=0)
    leased_until: datetime = fields.DatetimeField()
    finished_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "operations"


class OperationStep(Identified):
    """One call to Stripe, stored before it leaves; a replay sends the same bytes under the same key.

    Its idempotency key is `operation:step:attempt`. A new attempt is made only where a complete list proves that the
    one before never happened. `response` is kept where a later step of the operation needs it.
    """

    operation_id: UUID = fields.UUIDField()
    step = fields.CharField(max_length=64)
    attempt = fields.IntField(default=1)
    method = fields.CharField(max_length=8)
    path = fields.TextField()
    body = fields.TextField()
    stripe_account = fields.CharField(max_length=64, null=True)
    api_version = fields.CharField(max_length=64)
    status = fields.CharEnumField(StepStatus, max_length=16, default=StepStatus.PLANNED)
    stripe_object_id = fields.CharField(max_length=64, null=True)
    stripe_request_id = fields.CharField(max_length=64, null=True)
    outcome = fields.CharField(max_length=255, null=True)
    response: dict[str, Any] | None = fields.JSONField(null=True)
    answered_at: datetime | None = fields.DatetimeField(null=True)

    class Meta:
        table = "operation_steps"
        unique_together = (("operation_id", "step", "attempt"),)
