"""The words of the facts, as checkers read them: gates, lives, tokens, roles of nodes.

Owns the reading of single values. Stands apart from the core's own definitions on purpose: what is judged must not define the judge.
"""

from __future__ import annotations

from typing import Any

OPEN, DRAIN, CLOSED = 0, 1, 2
ALIVE, STOP, KILL = 0, 1, 2
GATES = {"OPEN": OPEN, "DRAIN": DRAIN, "CLOSED": CLOSED}
LIVES = {"ALIVE": ALIVE, "STOP": STOP, "KILL": KILL}
NEW = "new"
UNDO = "undo"
CLOCK_FAULTS = frozenset({"clock-step", "clock-drift", "clock-freeze", "clock-strobe"})
WALL_FAULTS = frozenset({"wall-step", "wall-drift", "wall-strobe"})  # stamps of records show them, and nothing else
# Faults that take durable records out of a node's hands, or make what it calls durable a lie (A2): a new fault of the kind belongs here.
CUSTODY_FAULTS = frozenset({"bit-flip", "disk-lie", "disk-lost"})
# Faults of what is between two nodes, which leave alone whatever else those have to do: a new fault of links or signals belongs here, unless it is
# work for the nodes themselves, as a flood is.
LINK_FAULTS = frozenset({
    "bandwidth", "corrupt", "cut-after", "delay", "duplicate", "duplicate-messages", "flapping-partition", "loss", "majorities-ring", "packet-delay",
    "packet-loss", "partition", "reorder", "replay", "ring-partition", "slice", "slow-close",
})  # fmt: skip
SLOW_LINKS = frozenset({"bandwidth", "delay", "packet-delay", "slice"})  # of these, what makes a round trip longer
UNDOES = "compensate"  # the cleanup of an order that wants undone what is begun
NEVER_NS = -(1 << 62)
CLIENT = "operator"  # the node with which people ask for orders
STOPPED = frozenset({"STOPPED_CLEAN", "STOPPED_FORCED"})

Token = tuple[int, int, str]
NO_TOKEN: Token = (0, 0, "")


def token_of(value: Any) -> Token:
    """The token in a fact: a list of three, or nothing, which stands before every token."""
    if type(value) is tuple:  # as the simulator records it; files hold lists
        return value or NO_TOKEN
    return (int(value[0]), int(value[1]), str(value[2])) if value else NO_TOKEN


def gate_of(value: Any) -> int:
    """A gate in a fact: its number or its name."""
    return GATES[value] if isinstance(value, str) else int(value)


def life_of(value: Any) -> int:
    """A life in a fact: its number or its name."""
    return LIVES[value] if isinstance(value, str) else int(value)


def targets_of(value: Any) -> tuple[str, ...]:
    """The targets of a fault in a fact: one by its name, or a list."""
    return (value,) if isinstance(value, str) else tuple(value)


def agent_of(node: str) -> str:
    """The agent of ``sidecar/acme/1`` or ``agent/acme/1``."""
    return node.partition("/")[2]


def is_replica(node: str) -> bool:
    return node.startswith("replica/")
