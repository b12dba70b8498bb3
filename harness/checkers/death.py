"""L2 and L3: a process that must end, ends; and a soft stop that does not complete becomes a hard one.

Time counts only while the sidecar is up and not paused. A crash of the sidecar ends the instance: the tree dies with its sidecar, has no
way out to a sink meanwhile, and S23 and S6 judge what is let out, and started, afterwards.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

from harness.checkers.bounds import FENCE_ARRIVES_NS, stretch
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Learned, Order
from harness.checkers.words import KILL, NO_TOKEN, STOP, STOPPED, Token, agent_of, token_of
from harness.shared.history import Fact


@dataclass(slots=True)
class _Countdown:
    """An order that a sidecar knows and that its agent's process has to obey; None: it was asked to stop for another reason. ``spent_ns``: counted so
    far; ``since_ns`` None: paused."""

    order: Order | None
    index: int
    allowed_ns: int
    since_ns: int | None
    spent_ns: int = 0

    def pause(self, at_ns: int) -> None:
        if self.since_ns is not None:
            self.spent_ns, self.since_ns = self.spent_ns + at_ns - self.since_ns, None

    def resume(self, at_ns: int) -> None:
        if self.since_ns is None:
            self.since_ns = at_ns

    @property
    def began(self) -> str:
        return "it was asked to stop" if self.order is None else f"its sidecar learned {self.order.severity} {self.order.order[:12]}"

    def elapsed_ns(self, at_ns: int) -> int:
        return self.spent_ns + (at_ns - self.since_ns if self.since_ns is not None else 0)


@dataclass(frozen=True, slots=True)
class _Shutting:
    """A replica that was given proof that an agent cannot be ended, and has to tell its sinks."""

    replica: str
    agent: str
    order: str
    token: Token
    index: int
    due_ns: int


class _Countdowns(InvariantChecker):
    """Starts a countdown when a sidecar learns an order that ends its live process, or starts one that a known order ends."""

    kinds = frozenset({
        "order-learned", "process-started", "process-reaped", "certificate-durable", "node-crashed", "node-paused", "node-resumed", "evidence-sent",
    })  # fmt: skip
    outcome = "reaped"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._countdowns: dict[str, list[_Countdown]] = {}
        self._asked: set[str] = set()  # agents whose latest start was asked for what nobody takes back

    @abstractmethod
    def allowed_ns(self, order: Order) -> int | None:
        """How long the process may outlive the learning of the order; None: this order does not concern the invariant."""

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "order-learned":
                if fact.node.startswith("sidecar/"):
                    self._start(agent_of(fact.node), self.run.orders[fact.body["order"]], index, fact.at_ns)
            case "process-started":
                agent = fact.body["agent"]
                for order, _ in self.run.in_force(self.run.sidecar(agent), agent):
                    self._start(agent, order, index, fact.at_ns)
            case "certificate-durable":
                if fact.node.startswith("sidecar/"):
                    self._lift(agent_of(fact.node))
            case "node-paused" | "node-resumed":
                self._pause(fact)
            case "node-crashed":
                if fact.node.startswith(("sidecar/", "agent/")):
                    gone = fact.node.startswith("agent/")
                    self._end(agent_of(fact.node), index if gone else None, fact.at_ns)
            case "process-reaped" | "process-killed":
                self._end(fact.body["agent"], index, fact.at_ns)

    def settle(self) -> None:
        for agent in list(self._countdowns):
            self._end(agent, None, self.run.end_ns)

    def _start(self, agent: str, order: Order, index: int, at_ns: int) -> None:
        allowed_ns = self.allowed_ns(order)
        process = self.run.processes.get(agent)
        running = [countdown.order for countdown in self._countdowns.get(agent, ())]
        if allowed_ns is None or process is None or not process.alive or agent not in order.agents or order in running:
            return
        if order.order in self.run.sidecar(agent).covered:
            return  # its certificate was quicker: the order was lifted here before it came
        self._count(agent, order, index, allowed_ns, at_ns)

    def _count(self, agent: str, order: Order | None, index: int, allowed_ns: int, at_ns: int) -> None:
        since_ns = None if self.run.sidecar(agent).paused else at_ns
        self._countdowns.setdefault(agent, []).append(_Countdown(order, index, allowed_ns, since_ns))

    def _lift(self, agent: str) -> None:
        covered = self.run.sidecar(agent).covered
        if agent in self._countdowns and agent not in self._asked:
            self._countdowns[agent] = [each for each in self._countdowns[agent] if each.order is None or each.order.order not in covered]

    def _pause(self, fact: Fact) -> None:
        if fact.node.startswith("sidecar/"):
            for countdown in self._countdowns.get(agent_of(fact.node), ()):
                countdown.pause(fact.at_ns) if fact.kind == "node-paused" else countdown.resume(fact.at_ns)

    def _end(self, agent: str, index: int | None, at_ns: int) -> None:
        """The process is gone (``index``), or the sidecar, or the run, ended before it (None): was the time over by then?"""
        for countdown in self._countdowns.pop(agent, ()):
            elapsed_ns = countdown.elapsed_ns(at_ns)
            if f"sidecar/{agent}" in self.run.clock_suspects:
                self.skipped += 1
            elif index is not None or elapsed_ns > countdown.allowed_ns:
                self.examined += 1
                self.measure(elapsed_ns, countdown.allowed_ns)
                if elapsed_ns > countdown.allowed_ns:
                    until = f"was {self.outcome} {elapsed_ns} ns" if index is not None else f"was not {self.outcome} within {elapsed_ns} ns"
                    why = f"the process of {agent} {until} after {countdown.began}"
                    self.blame(f"{why}; allowed are {countdown.allowed_ns} ns", countdown.index, *(() if index is None else (index,)))


class Death(_Countdowns):
    """L2. From the step in which a sidecar learns an order with life KILL, its agent's live process tree is gone within kappa =
    (2 kill retries + 1 s)/(1-rho) of the time in which the sidecar is up and not paused; or, where a fault kept it from dying, KILL_FAILED is
    sent in that time. And whatever cannot be ended is shut out: every class F sink of the agent holds a fence above the token of a
    KILL_FAILED within the bound of propagation and 2 s, after the heal, unless the order is lifted or the process is gone by then. So does every
    such sink, process or not, above the token that a replica had promised the agent before it learned an order of KILL, within the same time after
    that replica learned it or last started: a fence is pressed on until it holds, whatever else is lifted meanwhile.

    And whatever an order asked for, a kill or a stop: a replica that has taken in KILL_FAILED and the order, whichever came first, has told
    every class F sink of the agent within a round of gossip to refuse the token that lives on, unless it was lifted there, crashed or was paused by
    then.

    An order that reaches the sidecar in a form that it may not know, or under a key, is as good as learned: what cannot be read is enforced by what
    its frame says outside (V3), what cannot be verified by its body (D7).

    Lifted by a certificate durable at the sidecar; for fences, anywhere. An instance is an order and a live process, a KILL_FAILED, one that
    a replica takes in, or an order and a promise; one that the run's end cuts short is not counted.
    """

    invariant = "L2"
    title = "Death: a process under a hard order is gone within kappa, or said to live on, and shut out"
    kinds = _Countdowns.kinds | {
        "fault-on", "fence-durable", "fence-sent", "prohibition-arrived", "token-promised", "evidence-taken", "certificate-learned",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._undying: set[str] = set()
        self._failed: dict[tuple[str, str], tuple[Token, int, int]] = {}
        self._fences: dict[tuple[str, str], Token] = {}
        self._promised: dict[tuple[str, str], list[tuple[Token, int]]] = {}  # replica, agent -> its durable promises
        self._sent: dict[str, dict[tuple[str, str], Token]] = {}  # replica -> {(agent, sink): greatest fence that this start of it told of}
        self._shutting: list[_Shutting] = []
        self._early: list[_Shutting] = []  # of orders that the replica has not learned yet

    def allowed_ns(self, order: Order) -> int | None:
        return self.run.bounds.death_ns if order.life == KILL else None

    def see(self, index: int, fact: Fact) -> None:
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
        else:
            if fact.kind in ("node-crashed", "node-paused"):
                self._stops_short(fact)
            elif fact.kind == "order-learned" and self._early:
                self._hears_why(fact)
            if fact.kind == "process-reaped":
                self._failed = {key: failed for key, failed in self._failed.items() if key[0] != fact.body["agent"]}
            super().see(index, fact)

    def _said(self, index: int, fact: Fact, agent: str) -> None:
        """It is an excuse only for who had one; nobody else's countdown stops by it."""
        self._failed[agent, fact.body["order"]] = (token_of(fact.body["token"]), fact.at_ns, index)
        if agent in self._undying:
            for countdown in self._countdowns.pop(agent, ()):
                self.examined += 1
                elapsed_ns = countdown.elapsed_ns(fact.at_ns)
                if elapsed_ns > countdown.allowed_ns and f"sidecar/{agent}" not in self.run.clock_suspects:
                    why = f"{fact.node} said that it cannot end {agent} {elapsed_ns} ns after {countdown.began}; allowed are "
                    self.blame(f"{why}{countdown.allowed_ns} ns", countdown.index, index)

    def _takes(self, index: int, fact: Fact) -> None:
        """A replica has it that something lives on: from here on it has a round of gossip to tell the sinks, if it has not told them yet."""
        order, node = fact.body["order"], self.run.node(fact.node)
        if fact.body["stage"] == "KILL_FAILED":
            due_ns = fact.at_ns + self.run.bounds.fencing_ns
            taken = _Shutting(fact.node, fact.body["agent"], order, token_of(fact.body["token"]), index, due_ns)
            (self._shutting if order in node.known else self._early).append(taken)
            self._judge_shutting(fact.at_ns)

    def _hears_why(self, fact: Fact) -> None:
        """The order comes after the proof that it could not be carried out."""
        heard = [each for each in self._early if each.replica == fact.node and each.order == fact.body["order"]]
        self._early = [each for each in self._early if each not in heard]
        self._shutting += [replace(each, due_ns=fact.at_ns + self.run.bounds.fencing_ns) for each in heard]

    def _stops_short(self, fact: Fact) -> None:
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
                why = f"{each.replica} took in that {each.agent} could not be ended under token {each.token}, and did not tell its sinks "
                self.blame(f"{why}to refuse that within {self.run.bounds.fencing_ns} ns", each.index)
            elif told:
                self.examined += 1
            elif each.order not in self.run.node(each.replica).lifted:
                self._shutting.append(each)

    def settle(self) -> None:
        super().settle()
        self._judge_shutting(self.run.end_ns)
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


