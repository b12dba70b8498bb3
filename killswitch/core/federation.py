"""Cells and their federation: which replicas speak for which agents (protocol 3.7).

Owns who is at home where. A cell is one group of replicas with quorums of its own; every agent has one home cell, and only that cell's replicas
grant it leases. Orders and certificates know no cells: they spread to all replicas, and are joined wherever cells meet again. So an order
is effective for an agent when k replicas of the agent's own home hold it, and what other cells hold counts for nothing there.

A deployment record without cells is one cell, which has no name.
"""

from __future__ import annotations

from killswitch.core.machine import Cell, NodeConfig
from killswitch.core.scopes import Scope


def cells(config: NodeConfig) -> tuple[Cell, ...]:
    return config.cells or (Cell("", config.replicas, config.kill_quorum, config.quorum),)


def own(config: NodeConfig) -> Cell:
    """The cell that the node's own replicas are."""
    return next((cell for cell in config.cells if cell.replicas == config.replicas), cells(config)[0])


def everyone(config: NodeConfig) -> tuple[str, ...]:
    """The replicas of all cells."""
    return tuple(replica for cell in cells(config) for replica in cell.replicas)


def at_home(config: NodeConfig, agent: str) -> bool:
    """Whether the node's own cell speaks for an agent. Of a single cell everybody is at home, deployed yet or not."""
    return not config.cells or agent in own(config).agents


def concerned(config: NodeConfig, scope: Scope) -> tuple[Cell, ...]:
    """The cells in which an order of this scope has to be effective: an agent's home; for anything wider, which may gain members, all."""
    homes = tuple(cell for cell in config.cells if scope.kind == "agent" and scope.value in cell.agents)
    return homes or cells(config)
