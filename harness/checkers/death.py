"""L2: a process that must end, ends, and its sinks are told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.checkers.bounds import FENCE_ARRIVES_NS
from harness.checkers.countdowns import Countdowns
from harness.checkers.orphans import Orphans
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import KILL, LINK_FAULTS, NO_TOKEN, Token, agent_of, is_replica, token_of
from harness.shared.history import Fact


@dataclass(frozen=True, slots=True)
class _Shutting:
    """A replica that has to tell an agent's sinks to refuse a token: ``why``, and by when."""

    replica: str
    agent: str
    order: str
    token: Token
    why: str
    index: int
    due_ns: int


class Death(Countdowns):
    """L2. From the step in which a sidecar learns an order with life KILL, its agent's live process tree is gone within kappa = (2 kill retries
    + 1 s)/(1-rho) of the time in which the sidecar is up and not paused; or, where a fault kept it from dying, KILL_FAILED is sent in that time,
    or later by a sidecar that a fault, but of links, slows meanwhile. And whatever cannot be ended is shut out: every class F sink of the agent
    holds a fence above the token of a KILL_FAILED within the bound of propagation and 2 s, after the heal, unless the order is lifted or the
    process is gone by then. So does every such sink, process or not, above the token that a replica had promised the agent before it learned an
    order of KILL, within the same time after that replica learned it or last started: a fence is pressed on until it holds, whatever else is
    lifted meanwhile.

    And whatever an order asked for, a kill or a stop: a replica that has taken in KILL_FAILED and the order, whichever came first, has told
    every class F sink of the agent within a round of gossip to refuse the token that lives on, unless it was lifted there, crashed or was paused by
    then. So has, above the token that it had promised the agent, a replica of its home cell that learns an order of KILL, or that starts anew while
    one is in force there and some such sink holds no such fence.

    And whoever has begun to kill goes on: while the process tree lives, no more than a kill retry and a second pass without another SIGKILL, by a
    sidecar that no fault touched.

    And of a process tree that a sidecar finds at its start, which an earlier start of it began and nobody saw reaped: it is sent SIGKILL before that
    sidecar asks for a lease, whatever is ordered (3.6); and within kappa it is gone, or that it cannot be ended is on record of each order that asks
    for a stop and is known there; unless a fault touched that sidecar since, or it is paused or crashes again.

    An order that reaches the sidecar in a form that it may not know, or under a key, is as good as learned: what cannot be read is enforced by what
    its frame says outside (V3), what cannot be verified by its body (D7).

    Lifted by a certificate durable at the sidecar; for fences, anywhere. An instance is an order and a live process, or one that is found and lives
    on, a KILL_FAILED, one that a replica takes in, or an order and a promise, when it is learned, at a start, and at the end; one that the run's end
    cuts short is not counted.
    """

    invariant = "L2"
    title = "Death: a process under a hard order is gone within kappa, or said to live on, and shut out"
    kinds = Countdowns.kinds | Orphans.KINDS | {
        "fault-on", "fence-durable", "fence-sent", "prohibition-arrived", "token-promised", "evidence-taken", "certificate-learned",
        "process-killed", "intent-recovered",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._undying: set[str] = set()
        self._orphans = Orphans(self)
        self._kills: dict[str, tuple[int, int]] = {}  # agent -> when its live process was last sent SIGKILL, and the fact
        self._failed: dict[tuple[str, str], tuple[Token, int, int]] = {}
        self._fences: dict[tuple[str, str], Token] = {}
        self._promised: dict[tuple[str, str], list[tuple[Token, int]]] = {}  # replica, agent -> its durable promises
        self._sent: dict[str, dict[tuple[str, str], Token]] = {}  # replica -> {(agent, sink): greatest fence that this start of it told of}
        self._shutting: list[_Shutting] = []
        self._early: list[_Shutting] = []  # of orders that the replica has not learned yet

    def allowed_ns(self, order: Order) -> int | None:
        return self.run.bounds.death_ns if order.life == KILL else None

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Orphans.KINDS:
            self._orphans.see(index, fact)
        if fact.kind == "fault-on":
            if fact.body["what"] == "unkillable":
                self._undying.update(agent_of(node) for node in fact.body["target"])
        elif fact.kind == "prohibition-arrived":
            agent, order = agent_of(fact.node), self.run.orders.get(fact.body["order"])
            if order is not None and fact.body["sender"] in self.run.cell_of(agent).replicas and not self.run.lifted(order, agent):
                self._start(agent, order, index, fact.at_ns)
        elif fact.kind == "fence-durable":
            key = (fact.body["agent"], fact.body["sink"])
            self._fences[key] = max(token_of(fact.body["min_token"]), self._fences.get(key, NO_TOKEN))
        elif fact.kind == "evidence-sent" and fact.body["stage"] == "KILL_FAILED":
            self._said(index, fact, fact.body["agent"])
        elif fact.kind == "token-promised":
            self._promised.setdefault((fact.node, fact.body["agent"]), []).append((token_of(fact.body["token"]), index))
        elif fact.kind == "evidence-taken":
            self._takes(index, fact)
        elif fact.kind == "fence-sent":
            sent, key = self._sent.setdefault(fact.node, {}), (fact.body["agent"], fact.body["sink"])
            sent[key] = max(token_of(fact.body["min_token"]), sent.get(key, NO_TOKEN))
            self._judge_shutting(fact.at_ns)
        elif fact.kind == "certificate-learned":
            self._judge_shutting(fact.at_ns)
        elif fact.kind == "process-killed":
            self._judge_kills(fact.body["agent"], fact.at_ns)
            self._kills[fact.body["agent"]] = (fact.at_ns, index)
        elif fact.kind == "intent-recovered":
            self._starts_anew(index, fact)
        else:
            self._counts(index, fact)

    def _counts(self, index: int, fact: Fact) -> None:
        """What countdowns are about, too."""
        if fact.kind in ("node-crashed", "node-paused"):
            self._stops_short(fact)
        elif fact.kind == "order-learned" and is_replica(fact.node):
            self._hears_why(fact)
            self._has_to_shut_out(self.run.orders[fact.body["order"]], index, fact)
        elif fact.kind == "process-reaped":
            self._judge_kills(fact.body["agent"], fact.at_ns)
            self._failed = {key: failed for key, failed in self._failed.items() if key[0] != fact.body["agent"]}
        super().see(index, fact)

    def _judge_kills(self, agent: str, at_ns: int) -> None:
        """It was killed again, is gone, or nobody is there to kill it: was anybody at it until then?"""
        last_ns, index = self._kills.pop(agent, (at_ns, 0))
        if at_ns - last_ns > self.run.bounds.kill_again_ns and f"sidecar/{agent}" not in self.run.touched:
            self.blame(f"sidecar/{agent} did not kill {agent} again for {at_ns - last_ns} ns, and it lived", index)

    def _said(self, index: int, fact: Fact, agent: str) -> None:
        """It is an excuse only for who had one; nobody else's countdown stops by it."""
        self._failed[agent, fact.body["order"]] = (token_of(fact.body["token"]), fact.at_ns, index)
        if agent in self._undying:
            for countdown in self._countdowns.pop(agent, ()):
                self.examined += 1
                elapsed_ns = countdown.elapsed_ns(fact.at_ns)
                excused = f"sidecar/{agent}" in self.run.clock_suspects or self._is_slowed(f"sidecar/{agent}", countdown.index)
                if elapsed_ns > countdown.allowed_ns and not excused:
                    why = f"{fact.node} said that it cannot end {agent} {elapsed_ns} ns after {countdown.began}; allowed are "
                    self.blame(f"{why}{countdown.allowed_ns} ns", countdown.index, index)

    def _is_slowed(self, sidecar: str, since: int) -> bool:
        """Whether a fault, but of links, may keep back what it says: one that was on since the fact ``since``."""
        on = any(sidecar in targets for targets in self.run.faults_on.values())
        return self.run.struck(sidecar, LINK_FAULTS) and (on or self.run.touched.get(sidecar, -1) > since)

    def _takes(self, index: int, fact: Fact) -> None:
        """A replica has it that something lives on: from here on it has a round of gossip to tell the sinks, if it has not told them yet."""
        order, node = fact.body["order"], self.run.node(fact.node)
        if fact.body["stage"] == "KILL_FAILED":
            due_ns, token = fact.at_ns + self.run.bounds.fencing_ns, token_of(fact.body["token"])
            why = f"took in that {fact.body['agent']} could not be ended under token {token}"
            taken = _Shutting(fact.node, fact.body["agent"], order, token, why, index, due_ns)
            (self._shutting if order in node.known else self._early).append(taken)
            self._judge_shutting(fact.at_ns)

    def _hears_why(self, fact: Fact) -> None:
        """The order comes after the proof that it could not be carried out."""
        heard = [each for each in self._early if each.replica == fact.node and each.order == fact.body["order"]]
        self._early = [each for each in self._early if each not in heard]
        self._shutting += [replace(each, due_ns=fact.at_ns + self.run.bounds.fencing_ns) for each in heard]

    def _has_to_shut_out(self, order: Order, index: int, fact: Fact, *, anew: bool = False) -> None:
        """The order is one of KILL, perhaps: then whatever was promised its agents until now is to be refused; by sinks that hold it off already,
        too, but not from who starts anew."""
        if order.life != KILL or fact.node in self.run.custody:
            return
        for agent in sorted(order.agents):
            promised = self._promised.get((fact.node, agent))
            if promised is None or fact.node not in self.run.cell_of(agent).replicas:
                continue
            (token, _), sinks = max(promised), self.run.sinks_of(agent, "F")
            if not sinks or (anew and all(self._fences.get((agent, sink), NO_TOKEN) > token for sink in sinks)):
                continue
            why = f"{'started under' if anew else 'learned'} {order.severity} {order.order[:12]} of {agent}, which it had promised token {token}"
            self._shutting.append(_Shutting(fact.node, agent, order.order, token, why, index, fact.at_ns + self.run.bounds.fencing_ns))
        self._judge_shutting(fact.at_ns)

    def _starts_anew(self, index: int, fact: Fact) -> None:
        if is_replica(fact.node):
            for order in self.run.orders.values():
                if order.order in self.run.node(fact.node).known and order.order not in self.run.node(fact.node).lifted:
                    self._has_to_shut_out(order, index, fact, anew=True)

    def _stops_short(self, fact: Fact) -> None:
        if fact.node.startswith(("agent/", "sidecar/")):
            self._judge_kills(agent_of(fact.node), fact.at_ns)
        self._judge_shutting(fact.at_ns)
        self._shutting = [each for each in self._shutting if each.replica != fact.node]
        self._early = [each for each in self._early if each.replica != fact.node]
        if fact.kind == "node-crashed":
            self._sent.pop(fact.node, None)

    def _judge_shutting(self, at_ns: int) -> None:
        """Has whoever owes its sinks a word told every one, has its time run out, or is nothing owed any more? Asked whenever that changes."""
        pending, self._shutting = self._shutting, []
        for each in pending:
            sent = self._sent.get(each.replica, {})
            told = all(sent.get((each.agent, sink), NO_TOKEN) > each.token for sink in self.run.sinks_of(each.agent, "F"))
            if at_ns > each.due_ns:
                self.examined += 1
                told_ns = self.run.bounds.fencing_ns
                self.blame(f"{each.replica} {each.why}, and did not tell every sink to refuse that within {told_ns} ns", each.index)
            elif told:
                self.examined += 1
            elif each.order not in self.run.node(each.replica).lifted:
                self._shutting.append(each)

    def settle(self) -> None:
        super().settle()
        self._orphans.settle()
        self._judge_shutting(self.run.end_ns)
        for agent in list(self._kills):
            self._judge_kills(agent, self.run.end_ns)
        for (agent, order), (token, at_ns, index) in self._failed.items():
            due_ns = max(at_ns, self.run.healed_ns or 0) + self.run.bounds.propagation_ns + FENCE_ARRIVES_NS
            if due_ns > self.run.end_ns or order in self.run.covered:
                continue
            self.examined += 1
            for sink in self.run.sinks_of(agent, "F"):
                if self._fences.get((agent, sink), NO_TOKEN) <= token:
                    self.blame(f"{agent} could not be ended, and {sink} was never fenced above its token {token}", index)
        for killing in self.run.orders.values():
            if killing.life == KILL and killing.order not in self.run.covered:
                self._judge_fences(killing)

    def _judge_fences(self, order: Order) -> None:
        """What each replica that knows an order of KILL has to have pressed for, of what it had promised until then."""
        for agent in sorted(order.agents):
            for replica in self.run.cell_of(agent).replicas:
                node, learned = self.run.node(replica), self.run.node(replica).known.get(order.order)
                if learned is None or not node.works or replica in self.run.custody or self.run.healed_ns is None:
                    continue
                due_ns = max(learned.at_ns, node.since_ns, self.run.healed_ns) + self.run.bounds.propagation_ns + FENCE_ARRIVES_NS
                promised = [token for token, index in self._promised.get((replica, agent), ()) if index < learned.index]
                if not promised or due_ns > self.run.end_ns:
                    continue
                self.examined += 1
                for sink in self.run.sinks_of(agent, "F"):
                    fenced = self._fences.get((agent, sink), NO_TOKEN) > max(promised)
                    if not fenced and self.run.node(sink).works and sink not in self.run.custody:
                        why = f"{replica} knew {order.severity} {order.order[:12]} of {agent}, and {sink} was never fenced above "
                        self.blame(f"{why}its token {max(promised)}", learned.index)
