"""What an experiment may touch: this host's loopback interface, the processes of its own run, the files below its own directory, and
the packets of a network namespace that it made.

Owns the refusals. Every signal, address and path that a fault aims at goes through here first, so that a mistake in a schedule, a pid
that has changed hands or a link that somebody else laid is an error and not an accident.
"""

from __future__ import annotations

from pathlib import Path

from harness.live import own_network
from killswitch.live import process
from killswitch.live.process import Identified

LOOPBACK = "127.0.0.1"
COOKIE = "HALTPROOF_RUN"


class OutOfBounds(ValueError):
    """Something that is not this run's was about to be touched."""


class NotLoopback(OutOfBounds):
    """An address outside this host was about to be used."""


def loopback(address: str) -> str:
    """``address`` (``host:port``) if it is on the loopback interface. Raises `NotLoopback`."""
    host, _, port = address.rpartition(":")
    if host != LOOPBACK or not port.isdigit():
        raise NotLoopback(f"only {LOOPBACK}:PORT may be a target (got {address!r})")
    return address


def own_process(pid: int, run: str) -> Identified | None:
    """Who ``pid`` is, if it was started for ``run``; None if it has ended. Raises `OutOfBounds` for anybody else's process."""
    before = process.identify(pid)
    carries = f"{COOKIE}={run}".encode() in process.environment(pid)
    if before is None or process.identify(pid) != before:
        return None
    if not carries:
        raise OutOfBounds(f"process {pid} was not started by run {run}")
    return before


def own_path(path: Path, directory: Path) -> Path:
    """``path`` if it lies below ``directory`` once every link is followed. Raises `OutOfBounds`."""
    if not path.resolve().is_relative_to(directory.resolve()) or path.resolve() == directory.resolve():
        raise OutOfBounds(f"{path} is not below {directory}")
    return path


def own_namespace(network: int) -> int:
    """``network`` if this process made the network namespace of that number and is in it. Raises `OutOfBounds`."""
    if not network or own_network.own() != network:
        raise OutOfBounds(f"packets may be touched in a network namespace of the run's own alone (got {network}, being in {own_network.here()})")
    return network
