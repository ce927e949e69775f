"""`/_sandbox/…`: faults, what a person or a bank would do, and a look at what came in. Needs no key."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response
from starlette.routing import Route

from sandbox import clocks, money_controls
from sandbox.errors import ApiError, Json, missing_object
from sandbox.expansion import shown
from sandbox.faults import server_error
from sandbox.invoices import policy
from sandbox.payouts import policy as payouts
from sandbox.resources import (
    balance,
    confirmation,
    onboarding,
    payment_intents,
    payment_methods,
    refund_outcomes,
    setup_intents,
)
from sandbox.test_cards import BANK_DECLINES
from sandbox.work import Work, visible

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.api import ApiApp
    from sandbox.engine import Engine

_Action = Callable[[Work, str, Json], Json]
_FLUSH_S: Final = 10.0
_SETTLED_S: Final = 30.0
_LOOK_S: Final = 0.01
_log: Final = logging.getLogger("sandbox")


def routes(engine: Engine, api: ApiApp) -> list[Route]:
    """The control routes."""
    control = _Control(engine, api)
    acting = {
        "/_sandbox/accounts/{id}/onboard": _onboard,
        "/_sandbox/accounts/{id}/restrict": _restrict,
        "/_sandbox/accounts/{id}/enable": _enable,
        "/_sandbox/accounts/{id}/deauthorize": _deauthorize,
        "/_sandbox/payment_intents/{id}/authenticate": _authenticate_payment,
        "/_sandbox/payment_intents/{id}/settle": _settle,
        "/_sandbox/payment_intents/{id}/expire": _expire,
        "/_sandbox/setup_intents/{id}/authenticate": _authenticate_setup,
        "/_sandbox/payment_methods/{id}/update_card": payment_methods.update_card,
        "/_sandbox/payment_methods/{id}/behave_as": _behave_as,
        "/_sandbox/test_clocks/{id}/limits": _limit_clock,
        "/_sandbox/refunds/{id}/fail": _fail_refund,
        "/_sandbox/refunds/{id}/succeed": _succeed_refund,
        **money_controls.ACTING,
    }
    return [
        Route("/_sandbox/faults", _guarded(control.faults), methods=["GET", "POST", "DELETE"]),
        Route("/_sandbox/requests", _guarded(control.requests), methods=["GET", "DELETE"]),
        Route("/_sandbox/webhooks", _guarded(control.webhooks), methods=["GET"]),
        Route("/_sandbox/webhooks/{what}", _guarded(control.command_webhooks), methods=["POST"]),
        Route("/_sandbox/test_clocks/{id}/settled", _guarded(control.settled), methods=["POST"]),
        Route("/_sandbox/billing", _guarded(control.billing), methods=["GET", "POST"]),
        Route("/_sandbox/payouts", _guarded(control.payouts), methods=["GET", "POST"]),
        Route("/_sandbox/balance/settle", _guarded(control.settle_balances), methods=["POST"]),
        Route("/_sandbox/health", _guarded(control.health), methods=["GET"]),
        *(Route(path, _guarded(control.acting(action)), methods=["POST"]) for path, action in acting.items()),
    ]


def _guarded(endpoint: Callable[[Request], Awaitable[Json]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            status, body = 200, await endpoint(request)
        except ApiError as error:
            status, body = error.status, error.body("req_sandbox")
        except Exception as error:  # noqa: BLE001 -- the answer is JSON whatever happens
            _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
            status, body = 500, server_error().body("req_sandbox")
        return Response(orjson.dumps(body), status, media_type="application/json")

    return answer


async def _json(request: Request) -> Json:
    body = await request.body()
    try:
        parsed: Any = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise ApiError("The body must be a JSON object.") from error
    if not isinstance(parsed, dict):
        raise ApiError("The body must be a JSON object.")
    return parsed


class _Control:
    def __init__(self, engine: Engine, api: ApiApp) -> None:
        self._engine = engine
        self._api = api

    async def faults(self, request: Request) -> Json:
        if request.method == "POST":
            self._engine.faults.set(await _json(request))
        elif request.method == "DELETE":
            self._engine.faults.clear()
        return self._engine.faults.config

    async def requests(self, request: Request) -> Json:
        if request.method == "DELETE":
            self._api.recent.clear()
        return {"requests": list(self._api.recent)}

    async def webhooks(self, request: Request) -> Json:
        deliveries = self._engine.deliveries
        return {"paused": deliveries.is_paused, "pending": deliveries.pending, "sent": deliveries.sent}

    async def command_webhooks(self, request: Request) -> Json:
        deliveries, what = self._engine.deliveries, request.path_params["what"]
        if what == "pause":
            deliveries.pause()
        elif what == "resume":
            deliveries.resume()
        elif what == "flush":
            params = await _json(request)
            await deliveries.flush(float(params.get("timeout_s", _FLUSH_S)))
        elif what == "resend":
            await self._resend(await _json(request))
        else:
            raise ApiError("There is pause, resume, flush and resend.", status=404)
        return await self.webhooks(request)

    async def _resend(self, params: Json) -> None:
        """Deliver events once more, as Stripe's dashboard can."""
        for id_ in params.get("events", []):
            if not await self._engine.deliver_again(id_):
                raise ApiError(f"No such event: '{id_}'", status=404, code="resource_missing")

    async def billing(self, request: Request) -> Json:
        """How the account retries what could not be collected."""
        store = self._engine.store
        if request.method == "POST":
            policy.change(store, await _json(request))
            await store.committed()
        return policy.policy(store).as_json()

    async def payouts(self, request: Request) -> Json:
        """What happens to payouts by themselves."""
        store = self._engine.store
        if request.method == "POST":
            payouts.change(store, await _json(request))
            await store.committed()
        return payouts.policy(store)

    async def settle_balances(self, request: Request) -> Json:
        """Let an account, or all, use at once what is pending."""
        wanted = (await _json(request)).get("account")
        accounts = self._engine.store.with_balance() if wanted is None else [str(wanted)]
        for account in accounts:
            work = self._engine.work_on(account)
            if work is None:
                raise missing_object("account", account, "account")
            balance.settle(work, account)
            await self._engine.finish(work)
        return {"accounts": accounts}

    async def health(self, request: Request) -> Json:
        return {"status": "ok", "objects": self._engine.store.statistics()}

    async def settled(self, request: Request) -> Json:
        """Wait until a test clock has arrived, and all that is held of webhooks has been taken."""
        id_, deliveries = request.path_params["id"], self._engine.deliveries
        latest = time.monotonic() + _SETTLED_S
        while True:
            row = self._engine.store.row(id_)
            if row is None or not row.listed or row.kind != clocks.KIND:
                raise missing_object(clocks.KIND, id_, "id", in_path=True)
            is_there = row.body["status"] != "advancing" and not self._engine.is_moving(id_)
            if is_there and (deliveries.is_paused or not deliveries.pending):
                return visible(row.body)
            if time.monotonic() > latest:
                raise ApiError(
                    f"The test clock is {row.body['status']}, and {deliveries.pending} webhooks are not delivered.",
                    status=504,
                )
            await asyncio.sleep(_LOOK_S)

    def acting(self, action: _Action) -> Callable[[Request], Awaitable[Json]]:
        async def endpoint(request: Request) -> Json:
            params = await _json(request)
            id_ = request.path_params["id"]
            work = self._engine.work_on(id_, str(request.base_url).rstrip("/"))
            if work is None:
                raise ApiError(f"No such object: '{id_}'", status=404, code="resource_missing")
            try:
                body = action(work, id_, params)
            except ApiError as error:
                if error.keeps_changes:
                    # A decline is an outcome, too: the object shows it.
                    await self._engine.finish(work)
                    return shown(work, work.any(id_) or {})
                raise
            await self._engine.finish(work)
            return shown(work, body)

        return endpoint


