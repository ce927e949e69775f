"""What runs in or for a folder, as Linux tells it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def processes_of(folder: Path) -> dict[int, str]:
    """Ids and command lines of the processes that work in the folder or were told of it."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if command and (str(folder) in command or (entry / "cwd").readlink().is_relative_to(folder)):
                found[int(entry.name)] = command
    return found


def wait_until_gone(folder: Path, within_s: float = 10) -> None:
    """Return once there are none; fails with what is left."""
    deadline = time.monotonic() + within_s
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
