"""The server, killed by SIGKILL at a named boundary of the next operation: `CRASH_AT="called /v1/refunds"`.

reserved: reserve is committed and nothing sent; called: Stripe has done it and its answer is not looked at; settling:
inside the transaction that settles; settled: that is committed and nobody has been answered.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import server
from services import operations
from services.payments import settlement as payment_settlement
from services.refunds import settlement as refund_settlement
from services.stripe_gateway import StripeGateway

BOUNDARY, PATH = os.environ["CRASH_AT"].split(" ")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_around_the_call() -> None:
    send = StripeGateway.send

    async def crashing(self: StripeGateway, request: Any, **options: Any) -> Any:
        meant = request.method == "post" and request.path == PATH
        if meant and BOUNDARY == "reserved":
            die()
        response = await send(self, request, **options)
        if meant and BOUNDARY == "called":
            die()
        return response

    StripeGateway.send = crashing  # type: ignore[method-assign]


def crash_around_the_settlement() -> None:
    run = operations.Operations._run

    async def crashing_run(self: Any, services: Any, operation: Any, *rest: Any) -> None:
        await run(self, services, operation, *rest)
        if operation.kind != "create_customer":
            die()

    async def crashing_finish(*_arguments: Any, **_options: Any) -> None:
        die()

    if BOUNDARY == "settled":
        operations.Operations._run = crashing_run  # type: ignore[assignment,method-assign]
    elif BOUNDARY == "settling":
        for module in (payment_settlement, refund_settlement):
            vars(module)["finish"] = crashing_finish


if __name__ == "__main__":
    crash_around_the_call()
    crash_around_the_settlement()
    sys.exit(server.main())
