"""S20: the operator is never told more than is true."""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.answers import Answers
from harness.checkers.checker import InvariantChecker
from harness.checkers.drafts import Drafts
from harness.checkers.run import Run
from harness.checkers.subjects import Learned, Order
from harness.checkers.words import ALIVE, CLIENT, NO_TOKEN, STOP, STOPPED, Token, is_replica, token_of
from harness.shared.history import Fact

EVIDENCE_STAGES = STOPPED | {"GATE_CLOSED", "DRAINING", "KILL_FAILED"}


@dataclass(frozen=True, slots=True)
class _Declared:
    order: str
    token: Token
    index: int


@dataclass(slots=True)
class _Stretch:
    """A replica believes its clock from ``start_ns`` on, by that clock, until ``end``, if that has come: indices of facts, and readings."""

    index: int
    start_ns: int
    end: tuple[int, int] | None = None

    def measured_ns(self, learned: Learned, index: int, now_ns: int) -> int:
        """How long it measured the wait for an order."""
        ended, end_ns = self.end or (index, now_ns)
        return 0 if learned.index > ended else end_ns - (learned.clock_ns if learned.index > self.index else self.start_ns)


class HonestStatus(InvariantChecker):
    """S20. What the operator's client is told, and what a sidecar proves or a replica declares, against what happened:

    - a count of copies never exceeds the replicas that made the order durable, and EFFECTIVE means k of them;
    - ALREADY_COVERED means that a certificate covers the order somewhere: else it is in force, and not to be asked for anew;
    - an evidence stage stands on evidence sent by that agent's sidecar, for that token; evidence names the latest start, or a later token that
      came to nothing; STOPPED_* evidence stands on a process tree that is gone;
    - an order that leaves the process alive is shown as STOPPED_*, or presumed so, only if another order ends it; and neither a proof nor a status
      says under it that a kill failed;
    - FENCED means that every class F sink of the agent durably holds a fence at or above that token, and that it shuts out the start that was the
      latest when the order was first known anywhere;
    - PRESUMED_STOPPED stands on a declaration; and a declaration (T4) on k replicas that could have waited W, plus P where the agent has a
      class C sink, on their own clocks since they learned the order and without a restart in between: L/(1-rho) of real time at the
      least; it names no token below one that its replica had promised; after it nothing is admitted under that token or a lower one while the
      order is uncovered.

    - a replica that says it has outwaited all leases against an order has done so by its own clock: W, and P where there is a class C sink, at a
      stretch, since it learned the order, started, and last began or ceased to doubt that clock;

    - a draft of a resume shows approvers every order within its scope that was effective before the resume was first asked for, but those
      that a certificate covers; and every one, effective or not, that the drafter itself knows and has no certificate against. No replica lets
      a certificate in whose approvers were not shown an order of its scope that this replica knows. And no replica drafts that may have forgotten,
      from when it started on a log that was cut, or a disk that was lost, until it has joined; nor does its word count for another's draft. And it
      can be handed in to n-k+1 of each cell that it concerns, which were heard for it;

    - a replica that has a proof gives it up for none that says less: of an earlier start, or that the same one has not stopped yet.

    - every proof that an agent stopped names the tasks in doubt that its sidecar put on record when it reaped the process, whatever it lived through
      since;

    - a replica declares an agent stopped once, under no order that a certificate on its log covers, and none of which it has taken in a proof, under
      that order and that token, that it has stopped;

    - of an order that a replica let in, or that such a one became, whoever asked for it is told of each agent the last stage of which this replica
      takes a proof in, and that it declared one stopped that the order ends, within the time that a signal takes (L1). Nothing is owed by a replica
      that a fault touched, or that started again, nor to an operator whom one touched.

    - whoever asked for an order, and is told EFFECTIVE, is told that of one that is no less than what was asked for last under that name, and leaves
      a stop no more grace.

    An instance is a status, evidence, declaration, wait, draft, or a certificate that is handed in, or a proof that somebody is to be told
    of. T4 is skipped where a clock that it leans on was broken (T5).
    """

    invariant = "S20"
    title = "HonestStatus: EFFECTIVE, STOPPED, FENCED and PRESUMED_STOPPED are told only when they are true"
    kinds = frozenset({*Answers.KINDS, *Drafts.KINDS, "cell-status",
                       "agent-status", "evidence-sent", "declared", "fence-durable", "effect-admitted", "vouched", "clock-suspected", "clock-trusted",
                       "evidence-taken", "process-started", "token-promised", "doubts-named", "order-learned"})  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._answers = Answers(self)
        self._drafts = Drafts(self)
        self._evidence: dict[tuple[str, str, Token, str], int] = {}
        self._taken: dict[str, dict[tuple[str, str], tuple[Token, bool, int]]] = {}  # replica -> order, agent -> token, whether stopped, fact
        self._fences: dict[tuple[str, str], Token] = {}
        self._declared: dict[str, list[_Declared]] = {}
        self._starts: dict[str, list[tuple[int, Token]]] = {}  # agent -> (index, token) of each start
        self._promised: dict[tuple[str, str], tuple[Token, int]] = {}  # replica, agent -> the greatest token that it promised durably
        self._doubts: dict[str, tuple[list[str], int]] = {}  # sidecar -> what the last stop left in doubt, and the fact
        self._let_in_here: dict[str, str] = {}  # order -> the replica that let it in, and knows who asked
        self._presumed: dict[str, dict[tuple[str, str], int]] = {}  # replica -> order, agent -> its declaration
        # order, agent, whether it is proven or presumed -> the last stage, replica, when, and the fact
        self._untold: dict[tuple[str, str, str], tuple[str, str, int, int]] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._stretches: dict[str, list[_Stretch]] = {}  # replica -> the times, of this start, in which it believed its clock
        self._by_kind = {
            "order-status": self._order_status,
            "cell-status": self._cell_status,
            "agent-status": self._agent_status,
            "evidence-sent": self._evidence_sent,
            "declared": self._declaration,
            "fence-durable": self._fence_durable,
            "effect-admitted": self._admitted,
            "vouched": self._vouched,
            "node-started": self._node_started,
            "clock-trusted": self._clock_begins,
            "clock-suspected": self._clock_ends,
            "evidence-taken": self._evidence_taken,
            "process-started": self._process_started,
            "token-promised": self._token_promised,
            "decision": self._decided,
            "order-learned": self._order_learned,
            "doubts-named": self._doubts_named,
        }

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Answers.KINDS:
            self._answers.see(index, fact)
        if fact.kind in Drafts.KINDS:
            self._drafts.see(index, fact)
        if fact.kind in self._by_kind:
            self._by_kind[fact.kind](index, fact)

    def see_twin(self, index: int, fact: Fact) -> None:
        if fact.kind == "evidence-sent":
            body = fact.body
            self._evidence[body["agent"], body["order"], token_of(body["token"]), body["stage"]] = index

    def _order_status(self, index: int, fact: Fact) -> None:
        stage, identity, copies = fact.body["stage"], fact.body["order"], int(fact.body["copies"])
        if not identity:
            return
        self.examined += 1
        order = self.run.orders.get(identity)
        holders = tuple(order.holders.values()) if order is not None else ()
        if stage == "EFFECTIVE" and not self._effective(order):
            self.blame(f"told EFFECTIVE of order {identity[:12]} with {len(holders)} durable copies", *holders, index)
        elif stage == "ALREADY_COVERED" and order is not None and identity not in self.run.covered and not self.run.quorums_forget:
            self.blame(f"told that order {identity[:12]} was lifted, which no certificate covers", order.first_index, index)
        elif stage in ("ACCEPTED", "EFFECTIVE") and len(holders) < copies:
            self.blame(f"told of {copies} copies of order {identity[:12]}, of which {len(holders)} are durable", *holders, index)

    def _effective(self, order: Order | None) -> bool:
        """In every cell that it concerns."""
        return order is not None and all(self.run.held_in(order, cell) >= self.run.cells[cell].kill_quorum for cell in order.cells)

    def _cell_status(self, index: int, fact: Fact) -> None:
        self.examined += 1
        cell, stage, order = int(fact.body["cell"]), fact.body["stage"], self.run.orders.get(fact.body["order"])
        held = 0 if order is None else self.run.held_in(order, cell - 1)
        least = self.run.cells[cell - 1].kill_quorum if stage == "EFFECTIVE" else 0
        holders = () if order is None else tuple(order.holders.values())
        if held < max(least, int(fact.body["copies"])):
            told = f"told {stage} of order {fact.body['order'][:12]} in cell {cell}"
            why = f"{told}, with {fact.body['copies']} copies there, of which {held} are durable"
            self.blame(why, *holders, index)

    def _evidence_sent(self, index: int, fact: Fact) -> None:
        self.examined += 1
        agent, stage, token = fact.body["agent"], fact.body["stage"], token_of(fact.body["token"])
        self._evidence[agent, fact.body["order"], token, stage] = index
        process = self.run.processes.get(agent)
        if process is not None and token < process.token and fact.node not in self.run.custody:
            self.blame(f"{fact.node} sent {stage} of an earlier start of {agent}: a proof is of its own token", process.started_index, index)
        self._judge_failure(index, agent, fact.body["order"], stage)
        if stage in STOPPED and process is not None and process.alive:
            self.blame(f"{fact.node} sent {stage} while the process of {agent} lives", process.started_index, index)

    def _evidence_taken(self, index: int, fact: Fact) -> None:
        self.examined += 1
        about = (fact.body["order"], fact.body["agent"])
        held = self._taken.setdefault(fact.node, {})
        now = (token_of(fact.body["token"]), fact.body["stage"].startswith("STOPPED"), index)
        before = held.get(about, now)
        if now[:2] < before[:2]:
            self.blame(f"{fact.node} gave up what it had of {about[1]} under {about[0][:12]} for an earlier proof", before[2], index)
        held[about] = now
        if self._let_in_here.get(about[0]) == fact.node:
            self._untold[(*about, "proven")] = (fact.body["stage"], fact.node, fact.at_ns, index)

    def _doubts_named(self, index: int, fact: Fact) -> None:
        named, agent = sorted(fact.body["in_doubt"]), fact.body["agent"]
        if fact.body["what"] == "REAPED":
            self._doubts[fact.node] = (named, index)
        elif fact.node in self._doubts and fact.node not in self.run.custody:
            self.examined += 1
            left, reaped = self._doubts[fact.node]
            if named != left:
                self.blame(
                    f"{fact.node} proves {fact.body['what']} of {agent} with {named or 'nothing'} in doubt; the stop left {left or 'nothing'}",
                    reaped,
                    index,
                )

    def _agent_status(self, index: int, fact: Fact) -> None:
        self.examined += 1
        agent, identity, stage, token = fact.body["agent"], fact.body["order"], fact.body["stage"], token_of(fact.body["token"])
        self._told.add((identity, agent, stage))
        self._judge_failure(index, agent, identity, stage)
        if stage in EVIDENCE_STAGES and (agent, identity, token, stage) not in self._evidence:
            self.blame(f"told {stage} of {agent} without such evidence from its sidecar", index)
        elif stage in STOPPED:
            self._judge_isolation(index, agent, identity, stage)
        elif stage == "FENCED":
            open_sinks = [sink for sink in self.run.sinks_of(agent, "F") if self._fences.get((sink, agent), NO_TOKEN) < token]
            if open_sinks:
                self.blame(f"told FENCED of {agent}, and {open_sinks[0]} holds no such fence", index)
            self._judge_fenced(index, agent, identity, token)
        elif stage == "PRESUMED_STOPPED":
            if not any(declared.order == identity for declared in self._declared.get(agent, ())):
                self.blame(f"told PRESUMED_STOPPED of {agent}, which no replica declared", index)
            self._judge_isolation(index, agent, identity, stage)

    def _judge_isolation(self, index: int, agent: str, identity: str, stage: str) -> None:
        order = self.run.orders.get(identity)
        if order is not None and order.life == ALIVE and not any(other.life >= STOP for other in self.run.orders_of[agent]):
            self.blame(f"told {stage} of {agent}, which was only isolated", order.first_index, index)

    def _judge_failure(self, index: int, agent: str, identity: str, stage: str) -> None:
        order = self.run.orders.get(identity)
        if stage == "KILL_FAILED" and order is not None and order.life == ALIVE:
            self.blame(f"{stage} of {agent} is said of an order that ends no process", order.first_index, index)

    def _judge_fenced(self, index: int, agent: str, identity: str, fence: Token) -> None:
        """A start that came after the order, where nobody had heard of it yet, is not what the fence was meant for."""
        order = self.run.orders.get(identity)
        known = index if order is None else order.first_index
        started, token = max((each for each in self._starts.get(agent, ()) if each[0] < known), default=(0, NO_TOKEN))
        if fence <= token and not any(sink in self.run.custody for sink in self.run.sinks_of(agent, "F")):
            self.blame(f"told FENCED of {agent} at token {fence}, which lets its start under {token} in", started, index)

    def _process_started(self, index: int, fact: Fact) -> None:
        self._starts.setdefault(fact.body["agent"], []).append((index, token_of(fact.body["token"])))

    def _token_promised(self, index: int, fact: Fact) -> None:
        key = (fact.node, fact.body["agent"])
        self._promised[key] = max((token_of(fact.body["token"]), index), self._promised.get(key, (NO_TOKEN, index)))

    def _fence_durable(self, _index: int, fact: Fact) -> None:
        key = (fact.body["sink"], fact.body["agent"])
        self._fences[key] = max(token_of(fact.body["min_token"]), self._fences.get(key, NO_TOKEN))

    def _declaration(self, index: int, fact: Fact) -> None:
        self.examined += 1
        agent, order = fact.body["agent"], self.run.orders[fact.body["order"]]
        token = token_of(fact.body["token"])
        self._judge_needed(index, fact, agent, order, token)
        lifted = self.run.node(fact.node).covered.get(order.order)
        if lifted is not None:
            self.blame(f"{fact.node} declared {agent} stopped under {order.order[:12]}, which a certificate there covers", lifted, index)
        self._declared.setdefault(agent, []).append(_Declared(order.order, token, index))
        promised, promised_index = self._promised.get((fact.node, agent), (NO_TOKEN, index))
        if token < promised and fact.node not in self.run.custody:
            self.blame(f"{fact.node} declared {agent} stopped under token {token}, and had promised {promised}", promised_index, index)
        if self._clocks_broken(agent) or self.run.quorums_forget:
            self.skipped += 1
            return
        wait_ns = self.run.bounds.declare_ns(challenged=bool(self.run.sinks_of(agent, "C")))
        home = self.run.cell_of(agent)
        waits_ns = sorted(self._waits_ns(order, home.replicas, fact.at_ns), reverse=True)
        witness = [self.run.node(replica).known[order.order].index for replica in home.replicas if order.order in self.run.node(replica).known]
        kth_ns = waits_ns[home.kill_quorum - 1] if len(waits_ns) >= home.kill_quorum else 0
        if kth_ns < wait_ns:
            why = f"{fact.node} declared {agent} stopped when k replicas had waited {kth_ns} ns of real time; T4 needs {wait_ns} ns"
            self.blame(why, *witness, index)

    def _judge_needed(self, index: int, fact: Fact, agent: str, order: Order, token: Token) -> None:
        """Waiting takes the place of a proof, and is over once."""
        about = (order.order, agent)
        proven, stopped, taken = self._taken.get(fact.node, {}).get(about, (NO_TOKEN, False, index))
        if stopped and proven >= token:
            self.blame(f"{fact.node} presumes {agent} stopped under {order.order[:12]}, and had a proof that it had", taken, index)
        before = self._presumed.setdefault(fact.node, {}).setdefault(about, index)
        if before != index:
            self.blame(f"{fact.node} declared {agent} stopped under {order.order[:12]} twice", before, index)
        if self._let_in_here.get(order.order) == fact.node and order.life != ALIVE:
            self._untold[(*about, "presumed")] = ("PRESUMED_STOPPED", fact.node, fact.at_ns, index)

    def _waits_ns(self, order: Order, replicas: tuple[str, ...], now_ns: int) -> list[int]:
        """Real time for which each replica has denied leases against the order without a restart in between, at its longest: a wait that was over
        before a restart was one."""
        nodes = [self.run.node(replica) for replica in replicas]
        return [
            max(end - max(node.known[order.order].at_ns, start) for start, end in (*node.lives, (node.started_ns, now_ns)))
            for node in nodes
            if order.order in node.known
        ]

    def _admitted(self, index: int, fact: Fact) -> None:
        agent = fact.body["agent"]
        for declared in self._declared.get(agent, ()):
            if (
                token_of(fact.body["token"]) <= declared.token
                and declared.order not in self.run.covered
                and not (self._clocks_broken(agent) or self.run.quorums_forget)
            ):
                self.blame(f"{agent} admitted an effect after it was declared stopped", declared.index, index)

    def settle(self) -> None:
        """What was said of one stage may be overtaken by what is said of the next: only the last is owed. A fault of links excuses it, too."""
        self._answers.settle()
        for (order, agent, how), (stage, replica, at_ns, index) in self._untold.items():
            excused = self.run.struck(CLIENT) or self.run.struck(replica) or replica in self.run.touched or replica in self.run.custody
            if excused or at_ns + self.run.bounds.propagation_ns > self.run.end_ns:
                continue
            self.examined += 1
            if (order, agent, stage) not in self._told:
                knows = f"has a proof of {stage} of {agent}" if how == "proven" else f"declared {agent} {stage}"
                self.blame(f"{replica} {knows}, and never told whoever ordered {order[:12]} of it", index)

    def _node_started(self, index: int, fact: Fact) -> None:
        self._let_in_here = {order: replica for order, replica in self._let_in_here.items() if replica != fact.node}
        self._untold = {about: proof for about, proof in self._untold.items() if proof[1] != fact.node}
        self._clock_begins(index, fact)

    def _clock_begins(self, index: int, fact: Fact) -> None:
        if is_replica(fact.node):
            stretches = self._stretches.setdefault(fact.node, [])
            if fact.kind == "node-started":
                stretches.clear()
                self._taken.pop(fact.node, None)
                self._presumed.pop(fact.node, None)
            stretches.append(_Stretch(index, fact.clock_ns))

    def _clock_ends(self, index: int, fact: Fact) -> None:
        if self._stretches.get(fact.node):
            self._stretches[fact.node][-1].end = (index, fact.clock_ns)

    def _vouched(self, index: int, fact: Fact) -> None:
        """All by one clock, so that no drift or fault of it needs an exemption."""
        order, node = self.run.orders.get(fact.body["about"]), self.run.node(fact.node)
        learned = node.known.get(fact.body["about"])
        if fact.body["what"] != "wait" or order is None or learned is None or fact.node in self.run.custody:
            return
        agents = [agent for agent in order.agents if fact.node in self.run.cell_of(agent).replicas]
        if not agents:
            return
        self.examined += 1
        bounds = self.run.bounds
        wait_ns = bounds.residue_ns(challenged=any(self.run.sinks_of(agent, "C") for agent in agents))
        waited_ns = max((each.measured_ns(learned, index, fact.clock_ns) for each in self._stretches.get(fact.node, ())), default=wait_ns)
        self.measure(wait_ns, waited_ns)
        if waited_ns < wait_ns:
            why = f"{fact.node} said that it had outwaited all leases against {order.order[:12]}, and its clock had measured"
            self.blame(f"{why} {waited_ns} ns at a stretch; T4 needs {wait_ns} ns", learned.index, index)

    def _decided(self, _index: int, fact: Fact) -> None:
        if fact.body["action"] == "order" and fact.body["order"]:
            self._let_in_here[fact.body["order"]] = fact.node

    def _order_learned(self, _index: int, fact: Fact) -> None:
        """Whoever asked for a soft order asked for what it becomes."""
        if fact.body.get("parent") and self._let_in_here.get(fact.body["parent"]) == fact.node:
            self._let_in_here.setdefault(fact.body["order"], fact.node)

    def _clocks_broken(self, agent: str) -> bool:
        return any(node in self.run.clock_suspects for node in (f"sidecar/{agent}", *self.run.cell_of(agent).replicas))
