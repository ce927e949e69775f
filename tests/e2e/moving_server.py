"""The server, in whose time it is as many seconds later as the file CLOCK_FILE says."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import server
from services.wiring import open_services

CLOCK_FILE = Path(os.environ["CLOCK_FILE"])


def now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(CLOCK_FILE.read_text()))


if __name__ == "__main__":
    vars(server)["open_services"] = partial(open_services, clock=now)
    sys.exit(server.main())
