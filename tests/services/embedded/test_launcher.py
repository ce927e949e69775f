from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.embedded.children import LAUNCHER
from tests.services.embedded.processes import processes_of, wait_until_gone

NOBODY = "65534:65534"
IDENTITIES = ["same", f"namespace:{NOBODY}", f"drop:{NOBODY}"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other identities")

# Starts the program below itself, with a pipe to watch where that is asked for, and waits.
PARENT = """
import os, subprocess, sys
launcher, identity, folder, watching, *command = sys.argv[1:]
watch, held = os.pipe() if watching == "pipe" else (-1, -1)
arguments = [sys.executable, "-IS", launcher, str(os.getpid()), "15", str(watch), "own", identity, folder, *command]
child = subprocess.Popen(arguments, pass_fds=[watch] if watch >= 0 else [])
print(child.pid, flush=True)
child.wait()
"""


def _launch(identity: str, folder: Path, *command: str, parent: int | None = None) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-IS", str(LAUNCHER), str(parent or os.getpid()), "15", "-1", "own", identity, str(folder)]
    return subprocess.run([*words, *command], capture_output=True, text=True, check=False)


@needs_root
@pytest.mark.parametrize("identity", IDENTITIES[1:])
def test_root_s_programs_run_as_somebody_else_who_may_write_in_the_folder_alone(identity: str, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    if identity.startswith("drop"):
        os.chown(own, 65534, 65534)
    os.chown(other, 1, 1)
    done = _launch(identity, own, "/bin/sh", "-c", f"id -u; id -g; touch {own}/written; touch {other}/written")
    assert done.stdout.split() == ["65534", "65534"]
    assert (own / "written").exists()
    assert not (other / "written").exists()


@needs_root
def test_an_identity_that_may_not_write_in_the_folder_is_refused_before_the_program_starts(tmp_path: Path) -> None:
    done = _launch(f"drop:{NOBODY}", tmp_path, "/bin/sh", "-c", "echo started")
    assert (done.returncode, done.stdout) == (126, "")


def test_a_program_whose_parent_died_before_it_began_does_not_begin(tmp_path: Path) -> None:
    done = _launch("same", tmp_path, "/bin/sh", "-c", "echo started", parent=2**22)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("watching", ["kernel", "pipe"])
@pytest.mark.parametrize("identity", [IDENTITIES[0], *(pytest.param(i, marks=needs_root) for i in IDENTITIES[1:])])
def test_a_program_ends_when_its_parent_is_killed(identity: str, watching: str, tmp_path: Path) -> None:
    if identity.startswith("drop"):
        os.chown(tmp_path, 65534, 65534)
    script = f"cd {tmp_path}; trap 'echo ended > ended; exit' TERM; echo > begun; while :; do sleep 0.05; done"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(LAUNCHER), identity, str(tmp_path), watching, "/bin/sh", "-c", script],
        stdout=subprocess.DEVNULL,
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    wait_until_gone(tmp_path)
    assert (tmp_path / "ended").exists()


def test_signals_pass_through_to_a_program_that_is_watched_over(tmp_path: Path) -> None:
    watch, held = os.pipe()
    script = f"cd {tmp_path}; trap 'exit 7' INT; echo > begun; while :; do sleep 0.05; done"
    words = [sys.executable, "-IS", str(LAUNCHER), str(os.getpid()), "15", str(watch), "own", "same", str(tmp_path)]
    launcher = subprocess.Popen([*words, "/bin/sh", "-c", script], pass_fds=[watch])
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait() == 7
    assert processes_of(tmp_path) == {}
    os.close(watch)
    os.close(held)