def _onboard(work: Work, id_: str, params: Json) -> Json:
    return onboarding.onboard(work, id_, first_name=params.get("first_name"), last_name=params.get("last_name"))


def _restrict(work: Work, id_: str, params: Json) -> Json:
    due = params.get("requirements") or params.get("currently_due") or ["individual.verification.document"]
    if not isinstance(due, list) or not all(isinstance(name, str) for name in due):
        raise ApiError("requirements is a list of names.")
    deadline = params.get("current_deadline")
    if deadline is not None and not isinstance(deadline, int):
        raise ApiError("current_deadline is in seconds since the epoch.")
    return onboarding.restrict(work, id_, due=due, disabled_reason=params.get("disabled_reason"), deadline=deadline)


def _enable(work: Work, id_: str, _params: Json) -> Json:
    return onboarding.restrict(work, id_, due=[], disabled_reason=None)


def _deauthorize(work: Work, id_: str, _params: Json) -> Json:
    return onboarding.deauthorize(work, id_)


def _succeeds(params: Json) -> bool:
    outcome = params.get("outcome", "success")
    if outcome not in ("success", "failure"):
        raise ApiError('outcome is "success" or "failure".')
    return bool(outcome == "success")


def _authenticate_payment(work: Work, id_: str, params: Json) -> Json:
    intent = work.edit("payment_intent", id_)
    confirmation.authenticated(work, intent, success=_succeeds(params))
    return intent


def _authenticate_setup(work: Work, id_: str, params: Json) -> Json:
    intent = work.edit("setup_intent", id_)
    setup_intents.authenticated(work, intent, success=_succeeds(params))
    return intent


def _settle(work: Work, id_: str, params: Json) -> Json:
    intent = work.edit("payment_intent", id_)
    failure = params.get("failure_code", "insufficient_funds")
    if failure not in BANK_DECLINES:
        raise ApiError(f"failure_code is one of {', '.join(BANK_DECLINES)}.")
    confirmation.settled(work, intent, None if _succeeds(params) else failure)
    return intent


def _expire(work: Work, id_: str, _params: Json) -> Json:
    intent = work.edit("payment_intent", id_)
    payment_intents.cancel_intent(work, intent, "automatic")
    return intent


def _behave_as(work: Work, id_: str, params: Json) -> Json:
    return payment_methods.behave_as(work, id_, params.get("test"))


def _limit_clock(work: Work, id_: str, params: Json) -> Json:
    """Stripe's limits on a clock, for tests that need more than it allows."""
    for name, limit in params.items():
        if name not in clocks.LIMITS or not isinstance(limit, int):
            raise ApiError(f"There are {' and '.join(clocks.LIMITS)}, which are numbers.")
    work.get(clocks.KIND, id_, "id", in_path=True)
    work.edit(clocks.KIND, id_)["_limits"].update(params)
    return work.get(clocks.KIND, id_)


def _fail_refund(work: Work, id_: str, params: Json) -> Json:
    reason = params.get("failure_reason", "expired_or_canceled_card")
    if reason not in refund_outcomes.FAILURES:
        raise ApiError(f"failure_reason is one of {', '.join(sorted(refund_outcomes.FAILURES))}.")
    return refund_outcomes.fail(work, id_, reason)


def _succeed_refund(work: Work, id_: str, _params: Json) -> Json:
    return refund_outcomes.succeed(work, id_)
