"""Stripe's errors, in its own JSON ("Errors", "Error codes")."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """An answer that is not a success.

    Attributes:
        keeps_changes: what the request did until then stays, as a decline leaves a failed charge behind.
        is_saved: whether the answer belongs to the idempotency key; refused parameters do not ("Idempotent requests").
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type_: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keeps_changes: bool = False,
        is_saved: bool = True,
        headers: tuple[tuple[str, str], ...] = (),
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type_
        self.code = code
        self.param = param
        self.keeps_changes = keeps_changes
        self.is_saved = is_saved
        self.headers = headers
        self.fields = fields

    def body(self, request_id: str) -> Json:
        """The answer's JSON."""
        error: Json = {}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        error.update({name: value for name, value in self.fields.items() if value is not None})
        error["message"] = str(self)
        if self.param is not None:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        error["type"] = self.type
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None, **fields: Any) -> ApiError:
    """400 invalid_request_error."""
    return ApiError(message, param=param, code=code, **fields)


def missing_object(kind: str, id_: str, param: str, *, in_path: bool = False) -> ApiError:
    """404 for what the path names, 400 for what a parameter names."""
    return ApiError(
        f"No such {NAMES.get(kind, kind)}: '{id_}'", code="resource_missing", param=param,
        status=404 if in_path else 400
    )


def missing_param(name: str) -> ApiError:
    """A required parameter that is not there."""
    return invalid(f"Missing required param: {name}.", name, "parameter_missing", is_saved=False)


NAMES = {
    "account": "account",
    "payment_method": "PaymentMethod",
    "setup_intent": "setupintent",
    "application_fee": "application fee",
    "balance_transaction": "balance transaction",
    "webhook_endpoint": "webhook endpoint",
    "transfer_reversal": "transfer reversal",
    "fee_refund": "fee refund",
    "promotion_code": "promotion code",
    "customer_balance_transaction": "customer balance transaction",
    "test_helpers.test_clock": "test clock",
    "radar.early_fraud_warning": "early fraud warning",
    "file": "file upload",
    "topup": "top-up",
}
