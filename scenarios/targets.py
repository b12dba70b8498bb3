"""Target words: ``replicas``, ``sidecar acme/1``, ``rest`` and lists of those, as the nodes and links that they stand for.

Owns the words, the list of nodes of a topology and which of them talk to each other over the network. Knows no fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scenarios.units import UnitError

if TYPE_CHECKING:
    from scenarios.schedule import Topology

NAME_PATTERN = r"[a-z][a-z0-9-]{0,31}"
AGENT_PATTERN = rf"{NAME_PATTERN}/[a-z0-9-]{{1,32}}"
WORD_PATTERN = (
    rf"replicas|replica [1-9]|cell [1-9]|sidecars( {NAME_PATTERN})?|sidecar {AGENT_PATTERN}|agents( {NAME_PATTERN})?|agent {AGENT_PATTERN}"
    rf"|sinks( {NAME_PATTERN})?|sink {AGENT_PATTERN}|operator|rest"
)

Link = tuple[str, str]

_GROUPS = {"replicas": "replica", "sidecars": "sidecar", "agents": "agent", "sinks": "sink"}


class Word(NamedTuple):
    """One target word: ``replicas`` has no name, ``sidecar acme/1`` and ``sidecars acme`` have."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


REST = Word("rest", "")


def word(value: object) -> Word:
    """Read one target word. Raises `UnitError`."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if re.fullmatch(WORD_PATTERN, text):
        kind, _, name = text.partition(" ")
        return Word(kind, name)
    raise UnitError("not a target", _remedy(text))


def _remedy(text: str) -> str:
    kind, _, _ = text.partition(" ")
    if kind in ("sidecar", "agent", "sink"):
        return f"write tenant and name, for example {kind} acme/{'ledger' if kind == 'sink' else '1'}"
    if kind == "replica":
        return "write its number, for example replica 2"
    if text.startswith(tuple(f"{group}/" for group in ("replica", "sidecar", "agent", "sink"))):
        return f"write it with a space: {text.replace('/', ' ', 1)}"
    if re.fullmatch(AGENT_PATTERN, text):
        return f"say which of its nodes: sidecar {text}, agent {text} or sink {text}"
    return "use replicas, replica 2, sidecars, sidecar acme/1, sidecars acme, agents, agent acme/1, sinks, sink acme/ledger, operator or rest"


def words(value: object) -> tuple[Word, ...]:
    """Read one target word or a list of them. Raises `UnitError`."""
    if value in ((), []):
        raise UnitError("an empty list of targets", "name at least one, for example [replica 1, sidecars acme]")
    return tuple(word(each) for each in value) if isinstance(value, list | tuple) else (word(value),)


class Roster:
    """All nodes of a topology in a fixed order, and the directed network links between them.

    An agent has no link: it speaks to its sidecar within one host, and its sidecar is its only way out (protocol 3.1).
    """

    def __init__(self, topology: Topology) -> None:
        self.replicas = tuple(f"replica/{number}" for number in range(1, topology.replicas + 1))
        self.sidecars = tuple(f"sidecar/{agent.agent}" for agent in topology.agents)
        self.agents = tuple(f"agent/{agent.agent}" for agent in topology.agents)
        self.sinks = tuple(sink.sink for sink in topology.sinks)
        self.operator = "operator"
        self.cells = self._cells(topology)
        self.nodes = (*self.replicas, *self.sidecars, *self.agents, *self.sinks, self.operator)
        self.links = self._links(topology)

    def _cells(self, topology: Topology) -> tuple[tuple[str, ...], ...]:
        """The replicas and sidecars of each cell."""
        found, left = [], list(self.replicas)
        for number, size in enumerate([cell.replicas for cell in topology.cells] or [len(left)], start=1):
            sidecars = (f"sidecar/{agent.agent}" for agent in topology.agents if agent.cell == number)
            found.append((*left[:size], *sidecars))
            del left[:size]
        return tuple(found)

    def _links(self, topology: Topology) -> tuple[Link, ...]:
        pairs = [(one, other) for number, one in enumerate(self.replicas) for other in self.replicas[number + 1 :]]
        for replica in self.replicas:
            pairs.extend((replica, other) for other in (*self.sidecars, *self.sinks, self.operator))
        pairs.extend((f"sidecar/{agent.agent}", sink) for agent in topology.agents for sink in agent.sinks)
        return tuple(link for one, other in pairs for link in ((one, other), (other, one)))

    def of_role(self, roles: Iterable[str]) -> tuple[str, ...]:
        """Every node whose role is among ``roles``, in the roster's order."""
        wanted = frozenset(roles)
        return tuple(node for node in self.nodes if role(node) in wanted)

    def matching(self, target: Word) -> tuple[str, ...]:
        """The nodes a word stands for, possibly none. ``rest`` depends on its neighbours: see `side`."""
        if target.kind in _GROUPS:
            prefix = f"{_GROUPS[target.kind]}/" + (f"{target.name}/" if target.name else "")
            return tuple(node for node in self.nodes if node.startswith(prefix))
        if target.kind == "cell":
            number = int(target.name)
            return self.cells[number - 1] if number <= len(self.cells) else ()
        node = f"{target.kind}/{target.name}" if target.name else target.kind
        return (node,) if node in self.nodes else ()

    def side(self, targets: Sequence[Word], others: Iterable[Word] = ()) -> tuple[str, ...]:
        """The nodes of a list of words, in the roster's order; ``rest`` in it is every node that ``others`` do not name."""
        named = {node for target in targets if target != REST for node in self.matching(target)}
        if REST in targets:
            named |= set(self.nodes) - {node for target in others for node in self.matching(target)}
        return tuple(node for node in self.nodes if node in named)

    def sides(self, groups: Sequence[Sequence[Word]]) -> list[tuple[str, ...]]:
        """The nodes of each group; a ``rest`` in one of them is what all the others leave."""
        return [
            self.side(group, [target for other in (*groups[:number], *groups[number + 1 :]) for target in other if target != REST])
            for number, group in enumerate(groups)
        ]

    def between(self, sides: Sequence[Sequence[str]]) -> tuple[Link, ...]:
        """Every link from a node of one side to a node of another."""
        place = {node: number for number, side in enumerate(sides) for node in side}
        return tuple(link for link in self.links if link[0] in place and link[1] in place and place[link[0]] != place[link[1]])

    def ring(self, sides: Sequence[Sequence[str]]) -> tuple[Link, ...]:
        """Every link between sides that are not next to each other, the first being next to the last: each side sees its neighbours alone."""
        return tuple(link for link, steps in self._steps(sides) if steps not in (1, len(sides) - 1))

    def majorities(self, sides: Sequence[Sequence[str]]) -> tuple[Link, ...]:
        """Every link towards a side from one that is not in its majority: itself and those that follow it. No two sides hear the same majority."""
        return tuple(link for link, steps in self._steps(sides) if steps > len(sides) // 2)

    def _steps(self, sides: Sequence[Sequence[str]]) -> list[tuple[Link, int]]:
        """The links between sides, each with how many steps its source is after its target in the ring of sides."""
        place = {node: number for number, side in enumerate(sides) for node in side}
        return [(link, (place[link[0]] - place[link[1]]) % len(sides)) for link in self.between(sides)]

    def one_way(self, sources: Iterable[str], targets: Iterable[str]) -> tuple[Link, ...]:
        """Every link from one of ``sources`` to one of ``targets``."""
        starts, ends = frozenset(sources), frozenset(targets)
        return tuple(link for link in self.links if link[0] in starts and link[1] in ends)


def role(node: str) -> str:
    """``sidecar/acme/1`` is a ``sidecar``."""
    return node.partition("/")[0]
