"""The port through which a run makes a node slow: a page that says how long the node takes over each of its inputs, asked before each.

Owns the page and both its ends. The inputs that come meanwhile wait in the node's own inbox, and its connections are read all the same: what is
slow is the node, and not the host that it runs on.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.live import pages
from killswitch.live.node import Deployment

FOLDER = "paces"
TAKES_NS = struct.Struct("<q")


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory."""
    return pages.place(FOLDER, node, directory)


def pace_of(deployment: Deployment) -> Callable[[], Awaitable[None]] | None:
    """What the node of ``deployment`` waits for before each input; None if it has no page."""
    page = page_of(Path(deployment.directory).name, Path(deployment.directory).parents[1])
    if not page.exists():
        return None
    asked = pages.mapped(page)

    async def pace() -> None:
        (takes_ns,) = TAKES_NS.unpack_from(asked)
        if takes_ns:
            await asyncio.sleep(takes_ns / 1e9)

    return pace


class PaceSwitch:
    """The harness's end. Several faults may be on at once: their slowness adds up."""

    def __init__(self, path: Path) -> None:
        self._page = pages.made(path, bytes(TAKES_NS.size))
        self.path = path
        self._takes_ns: dict[str, int] = {}

    def slow(self, fault: str, by_ns: int) -> None:
        self._takes_ns[fault] = by_ns
        self._order()

    def let_be(self, fault: str) -> None:
        self._takes_ns.pop(fault, None)
        self._order()

    def _order(self) -> None:
        TAKES_NS.pack_into(self._page, 0, sum(self._takes_ns.values()))
