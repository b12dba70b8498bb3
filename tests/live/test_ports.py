"""Ports that are drawn long before anything listens on them: nobody else is given one meanwhile."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from harness.live import ports
from harness.live.ports import free_port, give_back

pytestmark = pytest.mark.live

# Draws from the same three ports as the test, until there is none left, and holds what it got until it is told to go.
OTHER = """
import sys
from harness.live import ports
ports.LOWEST, ports.HIGHEST = map(int, sys.argv[1:])
drawn = []
try:
    while True:
        drawn.append(ports.free_port())
except OSError:
    print(*drawn, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Three ports, and nothing else to draw."""
    lowest = random.randrange(32_001, 32_700)
    monkeypatch.setattr(ports, "LOWEST", lowest)
    monkeypatch.setattr(ports, "HIGHEST", lowest + 3)
    return lowest, lowest + 3


def other(narrow: tuple[int, int]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OTHER, *map(str, narrow)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_are_never_given_the_same_port_while_both_live(narrow: tuple[int, int]) -> None:
    mine = {free_port(), free_port()}
    with other(narrow) as beside:
        assert beside.stdout is not None
        theirs = set(map(int, beside.stdout.readline().split()))
        assert mine | theirs == set(range(*narrow)) and not mine & theirs
        with pytest.raises(OSError, match="no free port"):
            free_port()
        beside.kill()
    assert free_port() in theirs, "the kernel lets go of what a process held that was killed"
    give_back(range(*narrow))
    with other(narrow) as later:
        assert later.stdout is not None
        assert set(map(int, later.stdout.readline().split())) == set(range(*narrow)), "what is given back is anybody's"
        later.kill()
