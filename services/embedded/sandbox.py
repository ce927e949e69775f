"""The stand-in for Stripe, as a process of its own that is spoken to over HTTP like Stripe."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.embedded.children import Child, Program, running
from services.embedded.folders import HOST, kept_port, locked, own_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SECRET_KEY: Final = "sk_test_paydesk_sandbox"  # noqa: S105  the sandbox takes any key of this form
_PROJECT: Final = Path(__file__).resolve().parents[2]
_LEAVE_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where events go, and the secret that they are signed with."""

    url: str
    secret: str


@asynccontextmanager
async def sandbox(
    folder: Path,
    *,
    log: Path | None = None,
    port: int | None = None,
    platform: WebhookEndpoint | None = None,
    connect: WebhookEndpoint | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[str]:
    """A sandbox whose state stays in the folder.

    Args:
        folder: its own; made on first use.
        log: where it logs, `sandbox.log` in the folder if not said.
        port: the port to listen on; the folder remembers one if not said.
        platform: where events of the platform go.
        connect: where events of connected accounts go.
        options: more of its command line.

    Yields: where it is, such as http://127.0.0.1:12111.
    Raises: ConfigurationError.
    """
    folder = own_folder(folder)
    async with locked(folder, wait_s=_LEAVE_S) as lock:
        port = port or kept_port(folder / "port")
        endpoints = {"webhook": platform, "connect-webhook": connect}
        arguments = [
            argument
            for name, endpoint in endpoints.items()
            if endpoint
            for argument in (f"--{name}", endpoint.url, f"--{name}-secret", endpoint.secret)
        ]
        program = Program(
            "The sandbox",
            [sys.executable, "-m", "sandbox", "--port", str(port), "--data-dir", str(folder), *arguments, *options],
            log or folder / "sandbox.log", folder=folder, inherited=[lock], directory=_PROJECT,
            environment={"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

        async def ready(child: Child) -> bool:
            return child.said(b"ready http://")

        async with running(program, ready):
            yield f"http://{HOST}:{port}"
