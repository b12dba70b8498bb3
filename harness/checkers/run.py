"""What the history has said so far: the common ground on which checkers judge.

Owns the topology, orders and certificates with their coverage, what every node knows and may have forgotten, which processes live,
and which faults are on. Knows facts; knows no checker and no invariant. The jury shows it every fact before any checker sees it.

All of it comes from observations at the edges of the nodes (learned, durable, crashed, started), never from a node's own conclusions.
Two rules carry most of the weight:

- A crash forgets what was not durable. What was learned and not yet durable is *uncertain* after a crash, and is known again only if
  the node says that it recovered it.
- A certificate covers an order at a node when it is durable there, and in the world when it is durable anywhere. One that the world's
  own keyring does not accept covers nothing, and none covers an order beyond the tenant and scope that its approvers speak for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.checkers.bounds import Bounds
from harness.checkers.rounds import Rounds
from harness.checkers.subjects import Cell, Covered, Learned, Node, Order, Process, cells_of, replica_nodes
from harness.checkers.words import (
    CLOCK_FAULTS,
    CUSTODY_FAULTS,
    DRAIN,
    LINK_FAULTS,
    NEVER_NS,
    UNDOES,
    WALL_FAULTS,
    agent_of,
    gate_of,
    is_replica,
    life_of,
    targets_of,
    token_of,
)
from harness.shared.history import Fact


class Run:
    """The run so far. Attributes are read by checkers and written by nobody but `see`."""

    def __init__(self, topology: Fact) -> None:
        body = topology.body
        self.bounds = Bounds.of(body["parameters"])
        self.replicas: tuple[str, ...] = replica_nodes(body["replicas"])
        self.quorum = int(body["quorum"])
        self.kill_quorum = int(body["kill_quorum"])
        self.agents: dict[str, dict[str, Any]] = dict(body["agents"])
        self.cells = cells_of(body)
        self._home = {agent: number for number, cell in enumerate(self.cells) for agent in cell.agents}
        self.sinks: dict[str, str] = dict(body["sinks"])
        self._in_parts = bool(body.get("core"))
        self.orders: dict[str, Order] = {}
        self.orders_of: dict[str, list[Order]] = {agent: [] for agent in self.agents}
        self.covers: dict[str, frozenset[str]] = {}
        self.covered: dict[str, Covered] = {}
        self.forged: set[str] = set()
        self.approvers: dict[str, frozenset[str]] = {}
        self.revoked: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.processes: dict[str, Process] = {}
        self.rounds = Rounds(lambda agent: self.cell_of(agent).quorum)
        self.clock_suspects: dict[str, int] = {}
        self.wall_suspects: set[str] = set()
        self.custody: dict[str, int] = {}
        self.liars: set[str] = set()
        self.doubled: dict[str, int] = {}
        self.forgetful: dict[str, int] = {}  # replica -> the fact since which it may have forgotten, and has not been taught again
        self._lost: set[str] = set()  # replicas that will find no disk when they next start
        self.abandoned = False
        self.in_all = len(self.replicas)  # that clients know of
        self.goes_on = False  # it is one phase of a longer one
        self.faults_on: dict[str, tuple[str, ...]] = {}
        self.touched: dict[str, int] = {}
        self._struck_by: dict[str, set[str]] = {}
        self.disturbed_ns = NEVER_NS
        self.news_ns = 0
        self.healed_ns: int | None = None
        self.end_ns = topology.at_ns
        self._steps = {
            "order-learned": self._order_learned,
            "order-durable": self._order_durable,
            "certificate-learned": self._certificate_learned,
            "certificate-durable": self._certificate_durable,
            "keyset-installed": self._keyset_installed,
            "intent-recovered": self._intent_recovered,
            "node-started": self._node_started,
            "node-crashed": self._node_crashed,
            "node-paused": self._node_paused,
            "node-resumed": self._node_resumed,
            "disk-failed": self._disk_failed,
            "disk-full": self._disk_full,
            "disk-freed": self._disk_full,
            "clock-suspected": self._clock_doubted,
            "clock-trusted": self._clock_doubted,
            "lease-requested": self._lease_requested,
            "lease-granted": self._lease_granted,
            "process-started": self._process_started,
            "process-reaped": self._process_reaped,
            "fault-on": self._fault_on,
            "fault-off": self._fault_off,
            "healed": self._healed,
            "node-cloned": self._node_cloned,
            "log-cut": self._forgets,
            "log-unread": self._unread,
            "replica-joined": self._joined,
        }

    def see(self, index: int, fact: Fact) -> None:
        """Take in one fact. Raises `KeyError`, `ValueError` or `TypeError` for one that does not fit the vocabulary."""
        self.end_ns = fact.at_ns
        step = self._steps.get(fact.kind)
        if step is not None:
            step(index, fact)

    # -- what checkers ask

    def node(self, name: str) -> Node:
        """The node, which is taken to be up until the history says otherwise."""
        found = self.nodes.get(name)
        if found is None:
            found = self.nodes[name] = Node(name)
        return found

    def home(self, agent: str) -> int:
        """The index of an agent's home cell."""
        return self._home.get(agent, 0)

    def cell_of(self, agent: str) -> Cell:
        return self.cells[self._home.get(agent, 0)]

    def cell_with(self, replica: str) -> Cell:
        return next(cell for cell in self.cells if replica in cell.replicas)

    def held_in(self, order: Order, cell: int) -> int:
        """How many replicas of a cell hold an order durably."""
        return len(order.holders) if len(self.cells) == 1 else sum(replica in self.cells[cell].replicas for replica in order.holders)

    def sidecar(self, agent: str) -> Node:
        return self.node(f"sidecar/{agent}")

    def in_force(self, node: Node, agent: str) -> Iterator[tuple[Order, Learned]]:
        """The orders matching the agent that the node knows and that no certificate durable there covers."""
        for order, learned in node.known.items():
            if order not in node.covered and agent in self.orders[order].agents:
                yield self.orders[order], learned

    def covered_by(self, certificates: Iterable[str]) -> set[str]:
        """Every order that the named certificates list and may speak of, whether or not they are authentic."""
        return {order for certificate in certificates for order in self.covers.get(certificate, ())}

    def is_void(self, certificate: str) -> bool:
        """Whether a key under it was revoked somewhere: who had taken it in keeps it, nobody else has to."""
        return bool(self.revoked) and not self.revoked.isdisjoint(self.approvers.get(certificate, ()))

    def lifted(self, order: Order, agent: str) -> bool:
        """Whether an authentic certificate covers it that is durable anywhere, or at least learned by the agent's own sidecar."""
        return order.order in self.covered or order.order in self.sidecar(agent).lifted

    def sinks_of(self, agent: str, sink_class: str) -> list[str]:
        """The agent's sinks of the class, as node ids."""
        return [sink for sink in self.agents[agent]["sinks"] if self.sinks.get(sink) == sink_class]

    def clock_suspect(self, order: Order, agent: str) -> bool:
        """Whether a clock on which T1 leans for this order and agent was broken (T5): the sidecar's, and for a drain any replica's."""
        if f"sidecar/{agent}" in self.clock_suspects:
            return True
        return order.gate == DRAIN and any(replica in self.clock_suspects for replica in self.replicas)

    @property
    def quorums_forget(self) -> bool:
        """Whether quorums may have no honest memory in common, so that nothing that rests on their meeting can be held against anybody (A2): a
        replica whose disk lied may forget without knowing, and of two that forget nobody is left to teach.
        """
        struck = [node for node in self.custody if is_replica(node)]
        return len(struck) > 1 or any(is_replica(node) for node in self.liars)

    def struck(self, node: str, besides: frozenset[str] = frozenset()) -> bool:
        """Whether a fault has ever been aimed at it, but for those that leave alone what is asked for."""
        return bool(self._struck_by.get(node, set()) - besides)

    def struck_beyond_links(self, node: str) -> bool:
        """Whether a fault was ever aimed at the node itself. Those of links leave alone what it does by itself; and a wall clock is read for stamps
        of records only, so that a step of it excuses nothing else (T5, S24)."""
        return self.struck(node, LINK_FAULTS | WALL_FAULTS)

    def struck_by(self, what: str) -> frozenset[str]:
        """Whom a fault of that kind has ever been aimed at."""
        return frozenset(node for node, faults in self._struck_by.items() if what in faults)

    def undisturbed_since(self, at_ns: int) -> bool:
        """Whether no fault has been on, nothing crashed and nothing was paused at or after ``at_ns``."""
        return not self.faults_on and self.disturbed_ns < at_ns

    @property
    def calm_ns(self) -> int | None:
        """Since when no fault has been on, nothing crashed and nothing was paused; where a part is healed first, since the heal of all. None if
        something is the matter."""
        return self.healed_ns if self._in_parts else None if self.faults_on else max(self.disturbed_ns, 0)

    # -- orders and certificates

    def _order_learned(self, index: int, fact: Fact) -> None:
        body = fact.body
        order = self.orders.get(body["order"])
        if order is None:
            order = self._new_order(index, fact)
        node = self.node(fact.node)
        if order.order not in node.known:
            node.known[order.order] = Learned(index, fact.at_ns, fact.clock_ns, node.boot)
            node.revision += 1

    def _new_order(self, index: int, fact: Fact) -> Order:
        body = fact.body
        kind, value = body["scope"]
        order = Order(
            order=body["order"], tenant=body["tenant"], scope=(kind, value), gate=gate_of(body["gate"]), life=life_of(body["life"]),
            grace_ns=int(body["grace_ns"]), agents=frozenset(agent for agent in self.agents if self._matches(body["tenant"], kind, value, agent)),
            first_index=index, first_ns=fact.at_ns, undoes=body.get("cleanup", UNDOES) == UNDOES,
            issuer=body.get("issuer", ""), reason=body.get("reason", ""), cleanup=body.get("cleanup", ""),
            decided=tuple(body.get("decided", ())),  # earlier versions do not tell
        )  # fmt: skip
        if len(self.cells) > 1:
            wide = kind != "agent" or value not in self._home
            order.cells = tuple(range(len(self.cells))) if wide else (self._home[value],)
        self.orders[order.order] = order
        self.news_ns = fact.at_ns
        for agent in sorted(order.agents):
            self.orders_of[agent].append(order)
        return order

    def _matches(self, tenant: str, kind: str, value: str, agent: str) -> bool:
        """Scope matching by deployment record: a global order concerns everybody, any other only agents of its own tenant."""
        record = self.agents[agent]
        if kind == "global":
            return True
        if record["tenant"] != tenant:
            return False
        return bool(value == {"agent": agent, "tenant": tenant}.get(kind) or (kind == "label" and value in record["labels"]))

    def _order_durable(self, index: int, fact: Fact) -> None:
        order = self.orders.get(fact.body["order"])
        if order is None:
            raise ValueError(f"order {fact.body['order'][:12]} became durable before any node learned it")
        self.node(fact.node).durable.setdefault(order.order, index)
        if is_replica(fact.node) and fact.node not in order.holders:
            order.holders[fact.node] = index
            number = next((number for number, cell in enumerate(self.cells) if fact.node in cell.replicas), 0)
            if self.held_in(order, number) == self.cells[number].kill_quorum:
                order.effective[number] = (fact.at_ns, index)

    def _certificate_learned(self, index: int, fact: Fact) -> None:
        certificate = fact.body["certificate"]
        if certificate not in self.covers:
            self.covers[certificate] = frozenset(order for order in fact.body["covers"] if self._may_speak_of(order, fact.body))
            self.approvers[certificate] = frozenset(fact.body["approvers"])
            self.news_ns = fact.at_ns
        if not fact.body["authentic"]:
            self.forged.add(certificate)
        if certificate not in self.forged:
            node = self.node(fact.node)
            for order in self.covers[certificate]:
                node.lifted.setdefault(order, index)

    def _may_speak_of(self, order: str, certificate: Mapping[str, Any]) -> bool:
        """Whether an order lies within the tenant and scope of a certificate. One that nobody learned before is left to its word."""
        known = self.orders.get(order)
        scope = certificate.get("scope")  # histories of earlier versions do not tell
        return known is None or scope is None or known.within(certificate["tenant"], (scope[0], scope[1]))

    def _keyset_installed(self, _index: int, fact: Fact) -> None:
        if fact.body["authentic"]:
            self.revoked.update(fact.body["revoked"])
            self.news_ns = fact.at_ns

    def _certificate_durable(self, index: int, fact: Fact) -> None:
        certificate = fact.body["certificate"]
        self.covers.setdefault(certificate, frozenset(fact.body["covers"]))
        self._cover(self.node(fact.node), certificate, index, fact.at_ns)

    def _cover(self, node: Node, certificate: str, index: int, at_ns: int) -> None:
        node.certificates.setdefault(certificate, index)
        if certificate in self.forged:
            return
        node.revision += 1
        for covered in self.covers.get(certificate, ()):
            node.covered.setdefault(covered, index)
            node.lifted.setdefault(covered, index)
            self.covered.setdefault(covered, Covered(index, at_ns))

    def _intent_recovered(self, index: int, fact: Fact) -> None:
        node = self.node(fact.node)
        if fact.node in self.custody:
            _hold_only(node, set(fact.body["orders"]), set(fact.body["certificates"]))
        for order in fact.body["orders"]:
            if order in node.uncertain:
                node.known.setdefault(order, node.uncertain[order])
        for certificate in fact.body["certificates"]:
            self._cover(node, certificate, index, fact.at_ns)
        node.uncertain = {}
        node.revision += 1

    # -- nodes and processes

    def _node_started(self, index: int, fact: Fact) -> None:
        node = self.node(fact.node)
        node.up, node.paused, node.disk_failed, node.disk_full, node.doubts, node.unread = True, False, False, False, False, False
        node.boot, node.instance, node.measures_from = fact.body["boot"], fact.body["instance"], (index, fact.clock_ns)
        node.started_index, node.started_ns, node.since_ns = index, fact.at_ns, fact.at_ns
        node.revision += 1
        if fact.node in self._lost:
            self._lost.discard(fact.node)
            self._forgets(index, fact)
        if fact.node.startswith("sidecar/"):
            self.rounds.forget(agent_of(fact.node))

    def _node_crashed(self, index: int, fact: Fact) -> None:
        node = self.node(fact.node)
        node.up = False
        node.lives.append((node.started_ns, fact.at_ns))
        node.uncertain = {order: learned for order, learned in node.known.items() if order not in node.durable}
        node.known = {order: learned for order, learned in node.known.items() if order in node.durable}
        node.lifted = dict(node.covered)
        node.revision += 1
        if fact.node.startswith(("sidecar/", "agent/")) and agent_of(fact.node) in self.processes:
            self.processes[agent_of(fact.node)].alive = False
        if fact.node.startswith("agent/"):
            self.touched[fact.node] = index  # how every process ends, also one that was asked to; what breaks it is a fault of its own
        else:
            self._disturb(index, fact)

    def _node_paused(self, index: int, fact: Fact) -> None:
        self.node(fact.node).paused = True
        self._disturb(index, fact)

    def _node_resumed(self, index: int, fact: Fact) -> None:
        node = self.node(fact.node)
        node.paused, node.since_ns = False, fact.at_ns
        self._disturb(index, fact)

    def _clock_doubted(self, index: int, fact: Fact) -> None:
        node = self.node(fact.node)
        node.doubts, node.measures_from = fact.kind == "clock-suspected", (index, fact.clock_ns)

    def _disk_failed(self, index: int, fact: Fact) -> None:
        self.node(fact.node).disk_failed = True
        self._disturb(index, fact)

    def _disk_full(self, _index: int, fact: Fact) -> None:
        self.node(fact.node).disk_full = fact.kind == "disk-full"

    def _process_started(self, index: int, fact: Fact) -> None:
        self.processes[fact.body["agent"]] = Process(token_of(fact.body["token"]), index, fact.at_ns)

    def _process_reaped(self, _index: int, fact: Fact) -> None:
        process = self.processes.get(fact.body["agent"])
        if process is not None:
            process.alive = False

    # -- leases

    def _lease_requested(self, index: int, fact: Fact) -> None:
        body = fact.body
        self.rounds.requested(body["agent"], body["nonce"], token_of(body["token"]), body["instance"], fact.clock_ns, index)

    def _lease_granted(self, index: int, fact: Fact) -> None:
        body = fact.body
        if fact.node not in self.cell_of(body["agent"]).replicas:
            return  # whatever another cell grants is no part of a quorum
        node = self.node(fact.node)
        known = tuple([order.order for order, _ in self.in_force(node, body["agent"])]) if node.known else ()
        self.rounds.granted(body["agent"], body["nonce"], fact.node, token_of(body["token"]), int(body["len_ns"]), known, index)

    # -- faults

    def _fault_on(self, index: int, fact: Fact) -> None:
        targets = targets_of(fact.body["target"])
        for node in targets:
            self._struck_by.setdefault(node, set()).add(fact.body["what"])
        if fact.body["what"] in WALL_FAULTS:
            self.wall_suspects.update(targets)
            return  # nothing but stamps of records may come of it (T5, S24): all else stays due
        self.faults_on[fact.body["fault"]] = targets
        self.disturbed_ns = fact.at_ns
        for node in targets:
            self.touched[node] = index
            if fact.body["what"] in CLOCK_FAULTS:
                self.clock_suspects.setdefault(node, index)
            elif fact.body["what"] in CUSTODY_FAULTS:
                self._lose_custody(index, node, fact.body["what"])

    def _lose_custody(self, index: int, node: str, what: str) -> None:
        """What the node calls durable may be gone when it next boots. A host has one disk for its sidecar and its agent."""
        self.custody.setdefault(node, index)
        if what == "disk-lost":
            self._lost.add(node)
        if what == "disk-lost" and node.startswith("sidecar/"):
            self.custody.setdefault(f"agent/{agent_of(node)}", index)
        if what == "disk-lie":
            self.liars.add(node)

    def _forgets(self, index: int, fact: Fact) -> None:
        """Whoever has no peers has nobody to learn from."""
        if is_replica(fact.node) and len(self.cell_with(fact.node).replicas) > 1:
            self.forgetful.setdefault(fact.node, index)

    def _unread(self, _index: int, fact: Fact) -> None:
        self.node(fact.node).unread = True

    def _joined(self, _index: int, fact: Fact) -> None:
        self.forgetful.pop(fact.node, None)

    def _fault_off(self, index: int, fact: Fact) -> None:
        if fact.body["what"] in WALL_FAULTS:
            return
        for node in self.faults_on.pop(fact.body["fault"], ()):
            self.touched[node] = index
        self.disturbed_ns = fact.at_ns

    def _node_cloned(self, index: int, fact: Fact) -> None:
        """From here on two hosts write a log of that name, whichever of them this run is about."""
        self.doubled.setdefault(fact.node, index)

    def _healed(self, _index: int, fact: Fact) -> None:
        if self.faults_on:
            self.disturbed_ns = fact.at_ns
        self.faults_on.clear()
        self.healed_ns = fact.at_ns

    def _disturb(self, index: int, fact: Fact) -> None:
        self.touched[fact.node] = index
        self.disturbed_ns = fact.at_ns


def _hold_only(node: Node, orders: set[str], certificates: set[str]) -> None:
    """The node has lost what it does not show that it recovered, through no fault of its own."""
    node.known = {order: learned for order, learned in node.known.items() if order in orders}
    node.durable = {order: index for order, index in node.durable.items() if order in orders}
    node.certificates = {certificate: index for certificate, index in node.certificates.items() if certificate in certificates}
    node.covered.clear()
    node.lifted.clear()
