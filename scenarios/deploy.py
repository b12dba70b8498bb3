"""From a schedule to deployment records: the configuration of each node, the same for both drivers.

Owns who is deployed where and whom it knows. Knows no driver.
"""

from __future__ import annotations

from killswitch.core.machine import NodeConfig
from scenarios.schedule import Schedule

OPERATOR = "operator"
PEOPLE = ("alice", "bob", "carol", "dave")


def configurations(schedule: Schedule) -> dict[str, NodeConfig]:
    """{node id: its configuration}, in a fixed order: sinks, replicas, the operator's client, then each sidecar and its agent."""
    topology, parameters = schedule.topology, schedule.parameters
    replicas = tuple(f"replica/{number}" for number in range(1, topology.replicas + 1))
    every_sink = {sink.sink: sink.sink_class for sink in topology.sinks}
    fleet = {agent.agent: agent.labels for agent in topology.agents}

    def configure(node: str, role: str, agent: str = "", labels: tuple[str, ...] = (), sinks: dict[str, str] | None = None) -> NodeConfig:
        return NodeConfig(
            node=node, role=role, parameters=parameters, replicas=replicas, kill_quorum=topology.kill_quorum, quorum=topology.quorum,
            tenant=agent.partition("/")[0], agent=agent, labels=labels, sinks=every_sink if sinks is None else sinks, fleet=fleet,
        )  # fmt: skip

    nodes = [configure(sink, "sink", sinks={sink: kind}) for sink, kind in every_sink.items()]
    nodes += [configure(replica, "replica") for replica in replicas]
    nodes.append(configure(OPERATOR, "operator"))
    for spec in topology.agents:
        reach = {sink: every_sink[sink] for sink in spec.sinks}
        nodes.append(configure(f"sidecar/{spec.agent}", "sidecar", spec.agent, spec.labels, reach))
        nodes.append(configure(f"agent/{spec.agent}", "agent", spec.agent, spec.labels, reach))
    return {config.node: config for config in nodes}
