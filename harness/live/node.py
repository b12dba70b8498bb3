"""One node of a live run: ``python -m harness.live.node IMPLEMENTATION DEPLOYMENT.json ...``.

Owns nothing but the choice of the implementation that the node is; the rest is `killswitch.live.node`'s, as it would be deployed.
"""

from __future__ import annotations

import sys

from harness import implementation
from killswitch.live import node


def main() -> int:
    chosen = implementation.load(sys.argv[1])
    with chosen.installed():
        return node.main(sys.argv[2:], chosen.machine)


if __name__ == "__main__":
    sys.exit(main())
