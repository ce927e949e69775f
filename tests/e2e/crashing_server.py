"""The server, killed by SIGKILL at a boundary once the file CRASH_FILE names it: "called /v1/refunds".

reserved: reserve is committed and nothing sent; called: Stripe has done it and its answer is not looked at; settling:
inside the transaction that settles; settled: that is committed and nobody has been answered.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import server
from services import operations
from services.completion import Operations
from services.payments import settlement as payment_settlement
from services.refunds import settlement as refund_settlement
from services.stripe_gateway import StripeGateway

CRASH_FILE = Path(os.environ["CRASH_FILE"])


def die_at(boundary: str, path: str | None = None) -> None:
    armed = CRASH_FILE.read_text().split(" ") if CRASH_FILE.exists() else ["", ""]
    if armed[0] == boundary and path in {None, armed[1]}:
        CRASH_FILE.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def crash_around_the_call() -> None:
    send = StripeGateway.send

    async def crashing(self: StripeGateway, request: Any, **options: Any) -> Any:
        writes = request.method == "post"
        if writes:
            die_at("reserved", request.path)
        response = await send(self, request, **options)
        if writes:
            die_at("called", request.path)
        return response

    StripeGateway.send = crashing  # type: ignore[method-assign]


def crash_around_the_settlement() -> None:
    run, finish, add_ends = Operations._run, operations.finish, operations.add_ends

    async def crashing_run(self: Any, services: Any, operation: Any, *rest: Any) -> Any:
        ended = await run(self, services, operation, *rest)
        if operation.kind != "create_customer":
            die_at("settled")
        return ended

    async def crashing_finish(*arguments: Any, **options: Any) -> None:
        die_at("settling")
        await finish(*arguments, **options)

    def crashing_ends(*arguments: Any, **options: Any) -> None:
        die_at("settling")
        add_ends(*arguments, **options)

    Operations._run = crashing_run  # type: ignore[assignment,method-assign]
    vars(refund_settlement)["finish"] = crashing_finish
    vars(payment_settlement)["add_ends"] = crashing_ends


if __name__ == "__main__":
    crash_around_the_call()
    crash_around_the_settlement()
    sys.exit(server.main())
