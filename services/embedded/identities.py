"""As whom PostgreSQL runs: it refuses root, and nothing outside its own folder may be changed for it."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from typing import TYPE_CHECKING

from services.embedded.children import Program, run_once

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


async def identity_for(folder: Path, command: Sequence[str], log: Path) -> str | None:
    """An identity, as launcher.py takes it, under which the command runs and may write in the folder.

    A user whose number has no name, as containers have them, is refused by `initdb`: in a namespace it has one.

    The folder is handed to it. For root, a namespace of its own comes first: it works below folders that only root may
    enter, and all files stay root's. Where containers forbid namespaces, PostgreSQL runs as `nobody`, who may read what
    root may where the system grants that.

    Args:
        folder: PostgreSQL's own; it exists.
        command: something harmless to try, such as `postgres --version`.
        log: where the tries leave their words.

    Returns: None where there is no such identity.
    """
    user = _unprivileged()
    in_namespace = f"namespace:{user.pw_uid}:{user.pw_gid}"
    if os.geteuid() != 0:
        if _has_name(os.geteuid()) or sys.platform != "linux":
            return "same"
        named = await run_once(Program("PostgreSQL", command, log, identity=in_namespace, folder=folder)) == 0
        return in_namespace if named else "same"
    candidates = [(in_namespace, 0, 0)] if sys.platform == "linux" else []
    candidates.append((f"drop:{user.pw_uid}:{user.pw_gid}", user.pw_uid, user.pw_gid))
    for identity, uid, gid in candidates:
        _hand_over(folder, uid, gid)
        if await run_once(Program("PostgreSQL", command, log, identity=identity, folder=folder)) == 0:
            return identity
    return None


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return next(user for user in pwd.getpwall() if user.pw_uid != 0)


def _hand_over(folder: Path, uid: int, gid: int) -> None:
    if folder.stat().st_uid == uid:
        return
    for path in folder.rglob("*"):
        os.chown(path, uid, gid, follow_symlinks=False)
    shutil.chown(folder, uid, gid)  # last: it says that all of it is
