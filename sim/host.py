"""Two nodes on one host: a sidecar and its agent, the pipe between them, and the wall clock that both read.

Owns that they are, and that no network is between them. Must not know what is said.
"""

from __future__ import annotations

from sim.network import Link
from sim.node import Node


def share_host(sidecar: Node, agent: Node) -> None:
    """They speak through a pipe each way that no network fault touches, and that keeps order."""
    for node, mate in ((sidecar, agent), (agent, sidecar)):
        node.mate, node.pipe = mate, Link(node.address, mate.address, [])
    agent.wall = sidecar.wall


def mate_of(node: Node) -> Node:
    """Whom it shares its host with. Raises `ValueError` for a node that has one to itself."""
    if node.mate is None:
        raise ValueError(f"{node.id} has its host to itself")
    return node.mate
