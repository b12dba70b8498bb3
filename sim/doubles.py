"""Two hosts of one name: a sidecar's host is copied from a snapshot of its disk, runs beside the original, and one of the two is ended.

Owns who goes by which name and can be found where while there are two, and for those that still speak to where one of them was. Must not know
why there are two, nor tell anybody: the world does.
"""

from __future__ import annotations

from copy import copy

from harness.shared.doubles import COPY, watching
from harness.shared.observe import Observer
from sim.clock import Clock
from sim.host import mate_of, share_host
from sim.node import Node


class Doubles:
    """``nodes``: {address: node}, the world's own. ``copies``: {name of whom there are two: address of the copy}. ``ever``: there were two once.

    One host in a run: a history tells apart two, and no more.
    """

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self.copies: dict[str, str] = {}
        self.ever = False
        self._moved: dict[str, Node] = {}  # an address that was given up -> who was there
        self._heard: dict[tuple[str, str], str] = {}  # (a node, one of whom there are two) -> the address of the one that spoke last

    def make(self, sidecar: Node, clock: Clock) -> list[Node]:
        """A copy of a sidecar's host, not booted: sidecar and agent, with the identity, the log and the checkpoints, and links of their own."""
        self.ever = True
        twins = [copy_of(each, clock, watching(f"{each.id}{COPY}", each.observer)) for each in (sidecar, mate_of(sidecar))]
        share_host(*twins)
        for twin in twins:
            self._nodes[twin.address] = twin
            self.copies[twin.config.node] = twin.address
        return twins

    def end(self, name: str, *, keep_copy: bool) -> tuple[Node, Node]:
        """End one of two hosts for good: its sidecar, and whose is left. Whoever is left has the name, and its address, to itself."""
        original, twin = self._nodes[name], self._nodes[self.copies[name]]
        ended, left = (original, twin) if keep_copy else (twin, original)
        self.copies.clear()
        for node in (ended, mate_of(ended)):
            node.die(power=True)
            node.gone = True
            del self._nodes[node.address]
        for node in (left, mate_of(left)):
            self._moved[node.address] = self._nodes.pop(node.address)  # what is in the pipe between them gets there
            node.address = node.config.node
            self._nodes[node.address] = node
        share_host(left, mate_of(left))  # with pipes to where they are now
        return ended, left

    def at(self, address: str) -> Node | None:
        """Who is there, or was."""
        return self._nodes.get(address) or self._moved.get(address)

    def name_of(self, address: str) -> str:
        """Who somebody is who speaks from there: a copy has the identity of what it was copied from."""
        return address.removesuffix(COPY)

    def heard(self, target: str, source: str) -> None:
        """Somebody spoke from there, and may be answered there."""
        self._heard[target, self.name_of(source)] = source

    def whereabouts(self, source: str, target: str) -> str:
        """Where a message to a name goes while two hosts have it: within a host to its own, and from elsewhere to the one that was heard last, as
        an answer goes back the way that the question came. So both are answered, which asks more of the core than a transport that knows one
        connection a peer.
        """
        if target not in self.copies:
            return target
        if self._nodes[self.name_of(source)].mate is self._nodes[target]:
            return self.copies[target] if source.endswith(COPY) else target
        return self._heard.get((source, target), target)


def copy_of(node: Node, clock: Clock, observer: Observer) -> Node:
    """The same node on a copy of its disk, as a loss of power at this instant would leave it: not booted, and with nothing of its memory."""
    twin = Node(node.world, node.config, clock, observer)
    twin.boot, twin.start, twin.token = node.boot + 1, node.start, node.token
    twin.disk.copy(node.disk)
    twin.stamps = node.stamps[: len(twin.disk.records)]
    twin.wall = copy(node.wall)
    return twin
