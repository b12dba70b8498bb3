"""What a driver plays: the configuration of one node and the machine made from it.

Owns the join between a deployment record (who a node is, whom it knows, with what parameters) and the state machine of its role.
Must not know how the machine is driven.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct

from killswitch.core.events import Effect, Input
from killswitch.core.keys import Signer


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protocol's parameters of one cell (protocol 2). ``drift_ppm`` is rho, the promised bound on drift, in parts per million.

    ``approvals`` is M, the distinct people that a resume needs; ``standby_max_ns`` S_max, after which a standby becomes a stop;
    ``approval_ns`` how long after its draft a resume can be handed in.
    """

    lease_ns: int = 5_000_000_000
    renew_ns: int = 1_000_000_000
    grace_ns: int = 30_000_000_000
    grace_max_ns: int = 300_000_000_000
    challenge_ns: int = 500_000_000
    drift_ppm: int = 10_000
    slack_ns: int = 2_000_000_000
    stop_timeout_ns: int = 10_000_000_000
    kill_retry_ns: int = 500_000_000
    gossip_ns: int = 500_000_000
    approvals: int = 2
    standby_max_ns: int = 600_000_000_000
    approval_ns: int = 3_600_000_000_000


class Cell(Struct, frozen=True):
    """One group of replicas with quorums of its own, and the agents whose home it is (``cells``)."""

    name: str
    replicas: tuple[str, ...]
    kill_quorum: int
    quorum: int
    agents: tuple[str, ...] = ()


class NodeConfig(Struct, frozen=True, kw_only=True):
    """A node's deployment record: its identity and labels come from here, never from a message.

    ``role``: replica, sidecar, agent, sink or operator. ``agent``: the agent that a sidecar guards or an agent is (``tenant/name``).
    ``labels``: ``key=value``. ``sinks``: {sink node: class F, C or U} that the tenant may use; a sink finds itself there.
    ``joins``: a replica that takes the place of one whose disk was lost.
    ``fleet``: for a replica, every deployed agent as {agent: labels}. ``policy``: Cedar text; empty takes the default bundle.
    ``replicas``, ``kill_quorum``, ``quorum``: of the node's own cell. ``cells``: all cells, where there is more than one.
    """

    node: str
    role: str
    parameters: Parameters
    replicas: tuple[str, ...]
    kill_quorum: int
    quorum: int
    tenant: str = ""
    agent: str = ""
    labels: tuple[str, ...] = ()
    sinks: dict[str, str] = {}
    fleet: dict[str, tuple[str, ...]] = {}
    policy: str = ""
    joins: bool = False
    cells: tuple[Cell, ...] = ()


class Machine(Protocol):
    """A node's state machine, whatever the implementation: one input in, its effects out (`killswitch.core.events`)."""

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        """Take one input at ``now_ns`` on the node's own clock. Total and deterministic; never raises."""
        ...

    def digest(self) -> str:
        """Of everything that a fold of the node's log must give back (S15); empty for a node that keeps no log."""
        ...


class Implementation(Protocol):
    """What a driver plays, as a whole: it makes the machines of all roles. ``name`` stands in reports and tokens.

    Ours is one; a planted bug, an older version, another policy are others.
    """

    @property
    def name(self) -> str: ...

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        """A fresh machine for one start of one node."""
        ...

    def installed(self) -> AbstractContextManager[None]:
        """In force while a run is played: whatever has to be set up around it, and is undone after it."""
        ...
