"""A ledger for tests that need one and do not look into it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.live.ledger import FILE, Ledger, Opened
from killswitch.live.process import identify


def a_ledger(directory: Path, run: str = "run") -> Ledger:
    owner = identify(os.getpid())
    assert owner is not None
    return Ledger(directory / FILE, Opened(run, owner, str(directory)))
