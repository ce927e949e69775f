"""An operator's shell, in which importing the commands is paid for once: a command a line, as JSON, and its outcome.

Takes `{"environment": {…}, "arguments": […], "given": "…"}`, answers `[exit code, standard output, standard error]`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import manage


def run(arguments: list[str], given: str) -> tuple[Any, str, str]:
    said, complained = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    sys.argv, sys.stdin = ["manage.py", *arguments], io.TextIOWrapper(io.BytesIO(given.encode()))
    code: Any = "the command did not end the process"
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            manage.main()
        except SystemExit as end:
            code = end.code
    return code, *(stream.buffer.getvalue().decode() for stream in (said, complained))  # type: ignore[attr-defined]


for line in sys.__stdin__ or ():
    command = json.loads(line)
    os.environ.update(command["environment"])
    print(json.dumps(run(command["arguments"], command["given"])), flush=True)
