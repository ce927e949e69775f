"""Become another program that does not outlive its parent: a child's first moments, run on its own with `python -IS`.

    launcher.py PARENT SIGNAL WATCH SESSION IDENTITY FOLDER COMMAND…

PARENT is the id of the process that must live, SIGNAL the number of the signal that the program gets when it does not.
WATCH is a descriptor whose other end only the parent holds, where the kernel cannot tell of its death, else -1.
SESSION is `own` where Ctrl-C is for the parent alone, which then stops its children in order, else `shared`.
IDENTITY says as whom the program runs: `same`, `namespace:UID:GID` (root seen as that user in a namespace of its own;
files stay root's) or `drop:UID:GID` (that user). FOLDER is one that the program must be able to write in, then.

Exit status 126: this identity cannot be had here.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000
UNAVAILABLE = 126
STOP_S = 10


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _enter_namespace(uid: int, gid: int) -> None:
    """See root as another user: PostgreSQL minds only the number, and files stay owned by who they are owned by."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _checked(_libc().unshare(CLONE_NEWUSER))
    maps = (("setgroups", "deny"), ("uid_map", f"{uid} {outer_uid} 1"), ("gid_map", f"{gid} {outer_gid} 1"))
    for name, content in maps:
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(content)


def _drop(uid: int, gid: int) -> None:
    """Become another user, who may still pass the folders on the way to the programs and the data where root may."""
    keep = sys.platform == "linux" and _libc().prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if not keep:
        return
    bit = 1 << CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, twice 32 bits. Exactly what becomes ambient, or exec would count as a gain
    # of privileges and clear the signal that follows the parent's death.
    wanted = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if _libc().capset(header, wanted) == 0:
        _libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0)
        return
    _checked(_libc().capset(header, (ctypes.c_uint32 * 6)()))


def _assume(identity: str, folder: str) -> None:
    kind, _, ids = identity.partition(":")
    if kind == "same":
        return
    uid, _, gid = ids.partition(":")
    try:
        (_enter_namespace if kind == "namespace" else _drop)(int(uid), int(gid))
        probe = os.path.join(folder, ".writable")
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        os.unlink(probe)
    except (OSError, AttributeError) as error:
        print(f"{identity}: {error}", file=sys.stderr)
        raise SystemExit(UNAVAILABLE) from None


def _follow(parent: int, death: int) -> None:
    """Have the kernel send the signal; after the change of identity, which would clear it."""
    _checked(_libc().prctl(PR_SET_PDEATHSIG, death, 0, 0, 0))
    if os.getppid() != parent:
        raise SystemExit(1)  # it died before it could be followed


def _watch(watch: int, death: int, command: list[str]) -> int:
    """Run the program below this process, which waits for whichever ends first: the program or the parent."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    program = os.posix_spawn(command[0], command, os.environ)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda received, _: os.kill(program, received))
    watched = [watch, wake]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if watch in ready:
            watched.remove(watch)
            os.kill(program, death)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(program, signal.SIGKILL))
            signal.alarm(STOP_S)
        if wake in ready:
            os.read(wake, 64)
            pid, status = os.waitpid(program, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status) % 256


def main(arguments: list[str]) -> int:
    """Follow the parent, and become the program."""
    parent, death, watch = (int(argument) for argument in arguments[:3])
    session, identity, folder, *command = arguments[3:]
    if session == "own":
        os.setsid()
    _assume(identity, folder)
    if watch >= 0:
        return _watch(watch, death, command)
    if sys.platform == "linux":
        _follow(parent, death)
    try:
        os.execv(command[0], command)  # noqa: S606  a program of ours, with arguments of ours
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
