"""L4, L5 and L6: the switch does not stop what it need not. Without faults soft stops are clean, without orders nothing stops, and what a
certificate releases runs again.

These judge quiet stretches only, since under faults stopping is right. What a history cannot tell apart from a lost message is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.checkers.bounds import BACKOFF_CAP_NS, MILLION, SECOND_NS
from harness.checkers.checker import InvariantChecker
from harness.checkers.handing_in import HandedIn
from harness.checkers.leaving import Leaving
from harness.checkers.reasons import Reasons
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import NEVER_NS, STOP, agent_of, is_replica, token_of
from harness.shared.history import Fact

WORK = frozenset({"task-submitted", "task-intent", "task-result", "task-done", "task-rolled-back", "task-compensated", "task-in-doubt"})


@dataclass(slots=True)
class _Task:
    """A task at work: ``left`` steps, and the longest step seen of it. ``ended``: done, rolled back or in doubt."""

    left: int
    begun_ns: int | None = None
    longest_ns: int = 0
    ended_ns: int | None = None
    sink: str = ""
    in_doubt: bool = False


@dataclass(slots=True)
class _Drain:
    """A soft stop of one agent that began in peace. ``tasks``: what was at work, and how many steps were left of it then. ``spoiled``: something else
    stepped in, so that it proves nothing. ``saves``: the agent has begun a checkpoint since."""

    order: Order
    index: int
    at_ns: int
    clock_ns: int
    tasks: list[tuple[_Task, int]] = field(default_factory=list)
    spoiled: bool = False
    saves: bool = False
    forced: tuple[int, int] | None = None


def recovery_due_ns(run: Run, agent: str, replicas: list[str]) -> int | None:
    """By when an agent that nothing holds runs again, as far as it is up to ``replicas``; None if it owes nothing: nothing was healed, fewer than
    q of them work, or its sidecar or a sink does not.
    """
    working = [run.node(replica) for replica in replicas if run.node(replica).works]
    needed = [run.sidecar(agent), *(run.node(sink) for sink in run.agents[agent]["sinks"])]
    cell = run.cell_of(agent)
    if run.healed_ns is None or sum(node.node in cell.replicas for node in working) < cell.quorum or not all(node.works for node in needed):
        return None
    return max(run.healed_ns, run.news_ns, *(node.since_ns for node in needed + working)) + run.bounds.restart_ns


@dataclass(slots=True)
class _Mode:
    """What an agent's gate last said of itself, by which fact, and when its lease last ran out while it was running."""

    name: str = "BOOT"
    index: int | None = None
    lost_ns: int = NEVER_NS

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "gate-changed":
            self.name, self.index = fact.body["mode"], index
        elif self.name == "RUNNING":
            self.lost_ns = fact.at_ns

    def due_ns(self, run: Run, due_ns: int) -> int:
        """By when it runs, if it was to by ``due_ns``. A network may lose a renewal now and then: who ran until its lease was out has as long as any
        signal may take to get another."""
        return max(due_ns, self.lost_ns + run.bounds.propagation_ns) if self.name == "STANDBY" else due_ns


