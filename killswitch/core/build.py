"""From a deployment record to the state machine of its role: the one place where a driver gets machines of this implementation."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from killswitch.core import agent, federation, journal, operator, sink
from killswitch.core.events import Effect, Input
from killswitch.core.keys import Keyset, Signer, default_keyset
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.replica import step as replica
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import recover
from killswitch.core.sidecar import step as sidecar
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.trust import Trust

ROLES = ("replica", "sidecar", "agent", "sink", "operator")


class Node:
    """A state and the step function of its role: a `Machine`, and the digest of what its log must give back (S15)."""

    __slots__ = ("_digest", "state", "step")

    def __init__(self, state: Any, step: Callable[[Any, Input, int], list[Effect]], digest: Callable[[Any], str] | None) -> None:
        self.state = state
        self.step: Callable[[Input, int], list[Effect]] = MethodType(step, state)  # a `partial` is three times as large
        self._digest = digest

    def digest(self) -> str:
        """Empty for a role that keeps nothing."""
        return "" if self._digest is None else self._digest(self.state)


def keyset_of(config: NodeConfig) -> Keyset:
    """The keyset by convention of a federation: the replicas of its cells, the sidecars of its fleet, and the people of `keys.default_keyset`."""
    replicas = federation.everyone(config)
    if not (_made and _made[0] is config.fleet and _made[1] == replicas):
        _made[:] = config.fleet, replicas, default_keyset(replicas, [f"sidecar/{agent_name}" for agent_name in config.fleet])
    keyset: Keyset = _made[2]
    return keyset


# The last one made, with what it was made of. A world makes a machine for each node of one fleet: a keyset for each would cost the square of it.
_made: list[Any] = []


def machine(config: NodeConfig, signer: Signer, keyset: Keyset | None = None) -> Machine:
    """The machine of a node. Raises `ValueError` for a role that does not exist."""
    trust = Trust(signer, keyset or keyset_of(config), config.parameters.approvals)
    if config.role == "replica":
        return Node(Replica(config, trust), replica.step, replica.digest)
    if config.role == "sidecar":
        return Node(Sidecar(config, trust), sidecar.step, recover.digest)
    if config.role == "agent":
        return Node(agent.Agent(config), agent.step, journal.digest)
    if config.role == "sink":
        return Node(sink.Sink(config), sink.step, sink.digest)
    if config.role == "operator":
        return Node(operator.Operator(config, trust), operator.step, None)
    raise ValueError(f"{config.node}: role: unknown (got {config.role!r}); one of {', '.join(ROLES)}")
