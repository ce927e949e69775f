"""`python -m benchmarks`: measure payments, webhooks and live updates beside the floor, in one interleaved run."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import cpu_s, driver, rss_mb
from benchmarks.system import WEBHOOK_SECRET, Parts, Paydesk, floor, parts, paydesk

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).with_name("results")


@dataclass
class Window:
    """One stretch of load: what came of it, and what it cost for each thing done."""

    name: str
    concurrency: int
    count: int
    per_s: float
    p50_ms: float
    p95_ms: float
    server_ms: float
    postgres_ms: float
    rss_mb: float
    bad: int
    more: dict[str, float] = field(default_factory=dict)


async def load(
    name: str, spec: dict[str, Any], *, server: int, postgres: int, after_s: float = 0.05, per: int = 1
) -> Window:
    """Drive a server for a while.

    Args:
        after_s: how long what follows the answers is waited for and counted.
    """
    async with driver("benchmarks.load", spec) as client:
        before = cpu_s(server), cpu_s(postgres)
        client.tell()
        result = await client.result()
        await asyncio.sleep(after_s)
        after = cpu_s(server), cpu_s(postgres)
    if result["bad"]:
        print(f"{name}: {result['bad']} of {result['count']} went wrong, such as {result['first_bad'][0]}")
    count = result["count"]
    return Window(
        name, spec["concurrency"], count, count / result["seconds"], result["p50_ms"], result["p95_ms"],
        1000 * (after[0] - before[0]) / count, 1000 * (after[1] - before[1]) / count, rss_mb(server), result["bad"],
    )  # fmt: skip


def payments_of(system: Paydesk, concurrency: int, seconds: float) -> dict[str, Any]:
    return {
        "kind": "payments", "url": system.server.url, "concurrency": concurrency, "seconds": seconds,
        "tokens": system.tokens[:-1], "activities": system.activities,
    }  # fmt: skip


async def measure_payments(options: argparse.Namespace, common: Parts) -> list[Window]:
    """Payments at each concurrency, the floor and Paydesk in turn; then webhooks and live updates of that Paydesk."""
    windows = []
    async with (
        floor(common, latency_ms=options.latency_ms) as least,
        paydesk(common, "payments", latency_ms=options.latency_ms, worker=options.worker) as system,
        AsyncExitStack() as stack,
    ):
        pid = common.postgres_pid
        systems = {"payment": system}
        if options.against is not None:
            other = paydesk(common, "other", latency_ms=options.latency_ms, worker=options.worker, root=options.against)
            systems["payment there"] = await stack.enter_async_context(other)
        for _ in range(options.rounds):
            for concurrency in options.concurrency:
                spec = payments_of(system, concurrency, options.seconds) | {"url": least.url}
                windows.append(await load("floor", spec, server=least.pid, postgres=pid))
                for name, each in systems.items():
                    spec = payments_of(each, concurrency, options.seconds)
                    windows.append(await load(name, spec, server=each.server.pid, postgres=pid))
        if "webhooks" in options.only:
            spec = {
                "kind": "webhooks", "url": f"{system.base}/webhooks/stripe", "secret": WEBHOOK_SECRET,
                "concurrency": 64, "seconds": options.seconds,
            }  # fmt: skip
            windows += [
                await load("webhook stored", spec, server=system.server.pid, postgres=pid)
                for _ in range(min(2, options.rounds))
            ]
        if "live" in options.only:
            windows += [await measure_live(options, system, pid) for _ in range(min(2, options.rounds))]
    return windows


async def measure_live(options: argparse.Namespace, system: Paydesk, postgres: int) -> Window:
    """Deliveries of payments to the subscribers of their activities; what the payments themselves cost is taken off."""
    spec = payments_of(system, 4, options.seconds)
    alone = await load("payment", spec, server=system.server.pid, postgres=postgres)
    follow = {
        "url": system.server.url, "tokens": [system.tokens[-1]], "activities": system.activities,
        "subscribers": options.subscribers,
    }  # fmt: skip
    async with driver("benchmarks.listeners", follow) as listeners:
        listeners.tell()
        paid = await load("live delivery", spec, server=system.server.pid, postgres=postgres, after_s=1.0)
        listeners.tell()
        heard = await listeners.result()
    count = max(1, heard["deliveries"])
    return Window(
        "live delivery", options.subscribers, count, count / options.seconds, heard["lag_p50_ms"], heard["lag_p95_ms"],
        (paid.server_ms - alone.server_ms) * paid.count / count,
        (paid.postgres_ms - alone.postgres_ms) * paid.count / count, paid.rss_mb, paid.bad,
    )  # fmt: skip


async def measure_followed(options: argparse.Namespace, common: Parts) -> list[Window]:
    """Payments with all that follows them: the worker runs, and Stripe sends four events for each."""
    async with paydesk(common, "followed", latency_ms=options.latency_ms, worker=True, events=True) as system:
        spec = payments_of(system, 8, options.seconds)
        return [
            await load(
                "payment + 4 events", spec, server=system.server.pid, postgres=common.postgres_pid,
                after_s=options.seconds,
            )
            for _ in range(min(2, options.rounds))
        ]  # fmt: skip


def summary(windows: Sequence[Window]) -> list[Window]:
    """The median of the rounds, row by row in the order in which they came."""
    groups: dict[tuple[str, int], list[Window]] = {}
    for window in windows:
        groups.setdefault((window.name, window.concurrency), []).append(window)
    rows = []
    for (name, concurrency), group in groups.items():
        middle = {
            key: median(asdict(window)[key] for window in group)
            for key in ("count", "per_s", "p50_ms", "p95_ms", "server_ms", "postgres_ms", "rss_mb")
        }
        rows.append(Window(name, concurrency, bad=sum(window.bad for window in group), **middle))
    for row in rows:
        its = groups.get(("floor", row.concurrency), [])
        if row.name.startswith("payment") and its:
            # Pairs of one round are compared: what else the machine does changes from round to round.
            mine = groups[row.name, row.concurrency]
            row.more["x_floor"] = median(a.server_ms / b.server_ms for a, b in zip(mine, its, strict=True))
    return rows


def show(rows: Sequence[Window], console: Console) -> None:
    table = Table(title="CPU for each thing done: the median of the rounds")
    for heading in ("", "at once", "per s", "p50 ms", "p95 ms", "server CPU ms", "× floor", "PostgreSQL ms", "RSS MB"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in sorted(rows, key=lambda row: (row.name not in {"floor", "payment", "payment there"}, row.concurrency)):
        ratio = f"{row.more['x_floor']:.2f}" if "x_floor" in row.more else ""
        table.add_row(
            row.name, str(row.concurrency), f"{row.per_s:,.0f}", f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}",
            f"{row.server_ms:.3f}", ratio, f"{row.postgres_ms:.3f}", f"{row.rss_mb:.0f}",
        )  # fmt: skip
    console.print(table)


async def measure(options: argparse.Namespace) -> list[Window]:
    with tempfile.TemporaryDirectory(prefix="paydesk-bench-") as folder:
        async with parts(Path(folder)) as common:
            windows = await measure_payments(options, common)
            if "followed" in options.only:
                windows += await measure_followed(options, common)
    return windows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median is shown")
    parser.add_argument("--seconds", type=float, default=1.2, help="length of each stretch of load")
    parser.add_argument("--concurrency", type=int, nargs="*", default=[1, 64, 1000], help="payments at the same time")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long Stripe takes to answer")
    parser.add_argument("--worker", action="store_true", help="run background jobs beside the payments")
    parser.add_argument("--against", type=Path, help="another checkout of Paydesk, to compare payments with")
    parser.add_argument("--subscribers", type=int, default=200, help="who follow payments live")
    parser.add_argument(
        "--only", nargs="*", default=["webhooks", "live", "followed"], choices=["webhooks", "live", "followed"],
        help="what to measure beside payments",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    options = arguments()
    started = time.time()
    windows = asyncio.run(measure(options))
    rows = summary(windows)
    show(rows, Console(width=110))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(started))}.json"
    content = {
        "options": {key: str(value) for key, value in vars(options).items()},
        "rows": [asdict(row) for row in rows], "windows": [asdict(window) for window in windows],
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1))
    print(f"{time.time() - started:.0f} s; written to {path}")


if __name__ == "__main__":
    main()