class CleanSoft(InvariantChecker):
    """L4 (anti-overkill). A soft stop that nothing disturbs ends in STOPPED_CLEAN: nobody kills before the sidecar's own clock reached the
    drain deadline, and nobody kills or reports STOPPED_FORCED at all if the work in flight could finish within G.

    Behind a closed gate nothing can be finished, and a stop is by force as a rule. But nor is such an agent killed before its time to stop is over;
    and by then, if twice its longest step so far and a second fit into that, it has begun to save what it leaves.

    Undisturbed: no fault, crash or pause from T1's bound and a backoff before the order was learned until the stop, no lease lost while the gate is
    at DRAIN, no other order for the agent, no certificate for this one. Could finish: every task in flight ended a second before the deadline, or
    twice its remaining steps at its longest step so far (at least one seen), and a second, fit into G; and none was in doubt before, nor is at a
    sink that is not fenced, where a lost answer leaves it so. An instance is an undisturbed stop.

    And whatever befalls the links: who was asked to stop, and has nothing begun that is not in doubt, leaves. Nobody is killed, unless by an order of
    KILL, who has had only that for longer than it takes to ask once more about each, and once in vain. Such a kill is an instance as well.
    """

    invariant = "L4"
    title = "CleanSoft: without faults, what fits into the grace is finished and the stop clean, and who is to stop at once leaves"
    kinds = Leaving.KINDS | WORK | {"order-learned", "evidence-sent", "lease-lost", "node-crashed"}

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._leaving = Leaving(self)
        self._tasks: dict[str, dict[str, _Task]] = {}
        self._drains: dict[str, _Drain] = {}

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Leaving.KINDS:
            self._leaving.see(index, fact)
        match fact.kind:
            case "order-learned":
                if fact.node.startswith("sidecar/"):
                    self._learned(index, fact, agent_of(fact.node))
            case "lease-lost":
                if fact.body["agent"] in self._drains and self._drains[fact.body["agent"]].order.drains:  # behind a closed gate there is none to keep
                    self._spoil(fact.body["agent"])
            case "node-crashed":
                if fact.node.startswith("sidecar/"):
                    self._spoil(agent_of(fact.node))
            case "checkpoint-begun":
                if fact.body["agent"] in self._drains:
                    self._drains[fact.body["agent"]].saves = True
            case "process-killed":
                self._killed(index, fact)
            case "evidence-sent":
                self._proven(index, fact)
            case kind if kind in WORK:
                self._worked(fact)

    def _learned(self, index: int, fact: Fact, agent: str) -> None:
        order = self.run.orders[fact.body["order"]]
        process = self.run.processes.get(agent)
        if agent not in order.agents:
            return
        alone = sum(1 for _ in self.run.in_force(self.run.node(fact.node), agent)) == 1
        quiet = self.run.undisturbed_since(fact.at_ns - self.run.bounds.hard_ns - BACKOFF_CAP_NS)
        if agent in self._drains or not alone:
            self._spoil(agent)
        elif order.life == STOP and quiet and process is not None and process.alive and not any(task.in_doubt for task in self._known(agent)):
            begun = (task for task in self._known(agent) if task.begun_ns is not None and task.ended_ns is None)
            tasks = [(task, task.left if order.drains else 1) for task in begun]
            self._drains[agent] = _Drain(order, index, fact.at_ns, fact.clock_ns, tasks)

    def _spoil(self, agent: str) -> None:
        if agent in self._drains:
            self._drains[agent].spoiled = True

    def _undisturbed(self, agent: str, drain: _Drain) -> bool:
        alone = all(order is drain.order for order in self.run.orders_of[agent] if order.order not in self.run.covered)
        released = self.run.lifted(drain.order, agent)
        return not drain.spoiled and alone and not released and self.run.undisturbed_since(drain.at_ns)

    def _killed(self, index: int, fact: Fact) -> None:
        agent = fact.body["agent"]
        drain = self._drains.get(agent)
        if drain is None or not self._undisturbed(agent, drain):
            return
        early_ns = drain.clock_ns + drain.order.time_to_stop_ns(self.run.bounds) - fact.clock_ns
        if early_ns > 0:
            self.examined += 1
            self.blame(f"{agent} was killed {early_ns} ns before the end of its time to stop by nothing but that order", drain.index, index)
        elif not drain.order.drains and not drain.saves and self._fits(drain):
            self.examined += 1
            self.blame(
                f"{agent} had to be killed, though it had nothing left to do but to save and to leave, and did not begin to", drain.index, index
            )

    def _proven(self, index: int, fact: Fact) -> None:
        agent, stage = fact.body["agent"], fact.body["stage"]
        drain = self._drains.get(agent)
        if drain is None or fact.body["order"] != drain.order.order or stage not in ("STOPPED_CLEAN", "STOPPED_FORCED"):
            return
        del self._drains[agent]
        doubtful = any(task.in_doubt and self.run.sinks.get(task.sink) != "F" for task in self._known(agent))
        if self._undisturbed(agent, drain) and self._fits(drain) and not doubtful:
            self.examined += 1
            if stage == "STOPPED_FORCED" and drain.order.drains:
                self.blame(f"{agent} was stopped by force although its work in flight fitted into the grace", drain.index, index)

    def _known(self, agent: str) -> Iterable[_Task]:
        return self._tasks.get(agent, {}).values()

    def _fits(self, drain: _Drain) -> bool:
        grace_ns = drain.order.time_to_stop_ns(self.run.bounds) * (MILLION - self.run.bounds.drift_ppm) // MILLION - SECOND_NS
        needed_ns = 0
        for task, left in drain.tasks:
            if task.ended_ns is not None and task.ended_ns - drain.at_ns <= grace_ns:
                continue
            if not task.longest_ns:
                return False
            needed_ns += 2 * left * task.longest_ns
        return needed_ns <= grace_ns

    def _worked(self, fact: Fact) -> None:
        tasks = self._tasks.setdefault(fact.body["agent"], {})
        if fact.kind == "task-submitted":
            tasks.setdefault(fact.body["task"], _Task(int(fact.body["steps"]), sink=fact.body["sink"]))
            return
        task = tasks.setdefault(fact.body["task"], _Task(0))
        match fact.kind:
            case "task-intent":
                if task.begun_ns is not None:
                    task.longest_ns = max(task.longest_ns, fact.at_ns - task.begun_ns)
                task.begun_ns, task.ended_ns = fact.at_ns, None
                if fact.body["key"].startswith("undo/"):
                    task.left = int(fact.body["step"]) + 1
            case "task-result":
                task.left = max(task.left - 1, 0)
            case _:
                task.ended_ns = fact.at_ns
        task.in_doubt = fact.kind == "task-in-doubt" or (task.in_doubt and fact.kind == "task-intent")


