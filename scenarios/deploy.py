"""From a schedule to deployment records: the configuration of each node, the same for both drivers.

Owns who is deployed where and whom it knows. Knows no driver.
"""

from __future__ import annotations

from killswitch.core.machine import Cell, NodeConfig
from scenarios.schedule import CellSpec, Schedule, Topology

OPERATOR = "operator"


def host_of(node: str) -> str:
    """The node whose host ``node`` is on: an agent lives with its sidecar."""
    return node.replace("agent/", "sidecar/", 1)


def hosted_by(sidecar: str) -> str:
    """The agent that lives with it."""
    return sidecar.replace("sidecar/", "agent/", 1)


def cells(topology: Topology) -> tuple[Cell, ...]:
    """The cells of a topology with their replicas and agents; one, without a name, where it does not speak of cells."""
    specs = topology.cells or (CellSpec(replicas=topology.replicas, kill_quorum=topology.kill_quorum, quorum=topology.quorum),)
    found, first = [], 1
    for number, spec in enumerate(specs, start=1):
        replicas = tuple(f"replica/{each}" for each in range(first, first + spec.replicas))
        agents = tuple(agent.agent for agent in topology.agents if agent.cell == number)
        found.append(Cell(f"cell-{number}" if topology.cells else "", replicas, spec.kill_quorum, spec.quorum, agents))
        first += spec.replicas
    return tuple(found)


def configurations(schedule: Schedule) -> dict[str, NodeConfig]:
    """{node id: its configuration}, in a fixed order: sinks, replicas, the operator's client, then each sidecar and its agent."""
    topology, parameters = schedule.topology, schedule.parameters
    federation = cells(topology)
    every_replica = tuple(replica for cell in federation for replica in cell.replicas)
    every_sink = {sink.sink: sink.sink_class for sink in topology.sinks}
    fleet = {agent.agent: agent.labels for agent in topology.agents}

    def configure(
        node: str, role: str, cell: Cell | None = None, agent: str = "", labels: tuple[str, ...] = (), sinks: dict[str, str] | None = None
    ) -> NodeConfig:
        home = cell or federation[0]
        return NodeConfig(
            node=node, role=role, parameters=parameters, replicas=home.replicas if cell else every_replica, kill_quorum=home.kill_quorum,
            quorum=home.quorum, tenant=agent.partition("/")[0], agent=agent, labels=labels, sinks=every_sink if sinks is None else sinks, fleet=fleet,
            cells=federation if topology.cells else (),
        )  # fmt: skip

    nodes = [configure(sink, "sink", sinks={sink: kind}) for sink, kind in every_sink.items()]
    nodes += [configure(replica, "replica", cell) for cell in federation for replica in cell.replicas]
    nodes.append(configure(OPERATOR, "operator"))
    for spec in topology.agents:
        home = federation[spec.cell - 1]
        reach = {sink: every_sink[sink] for sink in spec.sinks}
        nodes.append(configure(f"sidecar/{spec.agent}", "sidecar", home, spec.agent, spec.labels, reach))
        nodes.append(configure(f"agent/{spec.agent}", "agent", home, spec.agent, spec.labels, reach))
    return {config.node: config for config in nodes}