class Escalate(_Countdowns):
    """L3. Under an order with life STOP a live process is killed, or gone by itself, within G/(1-rho) + kappa of the sidecar's time since it
    learned the order; with gate CLOSED the stop timeout stands for G if it is longer. A certificate spares it that only before it was asked to stop:
    who was asked to stop, stops. Asked for another reason, a prohibition that it could not read or a fence above its token, it has the stop timeout
    from then on, or what an order that its sidecar had read gave it, if that was longer.

    And a replica that no fault touched issues the child order of a soft order, or knows one of KILL for the agent, within (G + slack)/(1-rho) + 1 s
    of learning it; so does one that was touched, from when it was healed, with everybody or with a core alone, or last started or resumed. It owes
    that if it had promised the agent a token by then, unless the agent sent STOPPED evidence of its last start: a proof of an earlier token is none.

    That child is an order of KILL, and reaches the agent: its tenant's, whoever gave the soft order.

    And no replica escalates sooner than G + slack, on its own clock, since it learned the order, started, or last began or ceased to doubt that
    clock: what may still be finished is not killed.

    Nor does one escalate for an agent of which it has taken in a proof of a stop under that order, since its own start, that nothing has outdated: no
    token above that of the proof was asked for, be it of promises or of leases, by anybody who speaks for the agent.

    Evidence may be lost on its way, and then a replica escalates too: that is not judged. An instance is an order and a live process, an
    order, an agent and an untouched replica, or an escalation.
    """

    invariant = "L3"
    title = "Escalate: a soft stop that does not complete in time becomes a hard one"
    kinds = _Countdowns.kinds | {"process-killed", "process-termed", "escalated", "token-promised", "core-healed", "healed", "evidence-taken",
                                 "start-proposed", "lease-requested"}  # fmt: skip
    outcome = "killed or reaped"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._children: dict[tuple[str, str], int] = {}
        self._promised_ns: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, Token] = {}  # of each agent's latest start
        self._stopped_ns: dict[str, int] = {}
        self._proven_ns: dict[tuple[str, str], int] = {}
        self._healed: dict[str, tuple[int, int]] = {}  # replica -> (index, when)
        self._asked_for: dict[str, Token] = {}  # agent -> the greatest token for which anything was asked
        self._taken: dict[str, dict[tuple[str, str], tuple[str, Token, int]]] = {}  # replica -> {(order, agent): the latest proof, its index}

    def allowed_ns(self, order: Order) -> int | None:
        if order.life != STOP:
            return None
        bounds = self.run.bounds
        return stretch(order.time_to_stop_ns(bounds), bounds.drift_ppm) + bounds.death_ns

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in ("core-healed", "healed"):
            for replica in fact.body.get("members", self.run.replicas):
                self._healed.setdefault(replica, (index, fact.at_ns))
            return
        if fact.kind == "escalated":
            self._children.setdefault((fact.body["parent"], fact.body["agent"]), fact.at_ns)
            self._judge_child(index, fact)
            return
        if fact.kind == "token-promised":
            self._promised_ns.setdefault((fact.node, fact.body["agent"]), fact.at_ns)
            return
        agent = fact.body.get("agent", "")
        if fact.kind in ("start-proposed", "lease-requested"):
            self._asked_for[agent] = max(token_of(fact.body["token"]), self._asked_for.get(agent, NO_TOKEN))
            return
        if fact.kind == "evidence-taken":
            proof = (fact.body["stage"], token_of(fact.body["token"]), index)
            self._taken.setdefault(fact.node, {})[fact.body["order"], agent] = proof
            return
        if fact.kind == "node-crashed":
            self._taken.pop(fact.node, None)  # what of it was durable, nobody tells
        if fact.kind == "process-termed":
            self._asked.add(agent)
            self._asks(index, agent, fact.at_ns)
            return
        if fact.kind == "process-started":
            self._asked.discard(agent)
            self._tokens[agent] = token_of(fact.body["token"])
            self._stopped_ns.pop(agent, None)
        elif fact.kind == "evidence-sent" and fact.body["stage"] in STOPPED and token_of(fact.body["token"]) >= self._tokens.get(agent, NO_TOKEN):
            self._stopped_ns.setdefault(agent, fact.at_ns)
            self._proven_ns.setdefault((fact.body["order"], agent), fact.at_ns)
        super().see(index, fact)

    def _asks(self, index: int, agent: str, at_ns: int) -> None:
        """Where no order that the sidecar has read asks for the stop, nothing says how long it may take: then it is the stop timeout."""
        if not self._countdowns.get(agent):
            bounds = self.run.bounds
            stops = (self.run.orders[order] for order in self.run.sidecar(agent).known)
            named = (order.time_to_stop_ns(bounds) for order in stops if order.life == STOP and agent in order.agents)
            self._count(agent, None, index, stretch(max(bounds.stop_timeout_ns, *named, 0), bounds.drift_ppm) + bounds.death_ns, at_ns)

    def _judge_child(self, index: int, fact: Fact) -> None:
        """All by the replica's own clock, so that no drift or fault of it needs an exemption."""
        node, order = self.run.node(fact.node), self.run.orders.get(fact.body["parent"])
        learned = node.known.get(fact.body["parent"])
        child, agent = self.run.orders.get(fact.body["child"]), fact.body["agent"]
        if child is not None and not (child.life == KILL and agent in child.agents):
            self.blame(f"{fact.node} escalated for {agent} by {child.severity} {child.order[:12]}, which does not kill it", child.first_index, index)
        stage, token, proven = self._taken.get(fact.node, {}).get((fact.body["parent"], agent), ("", NO_TOKEN, index))
        if stage in STOPPED and token >= self._asked_for.get(agent, NO_TOKEN):
            self.blame(
                f"{fact.node} escalated for {agent}, though it had a proof that this had stopped, and nothing has started since", proven, index
            )
        if order is None or learned is None or fact.node in self.run.custody:
            return
        self.examined += 1
        due_ns, waited_ns = order.time_to_stop_ns(self.run.bounds) + self.run.bounds.slack_ns, node.measured_ns(learned, fact.clock_ns)
        if waited_ns < due_ns:
            why = f"{fact.node} escalated {order.severity} {order.order[:12]} after {waited_ns} ns on its clock; {due_ns} ns are given"
            self.blame(why, learned.index, index)

    def settle(self) -> None:
        super().settle()
        for replica in self.run.replicas:
            well_ns = self._well_since_ns(replica)
            known = self.run.node(replica).known
            for order in self.run.orders.values() if well_ns is not None else ():
                if order.drains and order.order in known:
                    self._judge_replica(order, replica, known[order.order], max(well_ns or 0, known[order.order].at_ns))

    def _well_since_ns(self, replica: str) -> int | None:
        """From when on a replica owes what it can do alone: from the beginning if nothing touched it; else since it was healed, if nothing did since.
        None: never. What it held may have been taken from it (A2), and a clock that was broken measures no grace (T5).
        """
        node, touched = self.run.node(replica), self.run.touched.get(replica)
        if not node.works or replica in self.run.custody or replica in self.run.clock_suspects:
            return None
        if touched is None:
            return 0
        index, at_ns = self._healed.get(replica, (-1, 0))
        return None if index < 0 else max(at_ns, node.since_ns)

    def _judge_replica(self, order: Order, replica: str, learned: Learned, since_ns: int) -> None:
        due_ns = since_ns + self.run.bounds.escalation_ns(order.grace_ns)
        covered = self.run.covered.get(order.order)
        if due_ns > self.run.end_ns or (covered is not None and covered.at_ns <= due_ns):
            return
        known = self.run.node(replica).known
        for agent in sorted(order.agents):
            if self._promised_ns.get((replica, agent), learned.at_ns) >= learned.at_ns or self._stopped_ns.get(agent, due_ns + 1) <= due_ns:
                continue
            if self._proven_ns.get((order.order, agent), due_ns + 1) <= due_ns:
                continue
            if any(other.life == KILL and other.order in known and known[other.order].at_ns <= due_ns for other in self.run.orders_of[agent]):
                continue
            self.examined += 1
            if self._children.get((order.order, agent), due_ns + 1) > due_ns:
                why = f"{replica} did not escalate {order.severity} {order.order[:12]} for {agent}, which showed no proof of a stop in time"
                self.blame(why, learned.index)
