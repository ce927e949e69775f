"""What a part keeps in its folder: a lock, a port, secrets and logs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import secrets
import socket
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST: Final = "127.0.0.1"
# Below the ports that systems give to outgoing connections, so that a remembered one is still free the next time.
PORTS: Final = range(20_000, 32_000)
LOG_BYTES: Final = 2_000_000
_LOG_CHECK_S: Final = 20.0
_LOG_TAIL: Final = 8
_LOCK_POLL_S: Final = 0.02


def data_folder(folder: Path) -> Path:
    """The absolute path of the folder that all parts have theirs in; it is made if it is not there.

    Raises: ConfigurationError.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"PAYDESK_DATA_DIR: cannot make {folder} ({error.strerror}).") from None
    return folder


def own_folder(folder: Path) -> Path:
    """The folder's absolute path; it is made if it is not there, and nobody else may enter it.

    Raises: ConfigurationError.
    """
    folder = data_folder(folder)
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"PAYDESK_DATA_DIR: cannot use {folder} ({error.strerror}).") from None
    return folder


@asynccontextmanager
async def locked(folder: Path, *, wait_s: float = 0.0) -> AsyncIterator[int]:
    """Keep the folder for this process and those that inherit the yielded descriptor: it is free once all are gone.

    Args:
        folder: it exists.
        wait_s: seconds to wait for a holder that is about to end.
    Raises: ConfigurationError that names the holder.
    """
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"PAYDESK_DATA_DIR: cannot write in {folder} ({error.strerror}).") from None
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "(unknown)"
                    raise ConfigurationError(
                        f"{folder} is in use by process {holder}; stop it or use --data-dir."
                    ) from None
                await asyncio.sleep(_LOCK_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def kept_secret(path: Path) -> str:
    """The secret in the file, made on first use; only its owner may read it."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    secret = secrets.token_hex(16)
    write_private(path, secret)
    return secret


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def kept_port(path: Path) -> int:
    """The port of 127.0.0.1 that the file remembers, or another where that is taken by now."""
    with suppress(FileNotFoundError, ValueError):
        port = int(path.read_text(encoding="ascii"))
        if _is_free(port):
            return port
    for port in random.sample(PORTS, 200):
        if _is_free(port):
            path.write_text(str(port), encoding="ascii")
            return port
    raise ConfigurationError(f"No free port between {PORTS.start} and {PORTS.stop} on {HOST}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def log_tail(path: Path) -> str:
    """The last lines of a log."""
    with suppress(FileNotFoundError):
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL:])
    return ""


@asynccontextmanager
async def bounded_log(path: Path) -> AsyncIterator[int]:
    """A descriptor that children append to; what passes LOG_BYTES moves to `….1`, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    _turn(path, descriptor)
    turning = asyncio.create_task(_keep_turning(path, descriptor), name=f"log {path.name}")
    try:
        yield descriptor
    finally:
        turning.cancel()
        await asyncio.wait([turning])
        os.close(descriptor)


async def _keep_turning(path: Path, descriptor: int) -> None:
    while True:
        await asyncio.sleep(_LOG_CHECK_S)
        _turn(path, descriptor)


def _turn(path: Path, descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size <= LOG_BYTES:
        return
    # Children hold the file open: it is emptied, not renamed. A line written between these two calls is lost.
    newest = os.pread(descriptor, LOG_BYTES, size - LOG_BYTES)
    write_private(path.with_suffix(".log.1"), newest.decode(errors="replace"))
    os.ftruncate(descriptor, 0)