@dataclass(slots=True)
class _Asked:
    """A round of a lease and who answered it, at which delay."""

    at_ns: int
    answered: set[str] = field(default_factory=set)


class NoFalseStop(InvariantChecker):
    """L5. In a run without orders, faults, crashes and pauses, an agent that once had its lease never loses it, is never put on standby or
    stopped, if renewal leaves room: R + round trip + 1 % of L < L(1-rho)/(1+rho), the round trip being twice the longest way seen.

    A message lost by the plain network looks like nothing in a history, so an agent is an instance only if every replica answered each of
    its rounds but the last two.

    After any faults, an agent that no order concerns runs by max(heal, last news, last start or resumption of its sidecar, a sink or a replica) +
    `Bounds.restart_ns`, where q replicas of its cell work, among everybody or in a core alone. Left out are agents whose sidecar may hold
    itself back for what it was told in a way that it could not read, or for a clock that was broken. Who ran and lost its lease since has
    `Bounds.propagation_ns` from then to run again. An instance is such an agent at the end of the phase.

    In any run, faults or not, no node doubts a clock of its own that kept the promise of T5, unless more of its peers broke theirs than may: all
    but a quorum of a sidecar's replicas, half of a replica's peers. An instance is such a doubt.

    And in any run nobody stops an agent that he has started without a reason: an order in force at its sidecar, or one that reached it since it
    started in a form, or under a key, that it may not know, asks for a stop; or what the sidecar says itself that it enforces unread, where it was
    handed something made up; or, to ask for one, the token has no future, as a sink holds a fence above it, or so many replicas of its cell have told
    of a greater one that they promised that no quorum is left. An instance is the first TERM, or SIGKILL, of a start.
    """

    invariant = "L5"
    title = "NoFalseStop: without orders and faults no agent loses its lease or is stopped, and none is stopped without a reason"
    kinds = Reasons.KINDS | {
        "lease-requested", "lease-granted", "lease-denied", "lease-opened", "lease-lost", "gate-changed", "clock-suspected", "prohibition-arrived",
        "hostile-input",
    }  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._rounds: dict[str, dict[str, _Asked]] = {}
        self._opened: set[str] = set()
        self._stops: dict[str, tuple[str, int]] = {}
        self._longest_ns = 0
        self._modes: dict[str, _Mode] = {}
        self._withheld: set[str] = set()  # agents whose sidecar may have read something as a prohibition
        self._reasons = Reasons(self)

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Reasons.KINDS:
            self._reasons.see(index, fact)
        if fact.kind == "clock-suspected":
            self._doubted(index, fact)
            return
        if fact.kind in ("node-started", "prohibition-arrived", "hostile-input"):
            if fact.node.startswith("sidecar/"):
                self._befell(index, fact, agent_of(fact.node))
            return
        agent = fact.body["agent"]
        if fact.kind in ("gate-changed", "lease-lost"):
            self._modes.setdefault(agent, _Mode()).see(index, fact)
        match fact.kind:
            case "lease-requested":
                self._rounds.setdefault(agent, {}).setdefault(fact.body["nonce"], _Asked(fact.at_ns))
            case "lease-granted" | "lease-denied":
                asked = self._rounds.get(agent, {}).get(fact.body["nonce"])
                if asked is not None and fact.node not in asked.answered:
                    asked.answered.add(fact.node)
                    self._longest_ns = max(self._longest_ns, fact.at_ns - asked.at_ns)
            case "lease-opened":
                self._opened.add(agent)
            case "gate-changed" | "lease-lost" | "process-termed" | "process-killed":
                if agent in self._opened and (fact.kind != "gate-changed" or fact.body["mode"] == "STANDBY"):
                    self._stops.setdefault(agent, (fact.kind, index))

    def _doubted(self, index: int, fact: Fact) -> None:
        self.examined += 1
        replica = is_replica(fact.node)
        cell = self.run.cell_with(fact.node) if replica else self.run.cell_of(agent_of(fact.node))
        tolerated = (len(cell.replicas) - 1) // 2 if replica else len(cell.replicas) - cell.quorum
        broken = self.run.clock_suspects
        if fact.node not in broken and sum(peer in broken for peer in fact.body["peers"]) <= tolerated:
            self.blame(f"{fact.node} doubts its own clock, which kept its promise, for {len(fact.body['peers'])} peers that differ", index)

    def _befell(self, index: int, fact: Fact, agent: str) -> None:
        if fact.kind == "node-started":
            self._modes[agent] = _Mode(index=index)
        else:
            self._withheld.add(agent)

    def settle(self) -> None:
        self._judge_peace()
        for agent in self.run.agents:
            self._judge_recovery(agent)

    def _judge_recovery(self, agent: str) -> None:
        run = self.run
        sidecar = run.sidecar(agent)
        broken = run.clock_suspects.keys() | run.custody.keys()
        held = agent in self._withheld or sidecar.node in broken or run.quorums_forget
        due_ns = None if held or run.orders_of[agent] else recovery_due_ns(run, agent, [node for node in run.replicas if node not in broken])
        mode = self._modes.get(agent, _Mode())
        if due_ns is not None and mode.due_ns(run, due_ns) <= run.end_ns:
            self.examined += 1
            if mode.name != "RUNNING":
                late_ns = run.end_ns - mode.due_ns(run, due_ns)
                index = (sidecar.started_index or 0) if mode.index is None else mode.index
                self.blame(f"{agent} is {mode.name} {late_ns} ns after it was to run again, and no order concerns it", index)

    def _judge_peace(self) -> None:
        bounds = self.run.bounds
        room_ns = bounds.lease_ns * (MILLION - bounds.drift_ppm) // (MILLION + bounds.drift_ppm) - bounds.lease_ns // 100
        disturbed = self.run.orders or self.run.disturbed_ns != NEVER_NS
        if disturbed or bounds.renew_ns + 2 * self._longest_ns >= room_ns:
            return
        for agent in sorted(self._opened):
            asked = list(self._rounds.get(agent, {}).values())[:-2]
            if any(len(round_.answered) < len(self.run.cell_of(agent).replicas) for round_ in asked):
                continue
            self.examined += 1
            if agent in self._stops:
                kind, index = self._stops[agent]
                self.blame(f"{agent} met {kind} although there was neither an order nor a fault", index)


