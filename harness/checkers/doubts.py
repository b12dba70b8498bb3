"""S28 and L9: what is done once stays done once, and what nobody could say is found out."""

from __future__ import annotations

from typing import TypeVar

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import OPEN, SLOW_LINKS, UNDO, Token, agent_of, gate_of, token_of
from harness.shared.history import Fact

Key = TypeVar("Key")


class SideEffectIdem(InvariantChecker):
    """S28. However often a signal comes: under one token a process is asked to stop once, and if it stands still it is made to go on, or the
    TERM would wait for somebody else's SIGCONT; a class F or C sink undoes a step at most once; and it takes up a fence at most once.

    An instance is a TERM, an undone step or a fence. Sees only what the driver carried out, and fences that rose.
    """

    invariant = "S28"
    title = "SideEffectIdem: one TERM for a token, one undoing for a step, one fence for a token at a sink"
    kinds = frozenset({"process-continued", "process-termed", "task-intent", "effect-applied", "fence-durable"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._termed: dict[tuple[str, Token], int] = {}
        self._continued: dict[tuple[str, Token], int] = {}
        self._meant: dict[tuple[str, str], tuple[str, int]] = {}
        self._undone: dict[tuple[str, str, int], int] = {}
        self._fenced: dict[tuple[str, str, Token], int] = {}

    def see(self, index: int, fact: Fact) -> None:
        body = fact.body
        match fact.kind:
            case "task-intent":
                if body["key"].startswith("undo/"):
                    self._meant[body["agent"], body["key"]] = (body["task"], body["step"])
            case "effect-applied":
                meant = self._meant.get((body["agent"], body["key"]))
                if meant is not None and body["cls"] == UNDO and not body["again"] and self.run.sinks[body["sink"]] != "U":
                    self._once(index, self._undone, (body["agent"], *meant), f"{body['sink']} undid step {meant[1]} of task {meant[0]} twice")
            case "fence-durable":
                key = (body["sink"], body["agent"], token_of(body["min_token"]))
                self._once(index, self._fenced, key, f"{body['sink']} took up one fence against {body['agent']} twice")
            case "process-continued":
                self._continued[body["agent"], token_of(body["token"])] = fact.at_ns
            case _:
                self._judge_term(index, fact)

    def _judge_term(self, index: int, fact: Fact) -> None:
        agent, token = fact.body["agent"], token_of(fact.body["token"])
        self._once(index, self._termed, (agent, token), f"{agent} was asked to stop twice under one token")
        if self.run.node(f"agent/{agent}").paused and self._continued.get((agent, token)) != fact.at_ns:
            self.blame(f"{agent} stood still when it was asked to stop, and nobody let it go on", index)

    def _once(self, index: int, seen: dict[Key, int], key: Key, why: str) -> None:
        self.examined += 1
        first = seen.setdefault(key, index)
        if first != index:
            self.blame(why, first, index)


class InDoubt(InvariantChecker):
    """L9. What an agent put down as in doubt, at a sink that keeps keys (class F or C), it has found out within the bound of its retries
    and of propagation, counted from the heal, from the doubt, and from when its gate was last opened, whichever came last.

    Found out: a result, that it did not take place, or the end of its task. Behind a closed gate, or while its process is gone, nothing is
    due. What is found not to have taken place is not in doubt again in the same start before it was let out again, unless that is asked to stop.

    And whoever asks is answered, whether or not the sink is there: that the effect took place, did not, or that nobody says. Due within four renewals
    and a second, of a sidecar that nothing but faults of its links befell, while its agent's process is there. Other work waits for no sink.

    An instance is a doubt that is resolved or due, or a question that is. Nobody can ever say about class U.
    """

    invariant = "L9"
    title = "InDoubt: what is in doubt is found out once its sink answers"
    kinds = frozenset({
        "task-submitted", "task-in-doubt", "task-result", "task-absent", "task-done", "task-rolled-back", "task-compensated", "gate-changed",
        "node-crashed", "process-started", "process-termed", "effect-admitted", "question-asked", "question-answered", "process-reaped",
        "node-paused",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._open: dict[tuple[str, str], tuple[int, int]] = {}  # (agent, task) -> (index, since)
        self._absent: dict[str, dict[str, int]] = {}  # agent -> {key: when this start found that it never took place, and did not let it out since}
        self._stopping: set[str] = set()  # agents of which the latest start was asked to stop
        self._sinks: dict[tuple[str, str], str] = {}
        self._working_ns: dict[str, int] = {}
        self._asked: dict[str, dict[str, tuple[int, int]]] = {}  # agent -> {key of a question that is open: (since, index)}

    def see(self, index: int, fact: Fact) -> None:
        body = fact.body
        if fact.kind in ("question-asked", "question-answered", "process-reaped", "node-paused"):
            self._question(index, fact)
        elif fact.kind == "gate-changed":
            self._work(body["agent"], fact.at_ns if gate_of(body["gate"]) == OPEN else None)
        elif fact.kind == "node-crashed":
            if fact.node.startswith(("agent/", "sidecar/")):
                self._work(fact.node.partition("/")[2], None)
                self._drop_questions(fact.node.partition("/")[2], fact.at_ns)
                self._absent.pop(fact.node.partition("/")[2], None)
        elif fact.kind in ("process-started", "process-termed"):
            self._absent.pop(body["agent"], None)
            (self._stopping.add if fact.kind == "process-termed" else self._stopping.discard)(body["agent"])
        elif fact.kind == "effect-admitted":
            self._absent.get(body["agent"], {}).pop(body["key"], None)
        elif fact.kind == "task-submitted":
            self._sinks[body["agent"], body["task"]] = body["sink"]
        elif fact.kind == "task-in-doubt":
            absent = self._absent.get(body["agent"], {}).get(body["key"])
            if absent is not None:
                why = f"{body['agent']} put task {body['task']} down as in doubt, of which it knew that the step did not take place"
                self.blame(why, absent, index)
            self._open.setdefault((body["agent"], body["task"]), (index, fact.at_ns))
        else:
            self._found_out(index, fact)

    def _question(self, index: int, fact: Fact) -> None:
        if fact.kind == "node-paused":
            if fact.node.startswith("sidecar/"):
                self._drop_questions(agent_of(fact.node), fact.at_ns)
        elif fact.kind == "process-reaped":
            self._drop_questions(fact.body["agent"], fact.at_ns)
        elif fact.kind == "question-asked":
            self._asked.setdefault(fact.body["agent"], {})[fact.body["key"]] = (fact.at_ns, index)
        elif (asked := self._asked.get(fact.body["agent"], {}).pop(fact.body["key"], None)) is not None:
            self.examined += 1
            self._judge_waiting(fact.body["agent"], fact.body["key"], asked, fact.at_ns)

    def _drop_questions(self, agent: str, at_ns: int) -> None:
        for key, asked in self._asked.pop(agent, {}).items():
            self._judge_waiting(agent, key, asked, at_ns)

    def _judge_waiting(self, agent: str, key: str, asked: tuple[int, int], at_ns: int) -> None:
        sidecar, waited_ns = f"sidecar/{agent}", at_ns - asked[0]
        excused = self.run.struck_beyond_links(sidecar) or sidecar in self.run.clock_suspects
        slowed = any(sidecar in self.run.struck_by(what) for what in SLOW_LINKS)  # no round trip that it times is longer than a lease
        allowed_ns = self.run.bounds.answering_ns + (2 * self.run.bounds.hard_ns if slowed else 0)
        if waited_ns > allowed_ns and not excused:
            self.blame(f"{agent} asked what became of key {key}, and {sidecar} did not say for {waited_ns} ns, not even that nobody can", asked[1])

    def _found_out(self, index: int, fact: Fact) -> None:
        agent = fact.body["agent"]
        if self._open.pop((agent, fact.body["task"]), None) is not None:
            self.examined += 1
        if fact.kind == "task-absent" and agent not in self._stopping:
            self._absent.setdefault(agent, {})[fact.body["key"]] = index

    def _work(self, agent: str, since_ns: int | None) -> None:
        if since_ns is None:
            self._working_ns.pop(agent, None)
        else:
            self._working_ns[agent] = since_ns

    def settle(self) -> None:
        for agent in list(self._asked):
            self._drop_questions(agent, self.run.end_ns)
        healed_ns = self.run.healed_ns
        for (agent, task), (index, since_ns) in self._open.items():
            working_ns = self._working_ns.get(agent)
            sink = self._sinks.get((agent, task), "")
            if healed_ns is None or working_ns is None or self.run.sinks.get(sink) not in ("F", "C") or not self._fit(agent, sink):
                continue
            waited_ns = self.run.end_ns - max(healed_ns, since_ns, working_ns)
            if waited_ns > self.run.bounds.doubt_ns:
                self.examined += 1
                self.blame(f"task {task} of {agent} is still in doubt after {waited_ns} ns in which its sink could say", index)

    def _fit(self, agent: str, sink: str) -> bool:
        """Disks that failed stay failed until their node starts anew: neither can such an agent write down what it finds, nor such a sink answer.
        And who lost what it had written down has forgotten its doubts with it (A2).
        """
        nodes = (f"agent/{agent}", f"sidecar/{agent}", sink)
        return not any(self.run.node(node).disk_failed or node in self.run.custody for node in nodes)
