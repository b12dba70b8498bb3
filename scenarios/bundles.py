"""The policies that scenarios roll out, by name: Cedar texts and the cases that they were held against.

Owns where they are kept. Must not know how a policy is decided or rolled out. ``cases.json`` lists, for each policy, requests with the ruling
that its author expects; a test plays them, and their hash travels with a policy when it is installed.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "policies"
CASES = FOLDER / "cases.json"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.cedar")))


@cache
def text(name: str) -> str:
    """The Cedar text of a policy. Raises `OSError` for a name that is not in `NAMES`."""
    return (FOLDER / f"{name}.cedar").read_text("utf-8")


@cache
def tests_hash() -> str:
    """SHA-256 of the cases, in hex."""
    return hashlib.sha256(CASES.read_bytes()).hexdigest()