class Resume(InvariantChecker):
    """L6. An agent all of whose orders are covered by certificates that working replicas hold runs again by max(heal, last news, last start or
    resumption of its sidecar, a sink or a replica) + `Bounds.restart_ns`. And it runs to some purpose: a start that a sink refuses by a fence, which
    never falls, is asked to stop, to make room for one that is let in, within the bound of propagation from that event, and from when it was first
    refused. Who ran and lost its lease since has `Bounds.propagation_ns` from then to run again. An instance is such an agent at the end, its
    sidecar, its sinks and q replicas working; where the end of the run comes before that bound it is not counted.

    Nor is an approved resume lost or turned away on its way in: whoever hands one to a replica is answered, within the bound of propagation, if
    nothing befalls that replica, and told no other thing than ACCEPTED but for a reason that holds there: REFUSED, if too few may approve it, or its
    policy, as that is on record, does not allow it; EXPIRED, if its end has come by the replica's clock; NEEDS_CONTEXT, if approvers were not shown
    an order that it knows, or more than one rollout has come into force since; ASK_ANOTHER, if the draft did not hear it, its clock is doubted or its
    disk full. An instance is what is handed in.
    """

    invariant = "L6"
    title = "Resume: an agent whose orders are all covered runs again, and no approved resume is turned away without a reason"
    kinds = HandedIn.KINDS | {"gate-changed", "lease-lost", "node-started", "effect-rejected", "process-started", "process-termed"}

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._modes: dict[str, _Mode] = {}
        self._refused: dict[str, list[tuple[int, int]]] = {}  # agent -> when a fence shut its latest start out: the first time, and the last
        self._leaving: set[str] = set()  # agents whose latest start was asked to stop
        self._handed_in = HandedIn(self)

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in HandedIn.KINDS:
            self._handed_in.see(index, fact)
        elif fact.kind == "effect-rejected":
            self._rejected(index, fact)
        elif fact.kind in ("process-started", "process-termed"):
            self._refused.pop(fact.body["agent"], None)
            (self._leaving.add if fact.kind == "process-termed" else self._leaving.discard)(fact.body["agent"])
        elif fact.kind in ("gate-changed", "lease-lost"):
            self._modes.setdefault(fact.body["agent"], _Mode()).see(index, fact)
        elif fact.node.startswith("sidecar/"):
            self._modes[agent_of(fact.node)] = _Mode(index=index)

    def _rejected(self, index: int, fact: Fact) -> None:
        agent = fact.body["agent"]
        process = self.run.processes.get(agent)
        latest = process is not None and process.token == token_of(fact.body["token"]) and agent not in self._leaving
        if latest and fact.body["why"] == "REJECTED_FENCED":
            self._refused[agent] = [*self._refused.get(agent, ())[:1], (fact.at_ns, index)]

    def settle(self) -> None:
        run = self.run
        self._handed_in.settle()
        held = [replica for replica in run.replicas if replica not in run.custody]  # an id may be burnt with its disk (protocol 3.7)
        replicas = [run.node(replica) for replica in held if run.node(replica).works]
        for agent, orders in run.orders_of.items():
            due_ns = recovery_due_ns(run, agent, held)
            covered = run.covered_by(each for node in replicas for each in node.certificates if each not in run.forged and not run.is_void(each))
            if orders and due_ns is not None and due_ns <= run.end_ns and all(order.order in covered for order in orders):
                self._judge(agent, orders, due_ns)
                self._judge_purpose(agent, due_ns - run.bounds.restart_ns)

    def _judge_purpose(self, agent: str, since_ns: int) -> None:
        refused = self._refused.get(agent, [(0, 0)])
        (first_ns, first), (last_ns, last) = refused[0], refused[-1]
        if last_ns - max(first_ns, since_ns) > self.run.bounds.propagation_ns:
            self.blame(f"{agent} runs on under a token that a fence shuts out, though every order for it is covered", first, last)

    def _judge(self, agent: str, orders: list[Order], due_ns: int) -> None:
        mode = self._modes.get(agent, _Mode())
        if mode.due_ns(self.run, due_ns) > self.run.end_ns:
            return
        self.examined += 1
        if mode.name != "RUNNING":
            index = (self.run.sidecar(agent).started_index or 0) if mode.index is None else mode.index
            ended = any(order.life >= STOP for order in orders)
            why = f"{agent} is {mode.name} at the end although every order for it is covered"
            self.blame(why + (", and was to be started again" if ended else ""), *(self.run.covered[order.order].index for order in orders), index)
