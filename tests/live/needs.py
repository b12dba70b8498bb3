"""What single tests need of the host, tried once by whoever collects them, and why it is not there where it is not."""

from __future__ import annotations

import pytest

from harness.live import packet_queue, small_disks, wall_port

_WALLS, _PACKETS, _DISKS = wall_port.why_not(), packet_queue.why_not(), small_disks.why_not()

wall_clocks = pytest.mark.skipif(bool(_WALLS), reason=f"no wall clock can be set here: {_WALLS}")
packets = pytest.mark.skipif(bool(_PACKETS), reason=f"no packets can be queued here: {_PACKETS}")
small_file_systems = pytest.mark.skipif(bool(_DISKS), reason=f"this host lets nobody mount a small file system: {_DISKS}")
