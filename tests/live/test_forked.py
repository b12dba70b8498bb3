"""A child that an agent forks, alone with its socket: it ends by itself once nobody is at the other end, whatever it had to say."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.live import forked

pytestmark = pytest.mark.live


def test_a_child_with_nothing_to_say_yet_ends_when_its_sidecar_is_gone(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_bytes(forked.WANTED.pack(1).ljust(forked.SIZE, b"\0"))
    near, far = socket.socketpair()
    near.setblocking(False)
    way = near.fileno()
    child = subprocess.Popen([sys.executable, "-I", forked.__file__, str(way), str(page), "0"], pass_fds=[way])
    try:
        near.close()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(forked.ORPHANED_S + 1)  # its sidecar is there
        far.close()
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
