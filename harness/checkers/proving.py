"""L13: what can be proven of a stop is proven, and soon."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checkers.bounds import HOST_LAG_NS
from harness.checkers.checker import InvariantChecker
from harness.checkers.presuming import Presumptions
from harness.checkers.run import Run
from harness.checkers.words import ALIVE, CLOSED, DRAIN, KILL, NO_TOKEN, STOPPED, Token, agent_of, gate_of, token_of
from harness.shared.history import Fact

Owed = tuple[str, str, Token]  # order, stage, token


class Proof(InvariantChecker):
    """L13. Of every order that a sidecar knows and nothing covers, it puts on record, within a second of real time, what has become true of its agent
    and lasts that long:

    - DRAINING, of an order that drains, once the gate is at DRAIN or CLOSED with the process alive;
    - GATE_CLOSED, of one that closes, once the gate is CLOSED with the process alive; and of one that lets the process live, once it is gone;
    - STOPPED_CLEAN or STOPPED_FORCED, of one that stops, once the process tree of a start is gone.

    While an order of KILL is known as well, and the process lives, nothing is owed: there is one proof of a kill, that it came about.

    What says more is a proof of it as well: a stop, or that the process would not die. An instance is an order, stage and start. Sidecars that a
    fault ever touched, which started again, or have a double, owe nothing here: what they prove after that, others judge (S20, L3).

    And where no proof comes, what can be presumed is said (T4): a replica that holds an order durably that shuts a gate, and that nothing covers,
    says that it has outwaited every lease against it within (W + P + gossip)/(1-rho) + 1 s of when it learned it, or was last healed, started,
    resumed or changed its mind about its clock; and as soon as it may know, by propagation, that k of its cell have, it declares each agent there
    of which it has taken in no proof of a stop. An instance is an order and such a replica, and for a declaration an agent as well.
    """

    invariant = "L13"
    title = "Proof: what can be proven of an order, or presumed by waiting, is put on record as soon as it is true"
    kinds = Presumptions.KINDS | {
        "gate-changed", "process-started", "process-reaped", "order-learned", "certificate-durable", "evidence-recorded", "node-started",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._gates: dict[str, int] = {}  # agent -> where its gate stands
        self._reaped: dict[str, Token] = {}  # agent -> the start whose tree is gone, until the next
        self._owed: dict[str, dict[Owed, tuple[int, int]]] = {}  # agent -> what is true, since when, and the fact
        self._proven: dict[tuple[str, str, str], Token] = {}  # agent, order, stage -> of the latest start
        self._started: set[str] = set()
        self._excused: set[str] = set()
        self._presumptions = Presumptions(run)

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Presumptions.KINDS:
            self._presumptions.see(fact)
        if not fact.node.startswith("sidecar/"):
            return
        agent = agent_of(fact.node)
        self._due(agent, fact.at_ns)
        match fact.kind:
            case "gate-changed":
                self._gates[agent] = gate_of(fact.body["gate"])
            case "process-started":
                self._reaped.pop(agent, None)
            case "process-reaped":
                self._reaped[agent] = token_of(fact.body["token"])
            case "evidence-recorded":
                self._take(agent, fact)
            case "node-started":
                if fact.node in self._started:
                    self._excused.add(fact.node)
                self._started.add(fact.node)
        self._look(index, fact.at_ns, agent)

    def settle(self) -> None:
        for agent in list(self._owed):
            self._due(agent, self.run.end_ns)
        self.examined += self._presumptions.settle(self.blame)

    def _take(self, agent: str, fact: Fact) -> None:
        stage = fact.body["stage"]
        said = ("DRAINING", "GATE_CLOSED") if stage == "KILL_FAILED" else ("STOPPED",) if stage in STOPPED else (stage,)
        for each in said:
            self._note(agent, (fact.body["order"], each, token_of(fact.body["token"])))

    def _note(self, agent: str, proven: Owed) -> None:
        order, stage, token = proven
        self._proven[agent, order, stage] = max(token, self._proven.get((agent, order, stage), token))

    def _is_proven(self, agent: str, owed: Owed) -> bool:
        """For its start, or a later one, which came to nothing if the earlier is still spoken of."""
        order, stage, token = owed
        return self._proven.get((agent, order, stage), NO_TOKEN) >= token

    def _true(self, agent: str) -> Iterator[Owed]:
        """What is true of each order that the agent's sidecar knows."""
        process, gate = self.run.processes.get(agent), self._gates.get(agent, CLOSED)
        orders = [order for order, _ in self.run.in_force(self.run.sidecar(agent), agent)]
        if agent not in self._reaped and any(order.life == KILL for order in orders):
            return  # there is one proof of a kill: that it came about
        for order in orders:
            if agent in self._reaped:
                yield (order.order, "GATE_CLOSED" if order.life == ALIVE else "STOPPED", self._reaped[agent])
            elif process is not None and process.alive:
                if order.gate == DRAIN and gate >= DRAIN:
                    yield (order.order, "DRAINING", process.token)
                elif order.gate == CLOSED and gate == CLOSED:
                    yield (order.order, "GATE_CLOSED", process.token)

    def _look(self, index: int, at_ns: int, agent: str) -> None:
        """Note since when what is true now has been true."""
        before = self._owed.get(agent, {})
        owed = {each: before.get(each, (at_ns, index)) for each in self._true(agent) if not self._is_proven(agent, each)}
        self.examined += len(owed.keys() - before.keys())
        self._owed[agent] = owed

    def _due(self, agent: str, at_ns: int) -> None:
        """Blame what has been true for too long without a proof; once."""
        sidecar = f"sidecar/{agent}"
        for owed, (since_ns, index) in list(self._owed.get(agent, {}).items()):
            if at_ns - since_ns > HOST_LAG_NS and not self._is_excused(sidecar):
                order, stage, _ = owed
                self.blame(
                    f"{sidecar} never put on record that {agent} is {stage} under {order[:12]}, which was true for {at_ns - since_ns} ns", index
                )
                self._note(agent, owed)

    def _is_excused(self, sidecar: str) -> bool:
        return sidecar in self._excused or sidecar in self.run.touched or sidecar in self.run.custody or sidecar in self.run.doubled
