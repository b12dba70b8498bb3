"""What waiting alone allows to be said, and that it is said (L13): a replica that has outwaited every lease against an order tells so, and once k
have, whoever is not proven stopped is declared.

Owns what is owed of T4 by a replica in the end; that none says it too soon is S20's. Must not know what sidecars owe (``proving``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.checkers.bounds import HOST_LAG_NS, stretch
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.well import Well
from harness.checkers.words import CLOSED, STOPPED, is_replica
from harness.shared.history import Fact

Blame = Callable[..., None]


class Presumptions:
    """Shown every fact of ``KINDS``, asked once at the end. A replica owes it as far as it is well: what befell it began its waits anew."""

    KINDS = Well.KINDS | {"order-durable", "vouched", "declared", "node-started", "evidence-taken", "clock-suspected", "clock-trusted"}

    def __init__(self, run: Run) -> None:
        self._run = run
        self._well = Well(run)
        self._durable_ns: dict[tuple[str, str], int] = {}  # replica, order
        self._measures_ns: dict[str, int] = {}  # replica -> when it last began or ceased to doubt its clock
        self._waited: dict[str, dict[str, int]] = {}  # replica -> the orders that this start of it says it has outwaited, and since when
        self._declared: set[tuple[str, str, str]] = set()  # replica, order, agent
        self._proven: dict[str, set[tuple[str, str]]] = {}  # replica -> order, agent of which this start of it took in a proof of a stop

    def see(self, fact: Fact) -> None:
        body = fact.body
        if fact.kind in Well.KINDS:
            self._well.see(fact)
        elif is_replica(fact.node):
            match fact.kind:
                case "order-durable":
                    self._durable_ns.setdefault((fact.node, body["order"]), fact.at_ns)
                case "vouched":
                    if body["what"] == "wait":
                        self._waited.setdefault(fact.node, {}).setdefault(body["about"], fact.at_ns)
                case "declared":
                    self._declared.add((fact.node, body["order"], body["agent"]))
                case "evidence-taken":
                    if body["stage"] in STOPPED:
                        self._proven.setdefault(fact.node, set()).add((body["order"], body["agent"]))
                case "node-started":
                    self._waited.pop(fact.node, None)
                    self._proven.pop(fact.node, None)
                case _:
                    self._measures_ns[fact.node] = fact.at_ns

    def settle(self, blame: Blame) -> int:
        """Blame what was owed and not said; how many instances there were."""
        examined = 0
        for replica in self._run.replicas:
            well_ns = self._well.since_ns(replica)
            if well_ns is None or self._run.node(replica).doubts:
                continue
            for order, agents in self._outwaits(replica):
                wait_due_ns = self._wait_due_ns(replica, order, well_ns)
                examined += self._judge_wait(replica, order, wait_due_ns, blame)
                for agent in agents:
                    examined += self._judge_declaration(replica, order, agent, well_ns, wait_due_ns, blame)
        return examined

    def _outwaits(self, replica: str) -> Iterator[tuple[Order, list[str]]]:
        """The orders whose leases a replica outwaits, with those of its own cell whom they concern."""
        home = self._run.cell_with(replica).agents
        for identity in self._run.node(replica).known:
            order = self._run.orders[identity]
            agents = sorted(order.agents.intersection(home))
            held = (replica, identity) in self._durable_ns
            if order.gate == CLOSED and agents and held and identity not in self._run.covered:
                yield order, agents

    def _wait_due_ns(self, replica: str, order: Order, well_ns: int) -> int:
        """By when a replica has outwaited every lease against an order, and has told its peers, whatever its clock."""
        run, bounds = self._run, self._run.bounds
        node = run.node(replica)
        learned_ns, durable_ns = node.known[order.order].at_ns, self._durable_ns[replica, order.order]
        since_ns = max(well_ns, node.since_ns, learned_ns, durable_ns, self._measures_ns.get(replica, 0))
        return since_ns + stretch(bounds.residue_ns(challenged=True) + bounds.gossip_ns, bounds.drift_ppm) + HOST_LAG_NS

    def _judge_wait(self, replica: str, order: Order, due_ns: int, blame: Blame) -> int:
        """Waits are seen where they are told: one who is alone in its cell has nobody to tell, and shows its wait by what it declares."""
        if due_ns > self._run.end_ns or self._is_alone(replica):
            return 0
        if self._waited.get(replica, {}).get(order.order, due_ns + 1) > due_ns:
            why = f"{replica} has outwaited every lease against {order.severity} {order.order[:12]}, and did not say so in time"
            blame(why, self._run.node(replica).known[order.order].index)
        return 1

    def _is_alone(self, replica: str) -> bool:
        return len(self._run.cell_with(replica).replicas) == 1

    def _judge_declaration(self, replica: str, order: Order, agent: str, well_ns: int, wait_due_ns: int, blame: Blame) -> int:
        """Who hears of the waits of others counts from when links are whole, and from its own wait; one who is alone, from when that was over."""
        run, cell = self._run, self._run.cell_with(replica)
        waits_ns = {peer: self._waited[peer][order.order] for peer in cell.replicas if order.order in self._waited.get(peer, ())}
        if self._is_alone(replica):
            waits_ns = {replica: wait_due_ns}
        if run.healed_ns is None or replica not in waits_ns or len(waits_ns) < cell.kill_quorum:
            return 0
        said_ns = max(sorted(waits_ns.values())[cell.kill_quorum - 1], waits_ns[replica])
        due_ns = max(said_ns, run.healed_ns, well_ns, *(run.node(peer).since_ns for peer in waits_ns)) + run.bounds.propagation_ns
        if due_ns > run.end_ns or (order.order, agent) in self._proven.get(replica, ()):
            return 0
        if (replica, order.order, agent) not in self._declared:
            why = f"{replica} knows that k replicas have outwaited every lease against {order.severity} {order.order[:12]}"
            blame(f"{why}, has no proof that {agent} stopped, and does not declare it", *order.proof())
        return 1
