"""One node of a live run: ``python -m harness.live.node IMPLEMENTATION DEPLOYMENT.json ...``.

Owns nothing but the choice of the implementation that the node is, and the ports that faults of its clock, log, pace and conduct go through; the
rest is `killswitch.live.node`'s, as it would be deployed. A node that no such fault is aimed at has no port either.
"""

from __future__ import annotations

import signal
import sys

if "--guard" in sys.argv:  # an agent is asked to stop by a message; on a busy host the signal may come before all the rest of this file is read
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

from harness.live import wall_port
from harness.live.clock_port import boot_of, clock_of
from harness.live.log_port import log_at
from harness.live.pace_port import pace_of
from harness.live.wayward import node_of
from harness.shared import implementation
from killswitch.live import node
from killswitch.live.node import Fittings


def main() -> int:
    chosen = implementation.load(sys.argv[1])
    if "--guard" not in sys.argv:  # an agent reads its sidecar's wall clock, and one hand is enough for the page that says what it is
        wall_port.report()
    with chosen.installed():
        return node.main(sys.argv[2:], Fittings(chosen.machine, clock_of, log_at, pace_of, boot_of), node_of)


if __name__ == "__main__":
    sys.exit(main())
